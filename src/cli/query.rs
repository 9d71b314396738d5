//! `query`: runs one statement that reads and prints its rows, streamed where the form allows it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use ureq::http::Method;

use super::client::{Call, Client, READ_AGAIN};
use super::failure::Failure;
use super::output::print;
use super::statement::{StatementArgs, millis, parse_duration};
use super::table;
use super::target::{Target, TargetArgs, on_file, refuse_missing};
use crate::Database;
use crate::layout::{Encoder, Layout};
use crate::message::{CommitSeq, Params, Query, Rows};

const EXAMPLES: &str = "\
Examples:
  actix-sqlite --database app.db query 'SELECT * FROM notes WHERE stars > ?' --param 3
  actix-sqlite --url http://127.0.0.1:4280 query 'SELECT * FROM message_logs' --output csv > logs.csv
  actix-sqlite query - --params '{\"status\": \"failed\"}' --output ndjson < report.sql";

/// Runs one statement that reads and prints its rows
///
/// `table` and `json` hold the whole result in memory, at most `readers.max_rows` rows of `readers.max_result_bytes`;
/// `ndjson` and `csv` stream it, however large.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct QueryCommand {
    #[command(flatten)]
    statement: StatementArgs,
    /// Waits until the commit of this number can be seen, as a receipt gives it
    #[arg(long, value_name = "COMMIT")]
    min_commit: Option<u64>,
    /// Given up after this time, such as 500ms or 5s
    ///
    /// If not given, and at most on a daemon: its `readers.query_timeout`.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// The form of the rows; a table on a terminal, else ndjson
    #[arg(long, value_name = "FORM")]
    output: Option<RowsForm>,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RowsForm {
    /// For people: NULL is `NULL`, a blob `x'00ff'`, shortened, control characters are escaped
    Table,
    /// One document {"columns": [..], "rows": [[..], ..]}; a blob is {"base64": ".."}
    Json,
    /// A JSON object a row; a blob is {"base64": ".."}; each column needs a name of its own
    Ndjson,
    /// A line of names, and a line a row, as in RFC 4180; NULL is an empty field, a blob base64
    Csv,
}

/// The body of `POST /v1/query`.
#[derive(Serialize)]
struct Body<'a> {
    sql: &'a str,
    params: &'a Params,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_commit: Option<CommitSeq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

impl QueryCommand {
    pub(super) fn run(self, target: &TargetArgs) -> Result<(), Failure> {
        let default = if io::stdout().is_terminal() { RowsForm::Table } else { RowsForm::Ndjson };
        let form = self.output.unwrap_or(default);
        let mut query = Query::new(self.statement.into_statement()?);
        query.min_commit = self.min_commit.map(CommitSeq);
        query.timeout = self.timeout;
        match target.resolve()? {
            Target::File(mut settings) => {
                refuse_missing(&settings)?;
                if let Some(timeout) = self.timeout {
                    // The settings' limit protects a daemon from its callers; here is only one, and it asked.
                    settings.readers.query_timeout = timeout;
                }
                on_file(*settings, async |database| on_database(database, query, form).await)
            }
            Target::Daemon(client) => on_daemon(&client, &query, form),
        }
    }
}

async fn on_database(database: &Database, query: Query, form: RowsForm) -> Result<(), Failure> {
    let layout = match form {
        RowsForm::Table | RowsForm::Json => return print_whole(&database.query(query).await?, form),
        RowsForm::Ndjson => Layout::Ndjson,
        RowsForm::Csv => Layout::Csv,
    };
    let mut rows = database.query_stream(query).await?;
    let mut encoder =
        Encoder::new(layout, rows.columns()).map_err(|name| Failure::DuplicateColumns(name.0))?;
    // Nothing is printed of a query that fails before its first rows; one without rows has its names all the same.
    let mut piece = Some(rows.next().await.transpose()?.unwrap_or_default());
    while let Some(some_rows) = piece {
        print(encoder.rows(&some_rows).map_err(Failure::stdout)?)?;
        piece = rows.next().await.transpose()?;
    }
    Ok(())
}

fn print_whole(rows: &Rows, form: RowsForm) -> Result<(), Failure> {
    if form == RowsForm::Table {
        return print(table::rows(&rows.columns, &rows.rows));
    }
    let json = serde_json::to_string(rows).map_err(|error| Failure::stdout(error.into()))?;
    print(format!("{json}\n"))
}

fn on_daemon(client: &Client, query: &Query, form: RowsForm) -> Result<(), Failure> {
    let accept = match form {
        RowsForm::Table | RowsForm::Json => "application/json",
        RowsForm::Ndjson => "application/x-ndjson",
        RowsForm::Csv => "text/csv",
    };
    let call =
        Call { method: Method::POST, path: "/v1/query", headers: &[("accept", accept)], if_lost: READ_AGAIN };
    let statement = &query.statement;
    let body = Body {
        sql: &statement.sql,
        params: &statement.params,
        min_commit: query.min_commit,
        timeout_ms: query.timeout.map(millis),
    };
    let answer = client.post_json(&call, &body)?;
    match form {
        RowsForm::Table | RowsForm::Json => print_whole(&client.read_json(answer, READ_AGAIN)?, form),
        RowsForm::Ndjson | RowsForm::Csv => client.copy(answer, &mut io::stdout().lock()),
    }
}
