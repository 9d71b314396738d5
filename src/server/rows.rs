//! Rows on their way out as they come, in constant memory: one JSON object a line (NDJSON), or CSV.
//!
//! An error before the first rows is answered as a problem. One that comes later breaks the connection off before the
//! end of the chunked body, so that nobody takes the rows so far for all of them.

use std::borrow::Cow;
use std::io;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt};

use super::extract::Layout;
use super::problem::{Fault, Problem};
use crate::{RowStream, Value};

/// How a row is written.
pub(super) enum Encoder {
    /// An object by column names, which are kept as JSON.
    Ndjson(Vec<Vec<u8>>),
    /// RFC 4180: fields in column order, lines that end with CR LF. NULL is an empty field, a blob is base64.
    Csv,
}

impl Encoder {
    /// # Errors
    /// [`Fault::DuplicateColumns`]: an object would lose all but one of them.
    pub(super) fn new(layout: Layout, columns: &[String]) -> Result<Self, Fault> {
        match layout {
            Layout::Csv => Ok(Self::Csv),
            Layout::Ndjson => {
                let again = |(index, name): (usize, &String)| columns[..index].contains(name);
                if let Some(index) = columns.iter().enumerate().position(again) {
                    return Err(Fault::DuplicateColumns(columns[index].clone()));
                }
                let keys = columns.iter().map(serde_json::to_vec).collect::<Result<_, _>>();
                keys.map(Self::Ndjson).map_err(|error| Fault::InvalidRequest(error.to_string()))
            }
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Ndjson(_) => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// What comes before the rows.
    fn head(&self, columns: &[String]) -> io::Result<Bytes> {
        match self {
            Self::Ndjson(_) => Ok(Bytes::new()),
            Self::Csv => csv_lines(std::iter::once(columns.iter().map(|name| Cow::Borrowed(name.as_str())))),
        }
    }

    fn rows(&self, rows: &[Vec<Value>]) -> io::Result<Bytes> {
        match self {
            Self::Ndjson(keys) => ndjson_lines(keys, rows),
            Self::Csv => csv_lines(rows.iter().map(|row| row.iter().map(csv_field))),
        }
    }
}

fn ndjson_lines(keys: &[Vec<u8>], rows: &[Vec<Value>]) -> io::Result<Bytes> {
    let mut lines = Vec::new();
    for row in rows {
        for (index, (key, value)) in keys.iter().zip(row).enumerate() {
            lines.push(if index == 0 { b'{' } else { b',' });
            lines.extend_from_slice(key);
            lines.push(b':');
            serde_json::to_writer(&mut lines, value)?;
        }
        lines.extend_from_slice(b"}\n");
    }
    Ok(lines.into())
}

fn csv_lines<'a, R: Iterator<Item = Cow<'a, str>>>(rows: impl Iterator<Item = R>) -> io::Result<Bytes> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        for field in row {
            writer.write_field(field.as_bytes())?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map(Bytes::from).map_err(csv::IntoInnerError::into_error)
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

/// Answers with the rows, as they come.
///
/// # Errors
/// A [`Problem`] if the query fails before its first rows are there.
pub(super) async fn answer(mut rows: RowStream, encoder: Encoder) -> Result<HttpResponse, Problem> {
    let first = rows.next().await.transpose()?;
    let content_type = encoder.content_type();
    let head = encoder.head(rows.columns());
    let first = first.map(|first| encoder.rows(&first));
    let rest = stream::unfold(Some((rows, encoder)), |state| async {
        let (mut rows, encoder) = state?;
        match rows.next().await? {
            Ok(piece) => Some((encoder.rows(&piece), Some((rows, encoder)))),
            Err(error) => {
                tracing::warn!(%error, "a streamed result is cut short");
                Some((Err(io::Error::other(error)), None))
            }
        }
    });
    let body = stream::iter(std::iter::once(head).chain(first)).chain(rest);
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, content_type)).streaming(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Value>> {
        vec![
            vec![Value::Integer(i64::MAX), Value::Null, Value::Text("a \"b\",\nc".into())],
            vec![Value::Real(1e300), Value::Blob(vec![0, 255]), Value::Text(String::new())],
        ]
    }

    fn encode(layout: Layout, columns: &[&str]) -> String {
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let encoder = Encoder::new(layout, &columns).unwrap();
        let (head, rows) = (encoder.head(&columns).unwrap(), encoder.rows(&rows()).unwrap());
        String::from_utf8([head, rows].concat()).unwrap()
    }

    #[test]
    fn a_line_of_ndjson_is_an_object_that_loses_nothing() {
        assert_eq!(
            encode(Layout::Ndjson, &["a", "b\"", "c"]),
            "{\"a\":9223372036854775807,\"b\\\"\":null,\"c\":\"a \\\"b\\\",\\nc\"}\n\
             {\"a\":1e+300,\"b\\\"\":{\"base64\":\"AP8=\"},\"c\":\"\"}\n"
        );
        let twice = ["a".to_owned(), "a".to_owned()];
        assert!(
            matches!(Encoder::new(Layout::Ndjson, &twice), Err(Fault::DuplicateColumns(name)) if name == "a")
        );
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        assert_eq!(
            encode(Layout::Csv, &["a,b", "b", "c"]),
            "\"a,b\",b,c\r\n9223372036854775807,,\"a \"\"b\"\",\nc\"\r\n1e300,AP8=,\r\n"
        );
    }
}
