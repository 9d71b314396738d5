//! What a request that was not answered is told: `application/problem+json` (RFC 9457), always with a stable `code`, with
//! what became of the request, and with whether to send it again.
//!
//! Here stands the one table from errors to statuses. What a caller can mend is a 4xx: 400 for requests and SQL that are
//! wrong, 403 for SQL that is not for callers, 408 for time limits, 409 for a violated constraint and for an idempotency
//! key of another write, 413 for what is too large to take, 422 for results that cannot be given. 503 is only for what
//! passes by itself, and says when to come back; 500 is ours.

use std::time::Duration;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::hrana::ProtocolError;
use crate::error::{
    Outcome, ReadError, Refusal, RefusedBecause, StatementError, StatementErrorKind as Kind, WriteError,
};
use crate::message::ParamsError;
use crate::relay::ImportReport;

/// The media type of every answer that is none.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// When a storage that failed is worth another try.
const STORAGE_PAUSE: Duration = Duration::from_secs(5);

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says more than an address would.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What is wrong with this request and what to do about it, for people.
    detail: String,
    /// What is wrong, for programs.
    #[schema(example = "invalid_sql")]
    code: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What became of it. `unknown` comes with a storage that failed, and with an import that ended half-way.
    outcome: Outcome,
    /// SQLite's extended result code, if SQLite said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlite_code: Option<i32>,
    /// The failing statement of a transaction, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<usize>,
    /// What an import that ended half-way did before; the same import again skips it.
    #[serde(skip_serializing_if = "Option::is_none")]
    import: Option<ImportReport>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    allow: Vec<Method>,
    /// The rest of the request may still come, and nothing else can before it.
    #[serde(skip)]
    closes: bool,
    /// It is told to a client that reads no problems, but errors of Hrana.
    #[serde(skip)]
    is_hrana: bool,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: String) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Unknown"),
            status,
            detail,
            code,
            retryable: false,
            outcome: Outcome::NotExecuted,
            sqlite_code: None,
            statement: None,
            import: None,
            retry_after: None,
            allow: Vec::new(),
            closes: false,
            is_hrana: false,
        }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The same, for a client that speaks Hrana.
    pub(super) fn in_hrana(self) -> Self {
        Self { is_hrana: true, ..self }
    }

    /// Of an import that ended half-way. Sending it again is safe: what is there already is skipped.
    pub(super) fn half_way(mut self, import: ImportReport) -> Self {
        self.outcome = Outcome::Unknown;
        self.retryable = true;
        self.import = Some(import);
        self
    }
}

/// A problem as clients of Hrana read it. Its media type is `application/json` without more: some compare it so.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct HranaError<'a> {
    /// What is wrong with this request and what to do about it, for people.
    message: &'a str,
    /// What is wrong, for programs.
    code: String,
}

