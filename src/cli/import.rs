//! `import`: message logs from a file of newline-delimited JSON, in constant memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::Method;

use super::client::{Call, Client};
use super::failure::{Failure, tell};
use super::output::{Form, print, print_json};
use super::table;
use super::target::{Target, TargetArgs, on_file};
use crate::relay::{Import, ImportReport};
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  actix-sqlite --database chat.db import chat.ndjson
  zcat chat.ndjson.gz | actix-sqlite --url http://127.0.0.1:4280 import -

Fields of a line:
  kook_message_id, kook_channel_id, content, target_platform, target_channel
  message_type (\"text\"), sender_name (\"\"), status (\"pending\"), error_message (null), latency_ms (null),
  created_at (now; RFC 3339), each with what it is if it is left out";

/// Imports message logs: newline-delimited JSON, one log a line
///
/// Each line is a write of its own: a bad one is rejected and named on stderr, the others go in. A log that is there
/// already (same message, platform and channel) is counted as a duplicate, so an import that was cut short can be run
/// again. Exit code 1 if any line was rejected.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportCommand {
    /// The file; `-` reads stdin
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The form of the report on stdout
    #[arg(long, value_name = "FORM", default_value = "json")]
    output: Form,
}

/// How much is read at once.
const PIECE: usize = 256 * 1024;

impl ImportCommand {
    pub(super) fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        let target = target.resolve()?;
        let (input, progress) = self.open()?;
        let input = progress.wrap_read(input);
        let report = match target {
            Target::File(settings) => self.take_in(*settings, input)?,
            Target::Daemon(client) => match send(&client, input) {
                Ok(report) => (report, None),
                Err(Failure::Problem(mut problem)) => match problem.take_import() {
                    Some(report) => (report, Some(problem.into())),
                    None => return Err(problem.into()),
                },
                Err(failure) => return Err(failure),
            },
        };
        progress.finish_and_clear();
        self.conclude(report)
    }

    fn open(&self) -> Result<(Box<dyn Read>, ProgressBar), Failure> {
        if self.file == Path::new("-") {
            return Ok((Box::new(io::stdin().lock()), progress(None)));
        }
        let file = File::open(&self.file).map_err(|error| Failure::file(&self.file, error))?;
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
        Ok((Box::new(file), progress(length)))
    }

    /// What is committed is in the report, also if the import ended early.
    fn take_in(
        &self,
        settings: Settings,
        mut input: impl Read,
    ) -> Result<(ImportReport, Option<Failure>), Failure> {
        let max_line = usize::try_from(settings.server.max_line.as_u64()).unwrap_or(usize::MAX);
        on_file(settings, async |database| {
            let mut import = Import::new(database.clone(), max_line);
            let failure = self.feed(&mut import, &mut input).await.err();
            Ok((import.report().clone(), failure))
        })
    }

    async fn feed(&self, import: &mut Import, input: &mut impl Read) -> Result<(), Failure> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = match input.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    import.finish().await?;
                    return Err(Failure::file(&self.file, error));
                }
            };
            import.feed(&piece[..length]).await?;
        }
        import.finish().await?;
        Ok(())
    }

    fn conclude(&self, (report, failure): (ImportReport, Option<Failure>)) -> Result<(), Failure> {
        for error in &report.errors {
            tell(format_args!("line {}: {}: {}", error.line, error.code, error.detail));
        }
        let named = report.errors.len() as u64;
        if report.rejected > named {
            tell(format_args!("and {} more lines", report.rejected - named));
        }
        tell(format_args!(
            "{} inserted, {} duplicates, {} rejected",
            report.inserted, report.duplicates, report.rejected
        ));
        match self.output {
            Form::Json => print_json(&report)?,
            Form::Table => {
                let counts = [report.inserted, report.duplicates, report.rejected];
                let counts = counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX).into());
                print(table::rows(
                    &["inserted", "duplicates", "rejected"].map(String::from),
                    &[counts.to_vec()],
                ))?;
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None if report.rejected > 0 => Err(Failure::Findings),
            None => Ok(()),
        }
    }
}

fn send(client: &Client, input: impl Read) -> Result<ImportReport, Failure> {
    let call = Call {
        method: Method::POST,
        path: "/v1/message-logs/import",
        headers: &[("content-type", "application/x-ndjson")],
        if_lost: "import it again: what is there already is skipped",
    };
    client.read_json(client.post_stream(&call, input)?, call.if_lost)
}

/// Bytes of the file on stderr; nothing unless that is a terminal.
fn progress(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => {
            (ProgressBar::new(length), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
