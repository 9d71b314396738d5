//! `check`: whether the file is sound, and whether this program knows its tables.
//!
//! A damaged file may not even open; that is a finding too. That somebody else has the file, or that it is not there, is
//! none: then nothing was checked.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use ureq::http::Method;

use super::client::{Call, Client, READ_AGAIN};
use super::failure::Failure;
use super::output::{Form, print, print_json};
use super::statement::{millis, parse_duration};
use super::table;
use super::target::{Target, TargetArgs, on_file, refuse_missing};
use crate::error::{ReadError, StartError, StatementErrorKind};
use crate::message::{Query, Rows, Value};
use crate::settings::Settings;
use crate::{Database, Status, relay};

/// Checks the file: its structure, its foreign keys, the version of its tables
///
/// Reads the whole file and changes nothing that is the caller's; no migration is run. Exit code 1 if something is wrong.
#[derive(Debug, Args)]
pub(super) struct CheckCommand {
    /// How long each check may take; a daemon allows no more than its `readers.query_timeout`
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    timeout: Duration,
    /// The form of the report; a table on a terminal, else JSON
    #[arg(long, value_name = "FORM")]
    output: Option<Form>,
}

const INTEGRITY: &str = "PRAGMA integrity_check";
/// As many as `integrity_check` names: past that, the file is to be restored and not mended.
const FOREIGN_KEYS: &str = "SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT 100";

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found: faults, or, if there are none, what is there.
    findings: Vec<String>,
}

impl CheckCommand {
    pub(super) fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        let checks = match target.resolve()? {
            Target::File(settings) => self.on_settings(*settings)?,
            Target::Daemon(client) => self.on_daemon(&client)?,
        };
        let report = Report { ok: checks.iter().all(|check| check.ok), checks };
        match Form::or_default(self.output) {
            Form::Json => print_json(&report)?,
            Form::Table => print(report.as_table())?,
        }
        if report.ok { Ok(()) } else { Err(Failure::Findings) }
    }

    fn on_settings(&self, mut settings: Settings) -> Result<Vec<Check>, Failure> {
        refuse_missing(&settings)?;
        settings.readers.query_timeout = self.timeout;
        settings.relay.migrate = false;
        match on_file(settings, async |database| on_database(database).await) {
            Err(Failure::Start(
                error @ (StartError::NotADatabase { .. } | StartError::NewerSchema { .. }),
            )) => Ok(vec![Check::new("open", vec![error.to_string()])]),
            checked => checked,
        }
    }

    fn on_daemon(&self, client: &Client) -> Result<Vec<Check>, Failure> {
        let status: Status = client.read_json(client.get("/v1/status")?, READ_AGAIN)?;
        let ask = |sql: &str| -> Result<Rows, Failure> {
            let call = Call { method: Method::POST, path: "/v1/query", headers: &[], if_lost: READ_AGAIN };
            let body = serde_json::json!({"sql": sql, "timeout_ms": millis(self.timeout)});
            client.read_json(client.post_json(&call, &body)?, READ_AGAIN)
        };
        Ok(vec![
            Check::new("integrity", faults(ask(INTEGRITY), integrity)?),
            Check::new("foreign_keys", faults(ask(FOREIGN_KEYS), foreign_keys)?),
            Check::schema(&status),
        ])
    }
}

async fn on_database(database: &Database) -> Result<Vec<Check>, Failure> {
    let ask = async |sql: &'static str| database.query(Query::new(sql)).await.map_err(Failure::from);
    Ok(vec![
        Check::new("integrity", faults(ask(INTEGRITY).await, integrity)?),
        Check::new("foreign_keys", faults(ask(FOREIGN_KEYS).await, foreign_keys)?),
        Check::schema(&database.status()),
    ])
}

/// A check that the damage itself cut short has found it.
fn faults(answer: Result<Rows, Failure>, name: fn(&Rows) -> Vec<String>) -> Result<Vec<String>, Failure> {
    match answer {
        Ok(rows) => Ok(name(&rows)),
        Err(Failure::Read(ReadError::Statement(error))) if error.kind == StatementErrorKind::Storage => {
            Ok(vec![error.to_string()])
        }
        Err(Failure::Problem(problem)) if problem.code() == StatementErrorKind::Storage.code() => {
            Ok(vec![problem.to_string()])
        }
        Err(failure) => Err(failure),
    }
}

fn integrity(rows: &Rows) -> Vec<String> {
    let lines = rows.iter().filter_map(|row| row.values().first().and_then(Value::as_str));
    lines.filter(|line| *line != "ok").map(str::to_owned).collect()
}

fn foreign_keys(rows: &Rows) -> Vec<String> {
    let text = |value: Option<&Value>| match value {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Integer(integer)) => integer.to_string(),
        _ => "?".to_owned(),
    };
    let name = |row: crate::RowRef<'_>| {
        let [table, rowid, parent] = ["table", "rowid", "parent"].map(|column| text(row.get(column)));
        format!("row {rowid} of {table} refers to a row of {parent} that is not there")
    };
    rows.iter().map(name).collect()
}

impl Check {
    fn new(name: &'static str, faults: Vec<String>) -> Self {
        Self { name, ok: faults.is_empty(), findings: faults }
    }

    fn schema(status: &Status) -> Self {
        let (file, known) =
            (status.database.relay_schema, u64::try_from(relay::schema_version()).unwrap_or(0));
        let domain = match file {
            0 => "no tables of accounts and message logs".to_owned(),
            file => format!("accounts and message logs at version {file}"),
        };
        let finding =
            format!("own tables in format {}; {domain}, this program knows {known}", status.database.format);
        Self { name: "schema", ok: file <= known, findings: vec![finding] }
    }
}

impl Report {
    fn as_table(&self) -> String {
        let row = |check: &Check| {
            let result = if check.ok { "ok" } else { "WRONG" };
            vec![check.name.into(), result.into(), check.findings.join("\n").into()]
        };
        let rows: Vec<_> = self.checks.iter().map(row).collect();
        table::rows(&["check", "result", "findings"].map(String::from), &rows)
    }
}
