//! What goes wrong. An error of a request is part of its result ([`WireError`]); a client that breaks the rules of the
//! protocol ([`ProtocolError`]) is told so with a 4xx over HTTP, and with the end of the connection over a WebSocket.
//!
//! Codes are those of SQLite by their names, else those that libSQL's own server has, else ours in capitals.

use std::borrow::Cow;

use actix_web::ResponseError;
use actix_web::http::StatusCode;
use rusqlite::ffi;
use serde::Serialize;

use super::proto::Version;
use crate::database::SessionError;
use crate::error::{ReadError, StatementError, StatementErrorKind as Kind, WriteError};
use crate::server::problem::Problem;

/// An error as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct WireError {
    pub(super) message: String,
    pub(super) code: Cow<'static, str>,
}

impl WireError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { message: message.into(), code: code.into() }
    }
}

/// A client that does what the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum ProtocolError {
    #[error("the baton is none of a stream that is open")]
    BatonInvalid,
    #[error("the baton was used before; each answer brings another one, and each is good for one request")]
    BatonReused,
    #[error("the stream has expired: nothing came for too long (server.hrana.stream_idle_timeout)")]
    StreamExpired,
    #[error("the stream is closed; nothing can follow `close`")]
    StreamClosed,
    #[error(
        "there are {0} streams already (server.hrana.max_streams); close some, or wait for idle ones to expire"
    )]
    TooManyStreams(usize),
    #[error("the database is shutting down")]
    ShuttingDown,
    #[error("{what} needs version {} of the protocol", *since as u8)]
    NotSupported { what: &'static str, since: Version },
    #[error("no SQL text is stored as {0}")]
    SqlNotFound(i32),
    #[error("an SQL text is stored as {0} already; close that one first")]
    SqlExists(i32),
    #[error("both `sql` and `sql_id` are given; give one")]
    BothSqlAndId,
    #[error("neither `sql` nor `sql_id` is given")]
    NeitherSqlNorId,
    #[error("a condition names step {0}, which does not come before it")]
    BadStep(u32),
    #[error("an idempotency key goes with {0} only, not with a body that has `stmt`")]
    KeyNotSupported(&'static str),
    #[error("no subprotocol that is offered is known; there are hrana1, hrana2 and hrana3")]
    UnknownSubprotocol,
    #[error("there is a stream {0} already")]
    StreamExists(i32),
    #[error("there is no stream {0}")]
    StreamNotFound(i32),
    #[error("there is a cursor {0} already")]
    CursorExists(i32),
    #[error("there is no cursor {0}")]
    CursorNotFound(i32),
    #[error("the first message must be `hello`")]
    RequestBeforeHello,
    #[error("messages are text, and this one was binary")]
    BinaryMessage,
    #[error("the message is not as it should be: {0}")]
    InvalidMessage(String),
}

impl ProtocolError {
    pub(in crate::server) fn code(&self) -> &'static str {
        match self {
            Self::BatonInvalid => "BATON_INVALID",
            Self::BatonReused => "BATON_REUSED",
            Self::StreamExpired => "STREAM_EXPIRED",
            Self::StreamClosed => "STREAM_CLOSED",
            Self::TooManyStreams(_) => "STREAMS_TOO_MANY",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::NotSupported { .. } => "NOT_SUPPORTED",
            Self::SqlNotFound(_) => "SQL_NOT_FOUND",
            Self::SqlExists(_) => "SQL_EXISTS",
            Self::BothSqlAndId | Self::NeitherSqlNorId => "SQL_OR_SQL_ID",
            Self::BadStep(_) => "BATCH_COND_BAD_STEP",
            Self::KeyNotSupported(_) => "IDEMPOTENCY_KEY_NOT_SUPPORTED",
            Self::UnknownSubprotocol => "UNKNOWN_SUBPROTOCOL",
            Self::StreamExists(_) => "STREAM_EXISTS",
            Self::StreamNotFound(_) => "STREAM_NOT_FOUND",
            Self::CursorExists(_) => "CURSOR_EXISTS",
            Self::CursorNotFound(_) => "CURSOR_NOT_FOUND",
            Self::RequestBeforeHello => "REQUEST_BEFORE_HELLO",
            Self::BinaryMessage => "BINARY_MESSAGE",
            Self::InvalidMessage(_) => "INVALID_MESSAGE",
        }
    }

    /// Whether it passes by itself.
    pub(in crate::server) fn is_retryable(&self) -> bool {
        matches!(self, Self::TooManyStreams(_) | Self::ShuttingDown)
    }

    pub(in crate::server) fn status(&self) -> StatusCode {
        if self.is_retryable() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST }
    }
}

impl From<ProtocolError> for WireError {
    fn from(error: ProtocolError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Why a request is not done.
#[derive(Debug)]
pub(super) enum Refused {
    /// Its result says so.
    Request(WireError),
    /// And nothing else is.
    Protocol(ProtocolError),
}

impl From<ProtocolError> for Refused {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self::Request(error)
    }
}

impl From<SessionError> for WireError {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Write(WriteError::Statement(error) | WriteError::Transaction { error, .. })
            | SessionError::Read(ReadError::Statement(error)) => statement(error),
            SessionError::Write(other) => coded(other.code(), other),
            SessionError::Read(other) => coded(other.code(), other),
            SessionError::TransactionTimeout => Self::new("TRANSACTION_TIMEOUT", error.to_string()),
            SessionError::TransactionBusy => Self::new("TRANSACTION_BUSY", error.to_string()),
        }
    }
}