/// A request that is turned away before it reaches the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the body is empty; send a JSON object (`{{}}` for all, where all its fields may be left out)")]
    EmptyBody,
    #[error("the body is longer than {0} bytes (server.max_body); send less at once")]
    BodyTooLarge(usize),
    #[error("the body broke off: {0}")]
    IncompleteBody(String),
    #[error("no bytes of the body came for {} s; send it again", .0.as_secs_f64())]
    BodyTimeout(Duration),
    #[error("the body is encoded as {0:?}; send it as it is")]
    UnsupportedEncoding(String),
    #[error("the body is not UTF-8: byte {0} begins no character")]
    InvalidUtf8(usize),
    #[error("the body is not JSON: {0}")]
    InvalidJson(String),
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    InvalidParams(String),
    #[error("{0}")]
    InvalidQueryString(String),
    #[error("{0}")]
    InvalidIdempotencyKey(String),
    #[error("{0:?} is no id; ids are integers")]
    InvalidId(String),
    #[error("the columns have the same name: {0:?}; rename one with AS, or ask for JSON or CSV")]
    DuplicateColumns(String),
    #[error("there is no {what} with the id {id}")]
    NotFound { what: &'static str, id: i64 },
    #[error("there is no route {0}; GET /openapi.json lists all of them")]
    UnknownRoute(String),
    #[error("the route takes {}", names(.0))]
    MethodNotAllowed(Vec<Method>),
    #[error("send the header `Authorization: Bearer <token>` with the daemon's admin token")]
    Unauthorized,
    #[error(
        "secrets, and parameters that may hold some, are shown only by a daemon that has a token; set auth.admin_token and send it"
    )]
    SecretsForbidden,
    #[error(
        "this comes from a page of another site, or its Host is neither localhost nor an IP address; a daemon that is to take it needs a token (auth.admin_token)"
    )]
    ForeignOrigin,
    #[error("the database is not running: it is {0}")]
    NotReady(&'static str),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

impl Fault {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::EmptyBody => (StatusCode::BAD_REQUEST, "empty_body"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::IncompleteBody(_) => (StatusCode::BAD_REQUEST, "incomplete_body"),
            Self::BodyTimeout(_) => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::UnsupportedEncoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
            Self::InvalidUtf8(_) => (StatusCode::BAD_REQUEST, "invalid_utf8"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, "invalid_json"),
            Self::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::InvalidParams(_) => (StatusCode::BAD_REQUEST, "invalid_params"),
            Self::InvalidQueryString(_) => (StatusCode::BAD_REQUEST, "invalid_query_string"),
            Self::InvalidIdempotencyKey(_) => (StatusCode::BAD_REQUEST, "invalid_idempotency_key"),
            Self::InvalidId(_) => (StatusCode::BAD_REQUEST, "invalid_id"),
            Self::DuplicateColumns(_) => (StatusCode::BAD_REQUEST, "duplicate_columns"),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Self::UnknownRoute(_) => (StatusCode::NOT_FOUND, "unknown_route"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::SecretsForbidden => (StatusCode::FORBIDDEN, "secrets_forbidden"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign_origin"),
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            Self::Protocol(error) => (error.status(), error.code()),
        }
    }
}

fn statement_status(kind: Kind) -> StatusCode {
    match kind {
        Kind::InvalidSql
        | Kind::MultipleStatements
        | Kind::EmptyStatement
        | Kind::InvalidParams
        | Kind::NotReadOnly
        | Kind::TypeMismatch => StatusCode::BAD_REQUEST,
        Kind::ForbiddenSql => StatusCode::FORBIDDEN,
        Kind::ConstraintViolation => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::ResultTooLarge | Kind::InvalidText => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::StatementTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::Storage => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Panicked | Kind::Sqlite => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refusal_status(because: RefusedBecause) -> StatusCode {
    match because {
        RefusedBecause::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusedBecause::DeadlinePassed => StatusCode::REQUEST_TIMEOUT,
        RefusedBecause::QueueFull
        | RefusedBecause::ShuttingDown
        | RefusedBecause::Failed
        | RefusedBecause::NotOpen
        | RefusedBecause::LogFull => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let (status, code) = fault.status_and_code();
        let mut problem = Self::new(status, code, fault.to_string());
        match fault {
            Fault::MethodNotAllowed(allow) => problem.allow = allow,
            Fault::NotReady(_) => {
                problem.retryable = true;
                problem.retry_after = Some(Duration::from_secs(1));
            }
            Fault::Protocol(error) if error.is_retryable() => {
                problem.retryable = true;
                problem.retry_after = Some(Duration::from_secs(1));
            }
            Fault::IncompleteBody(_) => problem.retryable = true,
            Fault::BodyTimeout(_) => {
                problem.retryable = true;
                problem.closes = true;
            }
            _ => {}
        }
        problem
    }
}

impl From<ProtocolError> for Problem {
    fn from(error: ProtocolError) -> Self {
        Self::from(Fault::from(error)).in_hrana()
    }
}

impl From<ParamsError> for Problem {
    fn from(error: ParamsError) -> Self {
        Fault::InvalidParams(error.to_string()).into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut problem =
            Self::new(refusal_status(refusal.because), refusal.because.code(), refusal.to_string());
        problem.retryable = refusal.because.is_retryable();
        problem.retry_after = refusal.retry_after;
        problem
    }
}

impl From<StatementError> for Problem {
    fn from(error: StatementError) -> Self {
        let mut problem = Self::new(statement_status(error.kind), error.kind.code(), error.message);
        problem.retryable = error.kind.is_retryable();
        problem.sqlite_code = error.sqlite_code;
        problem.retry_after = (error.kind == Kind::Storage).then_some(STORAGE_PAUSE);
        problem
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let (code, detail) = (error.code(), error.to_string());
        match error {
            WriteError::Statement(error) => error.into(),
            WriteError::Transaction { index, error } => {
                Self { detail, statement: Some(index), ..error.into() }
            }
            WriteError::InvalidMessage(_) => Self::new(StatusCode::BAD_REQUEST, code, detail),
            WriteError::Refused(refusal) => Self { detail, ..refusal.into() },
            WriteError::Aborted(_) | WriteError::LeaseEnded(_) => {
                Self { retryable: error.is_retryable(), ..Self::new(StatusCode::CONFLICT, code, detail) }
            }
            WriteError::IdempotencyConflict => Self::new(StatusCode::CONFLICT, code, detail),
            WriteError::Unknown(_) => {
                let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, detail);
                Self { outcome: Outcome::Unknown, ..problem }
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let (code, detail, retryable) = (error.code(), error.to_string(), error.is_retryable());
        let problem = match error {
            ReadError::Statement(error) => error.into(),
            ReadError::InvalidMessage(_) => Self::new(StatusCode::BAD_REQUEST, code, detail),
            ReadError::Refused(refusal) => Self { detail, ..refusal.into() },
            ReadError::CommitNotReached { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, code, detail),
            ReadError::Deserialize(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, detail),
        };
        Self { retryable, ..problem }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(pause) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, pause.as_secs().max(1)));
        }
        if !self.allow.is_empty() {
            response.insert_header((header::ALLOW, names(&self.allow)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, r#"Bearer realm="actix-sqlite""#));
        }
        if self.closes {
            response.force_close();
        }
        if self.is_hrana {
            return response.json(HranaError { message: &self.detail, code: self.code.to_ascii_uppercase() });
        }
        let mut response = response.json(self);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

// Serde gives the field by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_became_of_the_write_and_when_to_come_back() {
        let full = Problem::from(WriteError::from(Refusal::new(RefusedBecause::QueueFull)));
        let response = full.error_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers().get(header::RETRY_AFTER).unwrap(), "1");
        assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        assert_eq!(
            serde_json::to_value(&full).unwrap(),
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503, "code": "queue_full",
                "detail": "not executed: the queue is full; try again later", "retryable": true,
                "outcome": "not_executed",
            })
        );
        let unknown = Problem::from(WriteError::Unknown("fsync".into()));
        assert_eq!(
            (unknown.status.as_u16(), unknown.outcome, unknown.retryable),
            (500, Outcome::Unknown, false)
        );
    }

    #[test]
    fn a_failing_statement_of_a_transaction_is_named() {
        let error = StatementError::new(Kind::ConstraintViolation, "UNIQUE constraint failed: t.a");
        let problem = Problem::from(WriteError::Transaction { index: 1, error });
        assert_eq!(
            (problem.status.as_u16(), problem.code, problem.statement),
            (409, "constraint_violation", Some(1))
        );
        assert_eq!(problem.detail, "statement 2 of the transaction: UNIQUE constraint failed: t.a");
    }

    #[test]
    fn what_passes_by_itself_is_retryable_and_a_mistake_is_not() {
        for (error, status, retryable) in [
            (ReadError::from(StatementError::new(Kind::Storage, "disk full")), 503, true),
            (StatementError::new(Kind::InvalidSql, "no").into(), 400, false),
            (StatementError::new(Kind::Panicked, "no").into(), 500, true),
            (Refusal::new(RefusedBecause::DeadlinePassed).into(), 408, true),
            (Refusal::new(RefusedBecause::LogFull).into(), 503, true),
            (ReadError::CommitNotReached { wanted: 2, last: 1 }, 408, true),
            (ReadError::InvalidMessage("no".into()), 400, false),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status.as_u16(), problem.retryable), (status, retryable), "{}", problem.code);
        }
    }
}
