//! What a handler is given of a request, each with its own error if it is not there as it should be.
//!
//! A body is read as bytes and not by its content type: clients that send none, or a wrong one, mean JSON all the same.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{self, Header, HeaderMap};
use actix_web::web::BytesMut;
use actix_web::{FromRequest, HttpRequest, mime, web};
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

use super::Daemon;
use super::body::Body;
use super::problem::{Fault, Problem};
use crate::layout::Layout;

/// A JSON object as a `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + 'static> FromRequest for JsonBody<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = BodyBytes::from_request(request, payload);
        Box::pin(async move { Ok(parse(&bytes.await?.0).map(Self)?) })
    }
}

/// A body as it came.
pub(super) struct BodyBytes(pub(super) BytesMut);

impl FromRequest for BodyBytes {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let unreadable = refuse_unreadable(request);
        let (limit, pause) = limits(request);
        let announced = announced_length(request.headers());
        let payload = web::Payload::from_request(request, payload);
        Box::pin(async move {
            unreadable?;
            if announced.is_some_and(|length| length > limit) {
                return Err(Fault::BodyTooLarge(limit).into());
            }
            let payload = payload.await.map_err(|error| Fault::IncompleteBody(error.to_string()))?;
            Ok(Self(Body::new(payload, pause).whole(limit).await?))
        })
    }
}

/// How many bytes a body may have, and how long its sender may pause.
fn limits(request: &HttpRequest) -> (usize, Duration) {
    let daemon = request.app_data::<web::Data<Daemon>>();
    daemon.map_or((0, Duration::ZERO), |daemon| (daemon.max_body, daemon.patience.document))
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bodies are not unpacked: what they would become has no limit.
pub(super) fn refuse_unreadable(request: &HttpRequest) -> Result<(), Fault> {
    let Some(encoding) = request.headers().get(header::CONTENT_ENCODING) else { return Ok(()) };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    if encoding.trim().eq_ignore_ascii_case("identity") {
        return Ok(());
    }
    Err(Fault::UnsupportedEncoding(encoding.into_owned()))
}

/// The JSON object of a body.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(body).map_err(|error| Fault::InvalidUtf8(error.valid_up_to()))?;
    let text = text.trim_start();
    if text.is_empty() {
        return Err(Fault::EmptyBody);
    }
    let explain = |error: serde_json::Error| match error.classify() {
        Category::Data => Fault::InvalidRequest(format!("the body is not as it should be: {error}")),
        Category::Syntax | Category::Eof | Category::Io => Fault::InvalidJson(error.to_string()),
    };
    if !text.starts_with('{') {
        // Serde would take an array for a struct.
        serde_json::from_str::<IgnoredAny>(text).map_err(explain)?;
        return Err(Fault::InvalidRequest("the body must be a JSON object".into()));
    }
    serde_json::from_str(text).map_err(explain)
}

/// The form of a result that the header `Accept` prefers; JSON if it names none that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One document, held in memory.
    Json,
    /// As the rows come.
    Streamed(Layout),
}

impl FromRequest for Format {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let ranked = header::Accept::parse(request).map(|accept| accept.ranked()).unwrap_or_default();
        ready(Ok(ranked.iter().find_map(Self::of).unwrap_or(Self::Json)))
    }
}

impl Format {
    fn of(media: &mime::Mime) -> Option<Self> {
        match media.essence_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Streamed(Layout::Ndjson)),
            "text/csv" | "text/*" => Some(Self::Streamed(Layout::Csv)),
            _ => None,
        }
    }
}

/// An id in a path.
pub(super) type Id = web::Path<i64>;

/// Explains a path whose id is none.
pub(super) fn path_config() -> web::PathConfig {
    web::PathConfig::default().error_handler(|_, request| {
        let id = request.match_info().iter().last().map_or("", |(_, id)| id).to_owned();
        Problem::from(Fault::InvalidId(id)).into()
    })
}

/// Explains a query string that does not fit its route.
pub(super) fn query_config() -> web::QueryConfig {
    web::QueryConfig::default().error_handler(|error, _| {
        let reason = match error {
            actix_web::error::QueryPayloadError::Deserialize(error) => error.to_string(),
            other => other.to_string(),
        };
        Problem::from(Fault::InvalidQueryString(format!("the query string is not as it should be: {reason}")))
            .into()
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn format(accept: &str) -> Format {
        let request = TestRequest::default().insert_header((header::ACCEPT, accept)).to_http_request();
        Format::extract(&request).into_inner().unwrap()
    }

    #[test]
    fn the_preferred_form_wins_and_json_is_for_everybody_else() {
        for (accept, expected) in [
            ("*/*", Format::Json),
            ("application/x-ndjson", Format::Streamed(Layout::Ndjson)),
            ("text/csv, application/json;q=0.5", Format::Streamed(Layout::Csv)),
            ("text/csv;q=0.5, application/json", Format::Json),
            ("image/png", Format::Json),
            ("no/;media", Format::Json),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
        let silent = TestRequest::default().to_http_request();
        assert_eq!(Format::extract(&silent).into_inner().unwrap(), Format::Json);
    }
}
