//! A span a request. It names route, status and code; never the body, the query string or the headers, where secrets are.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::{Error, HttpMessage};
use tracing::Span;
use tracing::field::{Empty, display};
use tracing_actix_web::{RequestId, RootSpanBuilder};

use super::problem::Problem;

pub(super) struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let route = request.match_pattern().unwrap_or_default();
        let span = tracing::info_span!("request", method = %request.method(), route, id = Empty, status = Empty, code = Empty);
        if let Some(id) = request.extensions().get::<RequestId>() {
            span.record("id", display(id));
        }
        span
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let (status, error) = match outcome {
            Ok(response) => (response.status(), response.response().error()),
            Err(error) => (error.as_response_error().status_code(), Some(error)),
        };
        span.record("status", status.as_u16());
        if let Some(problem) = error.and_then(|error| error.as_error::<Problem>()) {
            span.record("code", problem.code());
        }
        // A line a request only on demand: under overload it would be the load.
        span.in_scope(|| tracing::debug!("answered"));
    }
}
