//! `dead-letters`: shows, tries again or throws away the writes that nobody waited for and that failed.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum, value_parser};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Method;

use super::client::{Call, Client, READ_AGAIN};
use super::failure::{Failure, tell};
use super::output::{Form, print, print_document, print_json};
use super::statement::parse_duration;
use super::table;
use super::target::{Target, TargetArgs, on_file, refuse_missing};
use crate::message::{ExpireDeadLetters, Expired, GetDeadLetters, Retried, RetryDeadLetters, Value};
use crate::server::{Letter, LetterPage, page};

const EXAMPLES: &str = "\
Examples:
  actix-sqlite --database app.db dead-letters list
  actix-sqlite --url http://127.0.0.1:4280 dead-letters retry --id 7 --id 9
  actix-sqlite --database app.db dead-letters expire --older-than 30days";

/// Lists, retries or expires dead letters: writes that were only queued, and that failed
///
/// A write that nobody waits for (`execute --queued`, the header `Prefer: respond-async`, the library's `enqueue`) is kept
/// with its error if it fails, until it is tried again with success or thrown away.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum DeadLettersCommand {
    List(ListCommand),
    Retry(RetryCommand),
    Expire(ExpireCommand),
}

/// Lists dead letters, the oldest first
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    /// How many at the most
    #[arg(long, value_name = "N", default_value_t = GetDeadLetters::LIMIT,
          value_parser = value_parser!(u32).range(1..=i64::from(GetDeadLetters::MAX_LIMIT)))]
    limit: u32,
    /// Only those with a higher id: where the last list ended
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after_id: i64,
    /// With the parameters of their statements, which may hold secrets; only from a file, or a daemon that has a token
    #[arg(long)]
    params: bool,
    /// The form; a table on a terminal, else ndjson
    #[arg(long, value_name = "FORM")]
    output: Option<ListForm>,
}

/// How dead letters are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListForm {
    /// For people
    Table,
    /// One document: the list, and after which id the next one begins
    Json,
    /// A JSON object a dead letter
    Ndjson,
}

/// Tries dead letters again, each as a write of its own
///
/// One that is committed is a dead letter no more; one that fails keeps its new error. Exit code 1 if any failed or was
/// not there.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all"]).required(true)))]
pub(super) struct RetryCommand {
    /// The dead letter of this id; may be given several times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<i64>,
    /// All dead letters
    #[arg(long)]
    all: bool,
    /// The form of the counts; a table on a terminal, else JSON
    #[arg(long, value_name = "FORM")]
    output: Option<Form>,
}

/// Throws dead letters away
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["ids", "older_than", "all"]).required(true).multiple(true)))]
pub(super) struct ExpireCommand {
    /// The dead letter of this id; may be given several times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<i64>,
    /// Only those that failed at least so long ago, such as 12h or 30days
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// All dead letters
    #[arg(long, conflicts_with_all = ["ids", "older_than"])]
    all: bool,
    /// The form of the count; a table on a terminal, else JSON
    #[arg(long, value_name = "FORM")]
    output: Option<Form>,
}

impl DeadLettersCommand {
    pub(super) fn run(self, target: &TargetArgs) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(target),
            Self::Retry(retry) => retry.run(target),
            Self::Expire(expire) => expire.run(target),
        }
    }
}

impl ListCommand {
    fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        let Self { limit, after_id, params, output } = *self;
        let default = if io::stdout().is_terminal() { ListForm::Table } else { ListForm::Ndjson };
        let found: LetterPage = match target.resolve()? {
            Target::File(settings) => {
                refuse_missing(&settings)?;
                let get = GetDeadLetters { limit, after_id };
                on_file(*settings, async |database| Ok(page(database, get, params).await?))?
            }
            Target::Daemon(client) => {
                let path = format!("/v1/dead-letters?limit={limit}&after_id={after_id}&params={params}");
                client.read_json(client.get(&path)?, READ_AGAIN)?
            }
        };
        if let Some(after_id) = found.next_after_id {
            tell(format_args!("there are more: --after-id {after_id}"));
        }
        match output.unwrap_or(default) {
            ListForm::Table => print(as_table(&found.dead_letters)),
            ListForm::Json => print_json(&found),
            ListForm::Ndjson => print(lines(&found.dead_letters)?),
        }
    }
}

fn lines(letters: &[Letter]) -> Result<String, Failure> {
    let mut lines = String::new();
    for letter in letters {
        lines += &serde_json::to_string(letter).map_err(|error| Failure::stdout(error.into()))?;
        lines.push('\n');
    }
    Ok(lines)
}

fn as_table(letters: &[Letter]) -> String {
    let row = |letter: &Letter| {
        let statements = letter.statements.iter().map(|statement| match &statement.params {
            Some(params) => format!("{} {params}", statement.sql),
            None => statement.sql.clone(),
        });
        vec![
            Value::from(letter.id),
            (&*letter.failed_at).into(),
            i64::try_from(letter.attempts).unwrap_or(i64::MAX).into(),
            (&*letter.code).into(),
            (&*letter.message).into(),
            letter.key.as_deref().into(),
            statements.collect::<Vec<_>>().join("\n").into(),
        ]
    };
    let columns = ["id", "failed_at", "attempts", "code", "message", "key", "statements"];
    table::rows(&columns.map(String::from), &letters.iter().map(row).collect::<Vec<_>>())
}

impl RetryCommand {
    fn run(self, target: &TargetArgs) -> Result<(), Failure> {
        let retry = RetryDeadLetters { ids: named(self.ids) };
        let retried: Retried = match target.resolve()? {
            Target::File(settings) => {
                refuse_missing(&settings)?;
                on_file(*settings, async |database| Ok(database.retry_dead_letters(retry).await?))?
            }
            Target::Daemon(client) => {
                order(&client, "/v1/dead-letters/retry", "list them to see which are left", &retry)?
            }
        };
        print_document(self.output, &retried)?;
        if retried.failed + retried.missing > 0 { Err(Failure::Findings) } else { Ok(()) }
    }
}

impl ExpireCommand {
    fn run(self, target: &TargetArgs) -> Result<(), Failure> {
        let expire = ExpireDeadLetters { ids: named(self.ids), older_than: self.older_than };
        let expired: Expired = match target.resolve()? {
            Target::File(settings) => {
                refuse_missing(&settings)?;
                on_file(*settings, async |database| Ok(database.expire_dead_letters(expire).await?))?
            }
            Target::Daemon(client) => {
                order(&client, "/v1/dead-letters/expire", "run it again: what is gone stays gone", &expire)?
            }
        };
        print_document(self.output, &expired)
    }
}

/// None were named: all are meant, which the options made sure of.
fn named(ids: Vec<i64>) -> Option<Vec<i64>> {
    (!ids.is_empty()).then_some(ids)
}

fn order<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    if_lost: &'static str,
    order: &impl Serialize,
) -> Result<T, Failure> {
    let call = Call { method: Method::POST, path, headers: &[], if_lost };
    client.read_json(client.post_json(&call, order)?, if_lost)
}
