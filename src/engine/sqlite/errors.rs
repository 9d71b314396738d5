//! What an error of SQLite means for the caller.

use rusqlite::{Error, ErrorCode};

use super::authorizer;
use crate::error::{StatementError, StatementErrorKind as Kind};

/// SQLite's own words.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::SqliteFailure(_, Some(message)) => message.clone(),
        Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// The error of a caller's statement.
pub(super) fn statement_error(error: &Error) -> StatementError {
    let sqlite_code = match error {
        Error::SqliteFailure(code, _) => Some(code.extended_code),
        Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => None,
    };
    let (kind, message) = match error {
        Error::MultipleStatement => {
            (Kind::MultipleStatements, "one statement at a time; send several as a transaction".to_owned())
        }
        Error::SqlInputError { msg, sql, offset, .. } => (Kind::InvalidSql, located(msg, sql, *offset)),
        Error::NulError(_) => (Kind::InvalidSql, "the statement has a NUL character in it".to_owned()),
        _ => classify(error),
    };
    StatementError { kind, message, sqlite_code }
}

fn classify(error: &Error) -> (Kind, String) {
    let message = message(error);
    let Some(code) = error.sqlite_error_code() else { return (Kind::Sqlite, message) };
    let kind = match code {
        ErrorCode::Unknown => Kind::InvalidSql,
        ErrorCode::ConstraintViolation => Kind::ConstraintViolation,
        ErrorCode::TypeMismatch => Kind::TypeMismatch,
        ErrorCode::TooBig => {
            let message = format!("{message}: larger than database.max_value_size allows");
            return (Kind::TooLarge, message);
        }
        ErrorCode::AuthorizationForStatementDenied => {
            let refused = authorizer::take_refused().unwrap_or(message);
            return (Kind::ForbiddenSql, refused);
        }
        ErrorCode::OperationInterrupted => {
            return (Kind::StatementTimeout, "it ran longer than it may; see the settings".to_owned());
        }
        ErrorCode::ReadOnly
        | ErrorCode::SystemIoFailure
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::DiskFull
        | ErrorCode::CannotOpen
        | ErrorCode::NotADatabase
        | ErrorCode::OutOfMemory
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => Kind::Storage,
        _ => Kind::Sqlite,
    };
    (kind, message)
}

/// Points at the place in the statement.
fn located(message: &str, sql: &str, offset: i32) -> String {
    const SHOWN: usize = 40;
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| sql.get(offset..)) else {
        return message.to_owned();
    };
    let shown: String = rest.chars().take(SHOWN).collect();
    let dots = if shown.len() < rest.len() { ".." } else { "" };
    format!("{message}, at character {}: {shown}{dots}", offset + 1)
}