/// One of our own codes.
fn coded(code: &'static str, error: &dyn std::fmt::Display) -> WireError {
    WireError { message: error.to_string(), code: code.to_ascii_uppercase().into() }
}

fn statement(error: &StatementError) -> WireError {
    let code = match error.kind {
        Kind::InvalidSql if is_syntax(&error.message) => "SQL_PARSE_ERROR",
        Kind::EmptyStatement => "SQL_NO_STATEMENT",
        Kind::MultipleStatements => "SQL_MANY_STATEMENTS",
        Kind::InvalidParams => "ARGS_INVALID",
        Kind::ResultTooLarge => "RESPONSE_TOO_LARGE",
        kind => match (error.sqlite_code, kind) {
            (Some(code), _) => {
                return WireError::new(sqlite_name(code), format!("SQLite error: {}", error.message));
            }
            (None, Kind::NotReadOnly) => "SQLITE_READONLY",
            (None, Kind::ForbiddenSql) => "SQLITE_AUTH",
            (None, Kind::StatementTimeout) => "SQLITE_INTERRUPT",
            (None, _) => return coded(kind.code(), error),
        },
    };
    WireError::new(code, error.message.clone())
}

/// SQLite has one code for what does not parse and for what names something unknown.
fn is_syntax(message: &str) -> bool {
    ["syntax error", "incomplete input", "unrecognized token"].iter().any(|words| message.contains(words))
}

/// The status of an error by itself, where it is the whole answer.
pub(super) fn status(error: &SessionError) -> StatusCode {
    match error {
        SessionError::Write(error) => Problem::from(error.clone()).status_code(),
        SessionError::Read(error) => Problem::from(error.clone()).status_code(),
        SessionError::TransactionTimeout => StatusCode::REQUEST_TIMEOUT,
        SessionError::TransactionBusy => StatusCode::SERVICE_UNAVAILABLE,
    }
}

