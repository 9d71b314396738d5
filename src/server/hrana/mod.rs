//! Hrana, the protocol of the libSQL clients (<https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md>), in
//! versions 1 to 3 and as JSON.
//!
//! `proto.rs` has what is sent, `result.rs` what is answered, `value.rs` values both ways, `error.rs` what goes wrong.
//! `prepare.rs` turns requests into what a [`Session`](crate::database::Session) is asked: nothing here knows how that is
//! done. `http.rs` and `streams.rs` are the transport over HTTP, `ws/` is the one over WebSockets.

mod error;
mod http;
#[cfg(feature = "bench-internals")]
pub(crate) mod internals;
mod prepare;
mod proto;
mod result;
mod streams;
mod value;
mod ws;

use std::sync::Arc;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use tokio::sync::watch;

pub(super) use error::ProtocolError;
pub(super) use http::{batch_1, cursor_3, execute, is_execute, pipeline_2, pipeline_3, version_2, version_3};
pub(super) use ws::{connect, is_upgrade, wants_upgrade};

use super::problem::Problem;
use crate::settings::HranaSettings;
use streams::Streams;

/// What the handlers of all threads share.
pub(super) struct Hrana {
    streams: Arc<Streams>,
    settings: HranaSettings,
    /// Whether it is the end, for those who wait for something else.
    closing: watch::Sender<bool>,
}

impl Hrana {
    pub(super) fn new(settings: &HranaSettings) -> Self {
        let streams = Arc::new(Streams::new(settings));
        Self { streams, settings: settings.clone(), closing: watch::Sender::new(false) }
    }

    /// Drops streams that nobody asks for, for ever.
    pub(super) async fn keep_expiring(&self) {
        self.streams.keep_expiring().await;
    }

    fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Drops all streams, for the end.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
        self.streams.close();
    }
}

/// Whether clients of Hrana, and no others, ask for this path. Those of the encoding that there is not are theirs too.
fn is_path(path: &str) -> bool {
    path == "/v1/batch"
        || ["/v2", "/v3", "/v3-protobuf"].iter().any(|version| {
            path.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// What is wrong with a request is told in the words of its protocol.
pub(super) async fn speak(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_hrana = is_path(request.path());
    let told = |error: &Error| error.as_error::<Problem>().cloned().map(Problem::in_hrana);
    match next.call(request).await {
        Ok(answer) if is_hrana => match answer.response().error().and_then(told) {
            Some(problem) => Ok(ServiceResponse::from_err(problem, answer.into_parts().0)),
            None => Ok(answer.map_into_boxed_body()),
        },
        Ok(answer) => Ok(answer.map_into_boxed_body()),
        Err(error) if is_hrana => Err(told(&error).map_or(error, Error::from)),
        Err(error) => Err(error),
    }
}
