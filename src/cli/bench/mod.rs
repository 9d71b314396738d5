//! `bench`: how fast this disk and this machine are, what limits them, and which settings follow from it.
//!
//! It works on files of its own in a directory of its own, which is removed at the end, whatever the end is. What is
//! compared is measured in turns, round after round (`rounds.rs` and `bed.rs`, with the loads of `load.rs`); `advice.rs`
//! draws the conclusions, as functions of the figures; `report.rs` has the figures, and shows them.

mod advice;
mod bed;
mod load;
mod report;
mod rounds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use tempfile::TempDir;

use super::failure::{Failure, tell};
use super::output::{Form, print, print_json};
use super::target::TargetArgs;
use crate::policy::Overflow;
use crate::settings::{Settings, Synchronous};
use rounds::Plan;

const EXAMPLES: &str = "\
Examples:
  actix-sqlite bench
  actix-sqlite bench --dir /mnt/disk --callers 1,16 --synchronous full
  actix-sqlite bench --seconds 2 --rounds 9 --output json > figures.json";

/// Measures this disk and this machine, says what limits them, and recommends settings
///
/// It never touches the database: it works on scratch files beside it (or in --dir), with rows of its own making in the
/// table of message logs and with the settings in force, and removes them in the end, also after Ctrl-C.
///
/// Measured are: what one fsync takes; a plain loop over SQLite that commits each INSERT by itself; acknowledged inserts
/// from so many callers, in turns with a plain loop that commits batches of the same size and answers nobody; the same
/// with the other `writer.linger`; and reads by key from the pool, in turns with as many plain connections. A ratio is
/// taken within a round; shown are the median and the extremes of all rounds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BenchCommand {
    /// Where the scratch files go; if not given, where the database of the settings is
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// How long each part of a round takes; the whole takes about 100 times as long
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = parse_seconds)]
    seconds: Duration,
    /// How often everything is measured
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many callers write at once, each waiting for its receipt
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        default_value = "1,64,256,1024",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    callers: Vec<u32>,
    /// What `database.synchronous` is set to
    #[arg(long, value_name = "LEVEL", default_value = "both")]
    synchronous: Levels,
    /// The form of the report; a table on a terminal, else JSON
    #[arg(long, value_name = "FORM")]
    output: Option<Form>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Levels {
    /// A COMMIT is on the disk before it is acknowledged
    Full,
    /// It is on the disk some time later
    Normal,
    /// One and the other, in turns
    Both,
}

impl Levels {
    fn list(self) -> &'static [Synchronous] {
        match self {
            Self::Full => &[Synchronous::Full],
            Self::Normal => &[Synchronous::Normal],
            Self::Both => &[Synchronous::Full, Synchronous::Normal],
        }
    }
}

impl BenchCommand {
    pub(super) fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        target.refuse_url("bench")?;
        let mut settings = target.settings(&[])?;
        // Nobody else checkpoints a scratch file, and a caller that is refused measures nothing.
        settings.database.checkpoint = true;
        settings.relay.migrate = true;
        (settings.queue.overflow, settings.readers.overflow) = (Overflow::Wait, Overflow::Wait);
        let scratch = self.scratch(&settings)?;
        let plan = Plan {
            settings: &settings,
            directory: scratch.path(),
            part: self.seconds,
            rounds: self.rounds,
            callers: self.callers.iter().map(|callers| *callers as usize).collect(),
            levels: self.synchronous.list(),
        };
        let measured = actix_rt::System::new().block_on(plan.measure());
        let place = scratch.path().to_owned();
        if let Err(error) = scratch.close() {
            tell(format_args!("warning: {} could not be removed: {error}", place.display()));
        }
        let report = measured?;
        if report.is_debug_build {
            tell(format_args!("warning: this is a debug build, and its figures are those of one"));
        }
        match Form::or_default(self.output) {
            Form::Json => print_json(&report),
            Form::Table => print(report.as_text()),
        }
    }

    /// A directory in the one that was asked for.
    fn scratch(&self, settings: &Settings) -> Result<TempDir, Failure> {
        let beside = settings.database.path.parent().filter(|path| !path.as_os_str().is_empty());
        let directory = self.dir.as_deref().or(beside).unwrap_or(Path::new("."));
        let scratch = tempfile::Builder::new().prefix("actix-sqlite-bench-").tempdir_in(directory);
        scratch.map_err(|error| Failure::Scratch { directory: directory.display().to_string(), error })
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number, such as 0.5".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("must be from 0.01 to 3600".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}
