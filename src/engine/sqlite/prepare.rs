//! Prepares the statements of callers, and sees to what the authorizer cannot.

use rusqlite::{CachedStatement, Connection, Statement as Prepared};

use super::authorizer::{self, InTransaction, OWN_PREFIX};
use super::{bind, errors, own};
use crate::error::{StatementError, StatementErrorKind as Kind};

/// A caller's statement, ready to be given its parameters.
pub(super) fn prepare<'conn>(
    conn: &'conn Connection,
    sql: &str,
) -> Result<CachedStatement<'conn>, StatementError> {
    refuse_unreadable(sql)?;
    authorizer::forget();
    let prepared = conn.prepare_cached(sql).map_err(|error| explain(&error))?;
    if authorizer::defines() && mentions_own(sql) {
        prepared.discard();
        let message =
            format!("names that begin with {OWN_PREFIX} belong to the engine, and nothing may refer to them");
        return Err(StatementError::new(Kind::ForbiddenSql, message));
    }
    bind::refuse_empty(&prepared)?;
    Ok(prepared)
}

/// A caller's savepoint or the like, which only a transaction of its own may have.
pub(super) fn prepare_control<'conn>(
    conn: &'conn Connection,
    sql: &str,
    _: &InTransaction,
) -> Result<Prepared<'conn>, StatementError> {
    refuse_unreadable(sql)?;
    authorizer::forget();
    conn.prepare(sql).map_err(|error| explain(&error))
}

fn refuse_unreadable(sql: &str) -> Result<(), StatementError> {
    own::refuse_mark(sql)?;
    if sql.contains('\0') {
        // SQLite would run what is before it, such as a DELETE without its WHERE.
        let message = "the statement has a NUL character in it; send it as a parameter";
        return Err(StatementError::new(Kind::InvalidSql, message));
    }
    Ok(())
}

fn explain(error: &rusqlite::Error) -> StatementError {
    let mut explained = errors::statement_error(error);
    // SQLite has several words for it, and not all of them are the code for "not authorized".
    if let Some(reason) = authorizer::take_refused() {
        (explained.kind, explained.message) = (Kind::ForbiddenSql, reason);
    }
    explained
}

/// The authorizer is told what is made or altered, but not the new name, nor what a foreign key, a view or a trigger refers
/// to: and a foreign key that refers to the engine's tables would fail the engine's own writes.
fn mentions_own(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains(OWN_PREFIX)
}
