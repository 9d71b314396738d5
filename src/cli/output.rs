//! What goes to stdout, and how a closed pipe ends it.
//!
//! | form   | NULL    | blob                  | held in memory |
//! |--------|---------|-----------------------|----------------|
//! | table  | `NULL`  | `x'00ff'`, shortened  | all rows       |
//! | json   | null    | `{"base64": "AP8="}`  | all rows       |
//! | ndjson | null    | `{"base64": "AP8="}`  | a few rows     |
//! | csv    | nothing | base64                | a few rows     |

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::failure::Failure;
use super::table;

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
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(Failure::stdout)
}

/// Prints a JSON document on several lines.
pub(super) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(document).map_err(|error| Failure::stdout(error.into()))?;
    print(format!("{json}\n"))
}

/// Prints a document in the form that was asked for.
pub(super) fn print_document(form: Option<Form>, document: &impl Serialize) -> Result<(), Failure> {
    match Form::or_default(form) {
        Form::Json => print_json(document),
        Form::Table => {
            let document = serde_json::to_value(document).map_err(|error| Failure::stdout(error.into()))?;
            print(table::document(&document))
        }
    }
}
