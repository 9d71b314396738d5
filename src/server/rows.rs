//! Rows on their way out as they come, in constant memory.
//!
//! An error before the first rows is answered as a problem. One that comes later breaks the connection off before the
//! end of the chunked body, so that nobody takes the rows so far for all of them.

use std::io;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream;

use super::problem::{Fault, Problem};
use crate::RowStream;
use crate::layout::{Encoder, Layout};

/// Answers with the rows, as they come.
///
/// # Errors
/// A [`Problem`] if the query fails before its first rows are there, or its columns do not fit the layout.
pub(super) async fn answer(mut rows: RowStream, layout: Layout) -> Result<HttpResponse, Problem> {
    let encoder = Encoder::new(layout, rows.columns()).map_err(|name| Fault::DuplicateColumns(name.0))?;
    let first = rows.next().await.transpose()?;
    let content_type = match layout {
        Layout::Ndjson => "application/x-ndjson",
        Layout::Csv => "text/csv; charset=utf-8; header=present",
    };
    // A result without rows has a first piece all the same: the line of names.
    let begin = (rows, encoder, Some(first.unwrap_or_default()));
    let body = stream::unfold(Some(begin), |state| async {
        let (mut rows, mut encoder, first) = state?;
        let piece = if let Some(first) = first {
            Ok(first)
        } else {
            // A fast query and a fast receiver would have the thread to themselves for megabytes at a time.
            actix_rt::task::yield_now().await;
            rows.next().await?
        };
        match piece {
            Ok(piece) => Some((encoder.rows(&piece).map(Bytes::from), Some((rows, encoder, None)))),
            Err(error) => {
                tracing::warn!(%error, "a streamed result is cut short");
                Some((Err(io::Error::other(error)), None))
            }
        }
    });
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, content_type)).streaming(body))
}
