//! Rows as text that can be written as they come: one JSON object a line (NDJSON), or CSV. The daemon and the command
//! line write the same bytes.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::message::Value;

/// How a row is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// An object by column names; a blob is `{"base64": ".."}`.
    Ndjson,
    /// RFC 4180: a line of names, then fields in column order, lines that end with CR LF. NULL is an empty field, a blob
    /// is base64.
    Csv,
}

/// Two columns have this name, and an object would lose one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DuplicateColumn(pub(crate) String);

/// Writes the rows of one result.
pub(crate) enum Encoder {
    /// The names, as JSON strings.
    Ndjson(Vec<String>),
    /// The names, until they are written.
    Csv(Vec<String>),
}

impl Encoder {
    pub(crate) fn new(layout: Layout, columns: &[String]) -> Result<Self, DuplicateColumn> {
        match layout {
            Layout::Csv => Ok(Self::Csv(columns.to_vec())),
            Layout::Ndjson => {
                let is_repeated = |(index, name): &(usize, &String)| columns[..*index].contains(name);
                if let Some((_, name)) = columns.iter().enumerate().find(is_repeated) {
                    return Err(DuplicateColumn(name.clone()));
                }
                let as_json = |name: &String| serde_json::Value::from(name.as_str()).to_string();
                Ok(Self::Ndjson(columns.iter().map(as_json).collect()))
            }
        }
    }

    /// The next rows, and before the first ones what comes before them.
    pub(crate) fn rows(&mut self, rows: &[Vec<Value>]) -> io::Result<Vec<u8>> {
        match self {
            Self::Ndjson(keys) => ndjson_lines(keys, rows),
            Self::Csv(columns) => csv_lines(&std::mem::take(columns), rows),
        }
    }
}

/// Column by column, so that their order survives.
fn ndjson_lines(keys: &[String], rows: &[Vec<Value>]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for row in rows {
        for (index, (key, value)) in keys.iter().zip(row).enumerate() {
            lines.push(if index == 0 { b'{' } else { b',' });
            lines.extend_from_slice(key.as_bytes());
            lines.push(b':');
            serde_json::to_writer(&mut lines, value)?;
        }
        lines.extend_from_slice(b"}\n");
    }
    Ok(lines)
}

fn csv_lines(names: &[String], rows: &[Vec<Value>]) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if !names.is_empty() {
        writer.write_record(names)?;
    }
    for row in rows {
        for value in row {
            writer.write_field(csv_field(value).as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

fn csv_field(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::Integer(integer) => integer.to_string().into(),
        Value::Real(real) => format!("{real:?}").into(),
        Value::Text(text) => text.into(),
        Value::Blob(bytes) => STANDARD.encode(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(layout: Layout, columns: &[&str]) -> String {
        let rows = [
            vec![Value::Integer(i64::MAX), Value::Null, Value::Text("a \"b\",\nc".into())],
            vec![Value::Real(1e300), Value::Blob(vec![0, 255]), Value::Text(String::new())],
        ];
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let mut encoder = Encoder::new(layout, &columns).unwrap();
        // In two pieces: what comes before the rows comes once.
        let pieces = rows.map(|row| encoder.rows(&[row]).unwrap());
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn a_line_of_ndjson_is_an_object_that_loses_nothing() {
        assert_eq!(
            encode(Layout::Ndjson, &["z", "b\"", "c"]),
            "{\"z\":9223372036854775807,\"b\\\"\":null,\"c\":\"a \\\"b\\\",\\nc\"}\n\
             {\"z\":1e+300,\"b\\\"\":{\"base64\":\"AP8=\"},\"c\":\"\"}\n"
        );
        let twice = ["a".to_owned(), "a".to_owned()];
        assert_eq!(Encoder::new(Layout::Ndjson, &twice).err(), Some(DuplicateColumn("a".into())));
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        assert_eq!(
            encode(Layout::Csv, &["a,b", "b", "c"]),
            "\"a,b\",b,c\r\n9223372036854775807,,\"a \"\"b\"\",\nc\"\r\n1e300,AP8=,\r\n"
        );
    }

    #[test]
    fn csv_without_rows_has_its_line_of_names() {
        let mut encoder = Encoder::new(Layout::Csv, &["a".to_owned()]).unwrap();
        assert_eq!(encoder.rows(&[]).unwrap(), b"a\r\n");
    }
}
