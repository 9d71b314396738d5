//! `execute`: commits one statement and prints its receipt.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use ureq::http::{Method, StatusCode};

use super::client::{Call, Client};
use super::failure::Failure;
use super::output::{Form, print, print_json};
use super::statement::{StatementArgs, millis, parse_duration};
use super::table;
use super::target::{Target, TargetArgs, on_file};
use crate::message::{Execute, IdempotencyKey, Params, Receipt};
use crate::server::Queued;

const EXAMPLES: &str = "\
Examples:
  actix-sqlite --database app.db execute 'INSERT INTO notes (text, stars) VALUES (?, ?)' --param hello --param 5
  actix-sqlite execute 'UPDATE notes SET text = :text WHERE id = :id' --params '{\"text\": \"bye\", \"id\": 1}'
  actix-sqlite --url http://127.0.0.1:4280 execute 'DELETE FROM notes RETURNING id' --key nightly-2026-01-31";

/// Commits one statement (INSERT, UPDATE, DELETE, with RETURNING or without, or DDL) and prints its receipt
///
/// The receipt is printed after the COMMIT: what it says is in the file. If not, nothing of the statement is, unless
/// the error says that the outcome is unknown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExecuteCommand {
    #[command(flatten)]
    statement: StatementArgs,
    /// Idempotency key: however often the statement is sent under it, it is committed once
    ///
    /// 1 to 255 printable ASCII characters. Kept for `database.idempotency_retention`. The same key with another
    /// statement is an error.
    #[arg(long, value_parser = |key: &str| IdempotencyKey::new(key))]
    key: Option<IdempotencyKey>,
    /// Not executed if its turn has not come within this time, such as 500ms or 5s; no limit if not given
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Does not wait for the COMMIT: prints that the daemon has queued the statement, and no receipt
    ///
    /// Only with --url. The statement is lost if the daemon dies before its turn; if it fails, it is kept as a dead
    /// letter: see `dead-letters`.
    #[arg(long)]
    queued: bool,
    /// The form of the receipt; a table on a terminal, else JSON
    #[arg(long, value_name = "FORM")]
    output: Option<Form>,
}

/// The body of `POST /v1/execute`.
#[derive(Serialize)]
struct Body<'a> {
    sql: &'a str,
    params: &'a Params,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

/// What became of the statement.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Committed(Receipt),
    Queued(Queued),
}

impl ExecuteCommand {
    pub(super) fn run(self, target: &TargetArgs) -> Result<(), Failure> {
        if self.queued {
            target.require_url("execute --queued")?;
        }
        let mut execute = Execute::new(self.statement.into_statement()?);
        execute.timeout = self.timeout;
        execute.key = self.key;
        let answer = match target.resolve()? {
            Target::File(settings) => {
                on_file(*settings, async |database| Ok(Answer::Committed(database.execute(execute).await?)))?
            }
            Target::Daemon(client) => on_daemon(&client, &execute, self.queued)?,
        };
        match (Form::or_default(self.output), answer) {
            (Form::Json, answer) => print_json(&answer),
            (Form::Table, Answer::Committed(receipt)) => print(as_text(&receipt)),
            (Form::Table, Answer::Queued(_)) => print("queued\n"),
        }
    }
}

fn on_daemon(client: &Client, execute: &Execute, queued: bool) -> Result<Answer, Failure> {
    let mut headers: Vec<_> = execute.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    headers.extend(queued.then_some(("prefer", "respond-async")));
    let if_lost = if execute.key.is_some() {
        "send it again under the same key"
    } else {
        "whether it was executed is unknown: look before sending it again, or use --key"
    };
    let call = Call { method: Method::POST, path: "/v1/execute", headers: &headers, if_lost };
    let statement = &execute.statement;
    let body =
        Body { sql: &statement.sql, params: &statement.params, timeout_ms: execute.timeout.map(millis) };
    let answer = client.post_json(&call, &body)?;
    // A preference may be ignored.
    if answer.status() == StatusCode::ACCEPTED {
        client.read_json(answer, if_lost).map(Answer::Queued)
    } else {
        client.read_json(answer, if_lost).map(Answer::Committed)
    }
}

/// The rows of RETURNING, if there are any, and a line with the rest.
fn as_text(receipt: &Receipt) -> String {
    let Receipt { rows_affected, last_insert_rowid, columns, rows, commit } = receipt;
    let returned = if columns.is_empty() { String::new() } else { table::rows(columns, rows) };
    let noun = if *rows_affected == 1 { "row" } else { "rows" };
    let rowid = last_insert_rowid.map_or_else(String::new, |rowid| format!(", last rowid {rowid}"));
    format!("{returned}{rows_affected} {noun} affected{rowid}, commit {commit}\n")
}
