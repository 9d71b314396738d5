//! Results as tables for people. Control characters are shown and never sent, so that no row can steer a terminal.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use crate::message::Value;

/// Bytes of a blob that are shown; the rest is only counted.
const SHOWN_BYTES: usize = 16;

/// Rows under the names of their columns.
pub(super) fn rows(columns: &[String], rows: &[Vec<Value>]) -> String {
    let mut table = empty();
    table.set_header(columns.iter().map(|name| Cell::new(visible(name))));
    for row in rows {
        table.add_row(row.iter().map(cell));
    }
    format!("{table}\n")
}

/// A JSON document as names and values, one line each: `writer.commits  7`.
pub(super) fn document(document: &serde_json::Value) -> String {
    let mut table = empty();
    let mut lines = Vec::new();
    flatten(String::new(), document, &mut lines);
    for (name, value) in lines {
        table.add_row([Cell::new(visible(&name)), Cell::new(visible(&value))]);
    }
    format!("{table}\n")
}

fn empty() -> Table {
    let mut table = Table::new();
    let arrangement = arrangement(table.width());
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(arrangement);
    table
}

/// Terminals without a size, as containers and recorders have them, say 0; then lines are as long as they are.
fn arrangement(width: Option<u16>) -> ContentArrangement {
    if width.is_some_and(|columns| columns > 0) {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    }
}

fn flatten(name: String, value: &serde_json::Value, lines: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(name, value, lines);
            }
        }
        serde_json::Value::Null => lines.push((name, "-".into())),
        serde_json::Value::String(text) => lines.push((name, text.clone())),
        other => lines.push((name, other.to_string())),
    }
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::new("NULL"),
        Value::Integer(integer) => Cell::new(integer).set_alignment(CellAlignment::Right),
        Value::Real(real) => Cell::new(format!("{real:?}")).set_alignment(CellAlignment::Right),
        Value::Text(text) => Cell::new(visible(text)),
        Value::Blob(bytes) => Cell::new(blob(bytes)),
    }
}

fn blob(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes.iter().take(SHOWN_BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    if bytes.len() > SHOWN_BYTES {
        format!("x'{digits}..' ({} bytes)", bytes.len())
    } else {
        format!("x'{digits}'")
    }
}

fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_blobs_and_control_characters_are_shown() {
        let table = rows(
            &["n".into(), "b".into(), "t".into()],
            &[vec![Value::Null, Value::Blob(vec![0xff; 20]), "a\u{1b}[31m\tb".into()]],
        );
        assert!(table.contains("NULL"), "{table}");
        assert!(table.contains(&format!("x'{}..' (20 bytes)", "ff".repeat(16))), "{table}");
        assert!(table.contains("a\\u{1b}[31m\\tb") && !table.contains('\u{1b}'), "{table}");
    }

    #[test]
    fn a_terminal_without_a_size_does_not_squeeze_the_columns() {
        assert!(matches!(arrangement(Some(80)), ContentArrangement::Dynamic));
        assert!(matches!(arrangement(Some(0)), ContentArrangement::Disabled));
        assert!(matches!(arrangement(None), ContentArrangement::Disabled));
    }

    #[test]
    fn a_document_is_a_line_for_each_value() {
        let shown =
            document(&serde_json::json!({"state": "running", "writer": {"commits": 7}, "reason": null}));
        for line in ["state", "running", "writer.commits", "7", "-"] {
            assert!(shown.contains(line), "{shown}");
        }
    }
}
