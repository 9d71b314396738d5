//! On what terms a write is taken: under which key, and whether its caller waits for its COMMIT. Both are headers, the
//! same on every route that writes one message, and [`Daemon::write`] alone acts on them.

use std::future::{Ready, ready};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::Daemon;
use super::problem::{Fault, Problem};
use crate::{IdempotencyKey, Keyed, Write, WriteError};

/// The headers, as they are documented.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only its documentation is used")]
pub(super) struct TermsHeaders {
    /// However often the write is sent under this key, it is committed once, and each answer is the first one's. Another
    /// write under the same key is refused with 409.
    #[param(rename = "Idempotency-Key", max_length = 255)]
    idempotency_key: Option<String>,
    /// `respond-async` (RFC 7240): answered with 202 when the write is queued, and not when it is committed. It is lost if
    /// the daemon dies before its turn; if it fails, it becomes a dead letter. Other preferences are ignored.
    #[param(rename = "Prefer", example = "respond-async")]
    prefer: Option<String>,
}

const RESPOND_ASYNC: &str = "respond-async";

/// The answer to a write whose caller does not wait: nothing of a receipt is in it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema, IntoResponses)]
#[response(
    status = ACCEPTED,
    description = "Queued, as `Prefer: respond-async` asked for. It is not committed yet, and may still fail.",
    headers(("Preference-Applied" = String, description = "`respond-async`"))
)]
pub(crate) struct Queued {
    /// Always true.
    queued: bool,
}

/// What the headers say.
pub(super) struct Terms {
    key: Option<IdempotencyKey>,
    waits: bool,
}

impl Terms {
    /// Whether the write has an idempotency key.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

impl FromRequest for Terms {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let key = key(request.headers()).map_err(|reason| Fault::InvalidIdempotencyKey(reason).into());
        ready(key.map(|key| Self { key, waits: !prefers_not_to_wait(request.headers()) }))
    }
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, String> {
    let mut keys = headers.get_all("idempotency-key");
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err("there is more than one header Idempotency-Key; send one".into());
    }
    let key = key.to_str().map_err(|_| "an idempotency key is printable ASCII")?;
    IdempotencyKey::new(key).map(Some)
}

/// Of several preferences of one name the first one counts; with a value it is another preference.
fn prefers_not_to_wait(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all("prefer").flat_map(|list| split(list.as_bytes(), b',')).map(preference);
    all.find(|(name, _)| name.eq_ignore_ascii_case(RESPOND_ASYNC.as_bytes()))
        .is_some_and(|(_, value)| matches!(value, b"" | b"\"\""))
}

/// A preference's name and value; its parameters are left out.
fn preference(text: &[u8]) -> (&[u8], &[u8]) {
    let text = split(text, b';').next().unwrap_or_default();
    let mut parts = text.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The parts between the separators that are not in quotes.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        is_escaped = is_quoted && *byte == b'\\';
        is_quoted ^= *byte == b'"';
        !is_quoted && *byte == separator
    })
}

/// What became of a write, by its terms.
pub(super) enum Taken<R> {
    Committed(R),
    Queued,
}

impl<R> Taken<R> {
    /// The answer made of the reply; nothing is known of a write that is only queued.
    pub(super) fn answer<A>(self, answer: impl FnOnce(R) -> A) -> Taken<A> {
        match self {
            Self::Committed(reply) => Taken::Committed(answer(reply)),
            Self::Queued => Taken::Queued,
        }
    }

    /// The same, if the reply is not a fault.
    pub(super) fn try_answer<A>(self, answer: impl FnOnce(R) -> Result<A, Fault>) -> Result<Taken<A>, Fault> {
        Ok(match self {
            Self::Committed(reply) => Taken::Committed(answer(reply)?),
            Self::Queued => Taken::Queued,
        })
    }
}

impl<R: Responder> Responder for Taken<R>
where
    R::Body: MessageBody + 'static,
{
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Committed(answer) => answer.respond_to(request).map_into_boxed_body(),
            Self::Queued => HttpResponse::Accepted()
                .insert_header(("preference-applied", RESPOND_ASYNC))
                .json(Queued { queued: true }),
        }
    }
}

impl Daemon {
    /// Takes a write on the terms of its request.
    pub(super) async fn write<W: Write>(
        &self,
        write: W,
        terms: Terms,
    ) -> Result<Taken<W::Reply>, WriteError> {
        let Terms { key, waits } = terms;
        match key {
            Some(key) => self.take(Keyed { write, key }, waits).await,
            None => self.take(write, waits).await,
        }
    }

    async fn take<W: Write>(&self, write: W, waits: bool) -> Result<Taken<W::Reply>, WriteError> {
        if waits {
            self.database.send(write).await.map(Taken::Committed)
        } else {
            self.database.enqueue(write).await.map(|_| Taken::Queued)
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn one_preference_is_known_wherever_it_stands_and_others_are_ignored() {
        for (lists, expected) in [
            (&["respond-async"][..], true),
            (&["Respond-Async"], true),
            (&["return=minimal, respond-async"], true),
            (&["return=minimal", " respond-async ;foo; bar=1 , wait = 10"], true),
            (&["respond-async=\"\""], true),
            (&["respond-async ="], true),
            (&["foo=\"a, \\\" b\", respond-async"], true),
            (&[",, respond-async,"], true),
            (&[], false),
            (&[""], false),
            (&["return=minimal"], false),
            (&["return=respond-async"], false),
            (&["foo; respond-async"], false),
            (&["foo=\"a, respond-async, b\""], false),
            (&["foo=\"\\\", respond-async"], false),
            (&["respond-asynchronously"], false),
            (&["respond-async=no"], false),
            // The first one counts.
            (&["respond-async=no", "respond-async"], false),
            (&["respond-async, respond-async=no"], true),
        ] {
            let request = lists
                .iter()
                .fold(TestRequest::default(), |request, list| request.append_header(("prefer", *list)));
            assert_eq!(prefers_not_to_wait(request.to_http_request().headers()), expected, "{lists:?}");
        }
    }
}
