//! What can go wrong, typed where it is born: a stable code, whether to try again, and what became of the write.

use std::time::Duration;

use serde::Serialize;

pub use crate::policy::RefusedBecause;

/// What became of a write that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It left nothing behind, and never will: safe to send again.
    NotExecuted,
    /// Its COMMIT failed in the storage and could not be resolved: it may be there or not.
    Unknown,
}

/// The kinds of errors a statement can end with; each has one stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementErrorKind {
    /// SQL that does not parse, or names what does not exist.
    InvalidSql,
    /// More than one statement where one is taken.
    MultipleStatements,
    /// Nothing but blanks and comments.
    EmptyStatement,
    /// Too many, too few or wrongly named parameters.
    InvalidParams,
    /// SQL that is not for callers: transaction control, ATTACH, most PRAGMAs, the engine's own tables.
    ForbiddenSql,
    /// A write where only reads are taken.
    NotReadOnly,
    /// UNIQUE, NOT NULL, CHECK, FOREIGN KEY, a trigger's RAISE.
    ConstraintViolation,
    /// A value that does not fit its column (STRICT tables, rowids).
    TypeMismatch,
    /// A text, blob, row or statement larger than `database.max_value_size`, or another of SQLite's limits.
    TooLarge,
    /// A result beyond the limits in rows or bytes.
    ResultTooLarge,
    /// It ran longer than it may.
    StatementTimeout,
    /// Text in the file that is not UTF-8.
    InvalidText,
    /// The storage failed: I/O error, disk full, read-only file, damaged file.
    Storage,
    /// The code that ran it panicked.
    Panicked,
    /// An error of SQLite that fits nowhere above.
    Sqlite,
}

impl StatementErrorKind {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidSql => "invalid_sql",
            Self::MultipleStatements => "multiple_statements",
            Self::EmptyStatement => "empty_statement",
            Self::InvalidParams => "invalid_params",
            Self::ForbiddenSql => "forbidden_sql",
            Self::NotReadOnly => "not_read_only",
            Self::ConstraintViolation => "constraint_violation",
            Self::TypeMismatch => "type_mismatch",
            Self::TooLarge => "too_large",
            Self::ResultTooLarge => "result_too_large",
            Self::StatementTimeout => "statement_timeout",
            Self::InvalidText => "invalid_text",
            Self::Storage => "storage",
            Self::Panicked => "panicked",
            Self::Sqlite => "sqlite",
        }
    }

    /// Whether the same statement may succeed later without anybody changing it.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Storage | Self::StatementTimeout)
    }
}

/// Why a statement failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StatementError {
    /// What kind of error it is.
    pub kind: StatementErrorKind,
    /// What went wrong and what to do, for people.
    pub message: String,
    /// SQLite's extended result code (<https://sqlite.org/rescode.html>), if SQLite said it.
    pub sqlite_code: Option<i32>,
}

impl StatementError {
    pub(crate) fn new(kind: StatementErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), sqlite_code: None }
    }

    /// An error that SQLite would have said with this code.
    pub(crate) fn with_code(kind: StatementErrorKind, code: i32, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), sqlite_code: Some(code) }
    }

    /// SQLite's own words for transaction control where there is none to be had (`SQLITE_ERROR`).
    pub(crate) fn misplaced(message: impl Into<String>) -> Self {
        Self::with_code(StatementErrorKind::InvalidSql, 1, message)
    }

    /// Whether the connection itself can no longer be trusted. Full disks, read-only files and damaged pages are not its
    /// fault, and another one would fare no better.
    pub(crate) fn breaks_connection(&self) -> bool {
        /// `SQLITE_IOERR`, `SQLITE_CANTOPEN`, `SQLITE_NOTADB`.
        const BROKEN: [i32; 3] = [10, 14, 26];
        // The lowest byte of an extended code is the code.
        self.sqlite_code.is_some_and(|code| BROKEN.contains(&(code & 0xff)))
    }
}

/// A request that was turned away at the door or in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{because}")]
pub struct Refusal {
    /// Why.
    pub because: RefusedBecause,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(because: RefusedBecause) -> Self {
        let retry_after = match because {
            RefusedBecause::QueueFull | RefusedBecause::LogFull => Some(Duration::from_secs(1)),
            RefusedBecause::ShuttingDown | RefusedBecause::Failed => Some(Duration::from_secs(5)),
            RefusedBecause::TooLarge | RefusedBecause::DeadlinePassed | RefusedBecause::NotOpen => None,
        };
        Self { because, retry_after }
    }
}

