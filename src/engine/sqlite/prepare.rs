//! Prepares the statements of callers, and keeps them apart from the engine's own.
//!
//! rusqlite keeps prepared statements by their text, and the authorizer is asked only when one is prepared. A caller who
//! sent the text of a statement that the engine had prepared with trust would get that one; so the engine's own begin
//! with a mark, and those of callers may not.

use rusqlite::{CachedStatement, Connection};

use super::authorizer::{self, OWN_PREFIX};
use super::{bind, errors};
use crate::error::{StatementError, StatementErrorKind as Kind};

/// Begins every statement of the engine's own that is kept prepared.
pub(super) const OWN_MARK: &str = "/* actix-sqlite */";

/// The text of a statement of the engine's own, marked as such.
macro_rules! own_sql {
    ($sql:literal) => {
        concat!("/* actix-sqlite */ ", $sql)
    };
}
pub(super) use own_sql;

/// A caller's statement, ready to be given its parameters.
pub(super) fn prepare<'conn>(
    conn: &'conn Connection,
    sql: &str,
) -> Result<CachedStatement<'conn>, StatementError> {
    if sql.trim_start().starts_with(OWN_MARK) {
        let message = format!("statements that begin with {OWN_MARK} belong to the engine");
        return Err(StatementError::new(Kind::ForbiddenSql, message));
    }
    if sql.contains('\0') {
        // SQLite would run what is before it, such as a DELETE without its WHERE.
        let message = "the statement has a NUL character in it; send it as a parameter";
        return Err(StatementError::new(Kind::InvalidSql, message));
    }
    authorizer::forget();
    let prepared = conn.prepare_cached(sql).map_err(|error| {
        let mut explained = errors::statement_error(&error);
        // SQLite has several words for it, and not all of them are the code for "not authorized".
        if let Some(reason) = authorizer::take_refused() {
            (explained.kind, explained.message) = (Kind::ForbiddenSql, reason);
        }
        explained
    })?;
    if authorizer::has_altered() && mentions_own(sql) {
        prepared.discard();
        let message = format!("names that begin with {OWN_PREFIX} belong to the engine");
        return Err(StatementError::new(Kind::ForbiddenSql, message));
    }
    bind::refuse_empty(&prepared)?;
    Ok(prepared)
}

/// The authorizer is told which table is altered, but not its new name.
fn mentions_own(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains(OWN_PREFIX)
}
