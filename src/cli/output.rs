//! What goes to stdout, and how a closed pipe ends it.
//!
//! | form   | NULL    | blob                  | held in memory |
//! |--------|---------|-----------------------|----------------|
//! | table  | `NULL`  | `x'00ff'`, shortened  | all rows       |
//! | json   | null    | `{"base64": "AP8="}`  | all rows       |
//! | ndjson | null    | `{"base64": "AP8="}`  | a few rows     |
//! | csv    | nothing | base64                | a few rows     |

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use base64::Engine as _;
use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;
use crate::message::Value;

/// For an answer that is one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    Table,
    /// One JSON document
    Json,
}

impl Form {
    /// What was asked for; else a table on a terminal, JSON in a pipe.
    pub(super) fn or_default(asked: Option<Self>) -> Self {
        asked.unwrap_or(if io::stdout().is_terminal() { Self::Table } else { Self::Json })
    }
}

/// Prints a text.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::stdout)
}

/// Prints a JSON document on several lines.
pub(super) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document).map_err(|error| Failure::stdout(error.into()))?;
    print(&format!("{json}\n"))
}

/// Prints rows one by one, in constant memory.
pub(super) enum RowPrinter {
    /// A JSON object a row.
    Ndjson { columns: Vec<String>, out: BufWriter<StdoutLock<'static>> },
    /// A line of names, and a line a row (RFC 4180: lines end with CR LF).
    Csv { out: Box<csv::Writer<StdoutLock<'static>>> },
}

impl RowPrinter {
    /// Two columns of one name would be one field.
    pub(super) fn ndjson(columns: &[String]) -> Result<Self, Failure> {
        let is_repeated = |(index, name): &(usize, &String)| columns[..*index].contains(name);
        if let Some((_, name)) = columns.iter().enumerate().find(is_repeated) {
            return Err(Failure::DuplicateColumns(name.clone()));
        }
        Ok(Self::Ndjson { columns: columns.to_vec(), out: BufWriter::new(io::stdout().lock()) })
    }

    pub(super) fn csv(columns: &[String]) -> Result<Self, Failure> {
        let mut out =
            csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(io::stdout().lock());
        out.write_record(columns).map_err(csv_failure)?;
        Ok(Self::Csv { out: Box::new(out) })
    }

    pub(super) fn row(&mut self, values: &[Value]) -> Result<(), Failure> {
        match self {
            Self::Ndjson { columns, out } => write_object(out, columns, values).map_err(Failure::stdout),
            Self::Csv { out } => out.write_record(values.iter().map(csv_field)).map_err(csv_failure),
        }
    }

    /// Lets the reader see what there is.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Ndjson { out, .. } => out.flush(),
            Self::Csv { out } => out.flush(),
        }
        .map_err(Failure::stdout)
    }
}

/// Column by column, so that their order survives.
fn write_object(out: &mut impl Write, columns: &[String], values: &[Value]) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (column, value)) in columns.iter().zip(values).enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, column)?;
        out.write_all(b":")?;
        serde_json::to_writer(&mut *out, value)?;
    }
    out.write_all(b"}\n")
}

fn csv_field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
    }
}

fn csv_failure(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Failure::stdout(error),
        other => Failure::stdout(io::Error::other(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_in_column_order() {
        let mut out = Vec::new();
        let columns = ["b", "a\"", "c"].map(String::from);
        let values = [Value::Null, Value::Blob(vec![0, 255]), 0.5.into()];
        write_object(&mut out, &columns, &values).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"b\":null,\"a\\\"\":{\"base64\":\"AP8=\"},\"c\":0.5}\n"
        );
    }

    #[test]
    fn a_field_of_csv_keeps_its_digits() {
        for (value, field) in [
            (Value::Null, ""),
            (i64::MIN.into(), "-9223372036854775808"),
            (1.0.into(), "1.0"),
            ("a,b".into(), "a,b"),
            (Value::Blob(vec![0, 255]), "AP8="),
        ] {
            assert_eq!(csv_field(&value), field);
        }
    }
}