/// Why a write is not acknowledged. All but [`WriteError::Unknown`] mean: not executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The statement failed; it left nothing behind.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A statement of a transaction failed; the whole transaction left nothing behind.
    #[error("statement {} of the transaction: {error}", index + 1)]
    Transaction {
        /// The failing statement, counted from 0.
        index: usize,
        /// What was wrong with it.
        error: StatementError,
    },
    /// A field of a typed write is out of its bounds.
    #[error("{0}")]
    InvalidMessage(String),
    /// It was never begun.
    #[error("not executed: {0}")]
    Refused(#[from] Refusal),
    /// The logic of a transaction decided against it.
    #[error("not executed, as its own logic decided: {0}")]
    Aborted(String),
    /// A lease ended before its COMMIT; nothing of it was kept.
    #[error("the lease has ended: {0}; nothing of it was kept, begin again")]
    LeaseEnded(LeaseEnd),
    /// The idempotency key was used before, for another write.
    #[error("the idempotency key was already used for another write; use a new key for a new write")]
    IdempotencyConflict,
    /// The COMMIT failed in the storage and could not be resolved: read before sending it again.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

impl WriteError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Statement(error) | Self::Transaction { error, .. } => error.kind.code(),
            Self::InvalidMessage(_) => "invalid_message",
            Self::Refused(refusal) => refusal.because.code(),
            Self::Aborted(_) => "aborted",
            Self::LeaseEnded(_) => "lease_ended",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::Unknown(_) => "outcome_unknown",
        }
    }

    /// What became of the write.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown(_) => Outcome::Unknown,
            _ => Outcome::NotExecuted,
        }
    }

    /// Whether the same write may succeed later. With [`Outcome::Unknown`] only with an idempotency key.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Statement(error) | Self::Transaction { error, .. } => error.kind.is_retryable(),
            Self::Refused(refusal) => refusal.because.is_retryable(),
            Self::LeaseEnded(_) => true,
            Self::Unknown(_) | Self::InvalidMessage(_) | Self::Aborted(_) | Self::IdempotencyConflict => {
                false
            }
        }
    }
}

/// Why a lease ended without its COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Its time was up.
    Expired,
    /// Its holder rolled it back, or let go of it.
    RolledBack,
    /// A statement of its own ended the transaction (`OR ROLLBACK`, `RAISE(ROLLBACK)`, a timeout, a full disk).
    TransactionEnded,
    /// The writer failed, and another one does not know its transaction.
    WriterFailed,
    /// The time of a shutdown was up.
    ShuttingDown,
}

impl std::fmt::Display for LeaseEnd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Expired => "its time was up (writer.lease_timeout)",
            Self::RolledBack => "it was rolled back",
            Self::TransactionEnded => "one of its statements ended the transaction",
            Self::WriterFailed => "the writer failed",
            Self::ShuttingDown => "the database is shutting down",
        })
    }
}

/// Why a query has no rows to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The statement failed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A field of a typed query is out of its bounds.
    #[error("{0}")]
    InvalidMessage(String),
    /// It was never begun.
    #[error("not executed: {0}")]
    Refused(#[from] Refusal),
    /// The commit asked for was not reached in time.
    #[error("commit {wanted} was not reached in time; the last one is {last}")]
    CommitNotReached {
        /// What the query asked to see.
        wanted: u64,
        /// What there is.
        last: u64,
    },
    /// The rows do not fit the type asked for.
    #[error("{0}")]
    Deserialize(String),
}

impl ReadError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Statement(error) => error.kind.code(),
            Self::InvalidMessage(_) => "invalid_message",
            Self::Refused(refusal) => refusal.because.code(),
            Self::CommitNotReached { .. } => "commit_not_reached",
            Self::Deserialize(_) => "deserialize",
        }
    }

    /// Whether the same query may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Statement(error) => error.kind.is_retryable() || error.kind == StatementErrorKind::Panicked,
            Self::Refused(refusal) => refusal.because.is_retryable(),
            Self::CommitNotReached { .. } => true,
            Self::InvalidMessage(_) | Self::Deserialize(_) => false,
        }
    }
}

/// Why a database could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There is no actix `System` on this thread.
    #[error("no actix System is running on this thread; open the database inside one")]
    NoSystem,
    /// The settings contradict themselves.
    #[error(transparent)]
    Settings(#[from] crate::settings::SettingsError),
    /// The directory of the file is not there.
    #[error("the directory {0} does not exist; create it first")]
    MissingDirectory(String),
    /// The file cannot be read or written.
    #[error("cannot open {path}: {reason}")]
    Open {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Another process has it.
    #[error("{path} is in use by {holder}; stop it, or talk to it over its URL")]
    Locked {
        /// The file.
        path: String,
        /// Who holds it, as far as it said so.
        holder: String,
    },
    /// The file is something else, or damaged.
    #[error("{path} is not an SQLite database, or is damaged: {reason}")]
    NotADatabase {
        /// The file.
        path: String,
        /// What SQLite said.
        reason: String,
    },
    /// The file was written by a later version of this program.
    #[error("{path} is newer than this program ({reason}); use the version that wrote it, or a later one")]
    NewerSchema {
        /// The file.
        path: String,
        /// What is newer.
        reason: String,
    },
    /// A migration failed; the file is as it was before it.
    #[error("migrating {path}: {reason}")]
    Migration {
        /// The file.
        path: String,
        /// What failed.
        reason: String,
    },
    /// The SQLite linked into the program has a bug that loses data.
    #[error("SQLite {0} is too old: versions before 3.51.3 can reset a WAL that is in use; link a later one")]
    SqliteTooOld(String),
    /// The threads died before they answered.
    #[error("the database stopped while it was starting: {0}")]
    Stopped(String),
}

impl StartError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSystem => "no_system",
            Self::Settings(_) => "invalid_settings",
            Self::MissingDirectory(_) => "missing_directory",
            Self::Open { .. } => "cannot_open",
            Self::Locked { .. } => "locked",
            Self::NotADatabase { .. } => "not_a_database",
            Self::NewerSchema { .. } => "newer_schema",
            Self::Migration { .. } => "migration",
            Self::SqliteTooOld(_) => "sqlite_too_old",
            Self::Stopped(_) => "stopped",
        }
    }
}