macro_rules! names {
    ($($name:ident)*) => {
        /// The name of a result code, extended or not (<https://sqlite.org/rescode.html>).
        fn known_name(code: i32) -> Option<&'static str> {
            match code {
                $(ffi::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

names! {
    SQLITE_OK SQLITE_ERROR SQLITE_INTERNAL SQLITE_PERM SQLITE_ABORT SQLITE_BUSY SQLITE_LOCKED SQLITE_NOMEM
    SQLITE_READONLY SQLITE_INTERRUPT SQLITE_IOERR SQLITE_CORRUPT SQLITE_NOTFOUND SQLITE_FULL SQLITE_CANTOPEN
    SQLITE_PROTOCOL SQLITE_EMPTY SQLITE_SCHEMA SQLITE_TOOBIG SQLITE_CONSTRAINT SQLITE_MISMATCH SQLITE_MISUSE
    SQLITE_NOLFS SQLITE_AUTH SQLITE_FORMAT SQLITE_RANGE SQLITE_NOTADB SQLITE_NOTICE SQLITE_WARNING SQLITE_ROW
    SQLITE_DONE
    SQLITE_ERROR_MISSING_COLLSEQ SQLITE_ERROR_RETRY SQLITE_ERROR_SNAPSHOT
    SQLITE_IOERR_READ SQLITE_IOERR_SHORT_READ SQLITE_IOERR_WRITE SQLITE_IOERR_FSYNC SQLITE_IOERR_DIR_FSYNC
    SQLITE_IOERR_TRUNCATE SQLITE_IOERR_FSTAT SQLITE_IOERR_UNLOCK SQLITE_IOERR_RDLOCK SQLITE_IOERR_DELETE
    SQLITE_IOERR_BLOCKED SQLITE_IOERR_NOMEM SQLITE_IOERR_ACCESS SQLITE_IOERR_CHECKRESERVEDLOCK SQLITE_IOERR_LOCK
    SQLITE_IOERR_CLOSE SQLITE_IOERR_DIR_CLOSE SQLITE_IOERR_SHMOPEN SQLITE_IOERR_SHMSIZE SQLITE_IOERR_SHMLOCK
    SQLITE_IOERR_SHMMAP SQLITE_IOERR_SEEK SQLITE_IOERR_DELETE_NOENT SQLITE_IOERR_MMAP SQLITE_IOERR_GETTEMPPATH
    SQLITE_IOERR_CONVPATH SQLITE_IOERR_VNODE SQLITE_IOERR_AUTH SQLITE_IOERR_BEGIN_ATOMIC
    SQLITE_IOERR_COMMIT_ATOMIC SQLITE_IOERR_ROLLBACK_ATOMIC SQLITE_IOERR_DATA SQLITE_IOERR_CORRUPTFS
    SQLITE_IOERR_IN_PAGE
    SQLITE_LOCKED_SHAREDCACHE SQLITE_LOCKED_VTAB
    SQLITE_BUSY_RECOVERY SQLITE_BUSY_SNAPSHOT SQLITE_BUSY_TIMEOUT
    SQLITE_CANTOPEN_NOTEMPDIR SQLITE_CANTOPEN_ISDIR SQLITE_CANTOPEN_FULLPATH SQLITE_CANTOPEN_CONVPATH
    SQLITE_CANTOPEN_SYMLINK
    SQLITE_CORRUPT_VTAB SQLITE_CORRUPT_SEQUENCE SQLITE_CORRUPT_INDEX
    SQLITE_READONLY_RECOVERY SQLITE_READONLY_CANTLOCK SQLITE_READONLY_ROLLBACK SQLITE_READONLY_DBMOVED
    SQLITE_READONLY_CANTINIT SQLITE_READONLY_DIRECTORY
    SQLITE_ABORT_ROLLBACK
    SQLITE_CONSTRAINT_CHECK SQLITE_CONSTRAINT_COMMITHOOK SQLITE_CONSTRAINT_FOREIGNKEY SQLITE_CONSTRAINT_FUNCTION
    SQLITE_CONSTRAINT_NOTNULL SQLITE_CONSTRAINT_PRIMARYKEY SQLITE_CONSTRAINT_TRIGGER SQLITE_CONSTRAINT_UNIQUE
    SQLITE_CONSTRAINT_VTAB SQLITE_CONSTRAINT_ROWID SQLITE_CONSTRAINT_PINNED SQLITE_CONSTRAINT_DATATYPE
    SQLITE_NOTICE_RECOVER_WAL SQLITE_NOTICE_RECOVER_ROLLBACK SQLITE_NOTICE_RBU
    SQLITE_WARNING_AUTOINDEX SQLITE_AUTH_USER
}

/// One that is newer than this table has the name of its kind.
fn sqlite_name(code: i32) -> &'static str {
    known_name(code).or_else(|| known_name(code & 0xff)).unwrap_or("SQLITE_UNKNOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(kind: Kind, message: &str, sqlite_code: Option<i32>) -> String {
        let error = StatementError { kind, message: message.into(), sqlite_code };
        WireError::from(SessionError::from(WriteError::from(error))).code.into_owned()
    }

    #[test]
    fn errors_of_sqlite_have_their_full_names() {
        for (code, name) in [
            (1, "SQLITE_ERROR"),
            (5, "SQLITE_BUSY"),
            (19, "SQLITE_CONSTRAINT"),
            (2067, "SQLITE_CONSTRAINT_UNIQUE"),
            (1555, "SQLITE_CONSTRAINT_PRIMARYKEY"),
            (787, "SQLITE_CONSTRAINT_FOREIGNKEY"),
            (1811, "SQLITE_CONSTRAINT_TRIGGER"),
            (3091, "SQLITE_CONSTRAINT_DATATYPE"),
            (8714, "SQLITE_IOERR_IN_PAGE"),
            (101, "SQLITE_DONE"),
            (0x6313, "SQLITE_CONSTRAINT"),
            (77, "SQLITE_UNKNOWN"),
        ] {
            assert_eq!(sqlite_name(code), name);
        }
    }

    #[test]
    fn every_kind_of_error_has_the_code_that_clients_know() {
        for (kind, message, sqlite_code, expected) in [
            (
                Kind::InvalidSql,
                "near \"SELEC\": syntax error, at character 1: SELEC",
                Some(1),
                "SQL_PARSE_ERROR",
            ),
            (Kind::InvalidSql, "incomplete input", Some(1), "SQL_PARSE_ERROR"),
            (Kind::InvalidSql, "no such table: t", Some(1), "SQLITE_ERROR"),
            (Kind::EmptyStatement, "", None, "SQL_NO_STATEMENT"),
            (Kind::MultipleStatements, "", None, "SQL_MANY_STATEMENTS"),
            (Kind::InvalidParams, "", Some(25), "ARGS_INVALID"),
            (Kind::ConstraintViolation, "", Some(2067), "SQLITE_CONSTRAINT_UNIQUE"),
            (Kind::ForbiddenSql, "", Some(23), "SQLITE_AUTH"),
            (Kind::ForbiddenSql, "", None, "SQLITE_AUTH"),
            (Kind::NotReadOnly, "", None, "SQLITE_READONLY"),
            (Kind::StatementTimeout, "", None, "SQLITE_INTERRUPT"),
            (Kind::ResultTooLarge, "", None, "RESPONSE_TOO_LARGE"),
            (Kind::Panicked, "", None, "PANICKED"),
        ] {
            assert_eq!(code_of(kind, message, sqlite_code), expected, "{kind:?} {message}");
        }
        assert_eq!(WireError::from(SessionError::TransactionTimeout).code, "TRANSACTION_TIMEOUT");
        assert_eq!(WireError::from(SessionError::TransactionBusy).code, "TRANSACTION_BUSY");
        let unknown = SessionError::from(WriteError::Unknown("fsync".into()));
        assert_eq!(WireError::from(unknown).code, "OUTCOME_UNKNOWN");
    }
}
