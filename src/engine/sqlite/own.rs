//! The engine's own SQL, kept apart from that of callers.
//!
//! SQLite asks the authorizer when a statement is prepared, not when it runs. A COMMIT of the engine's own, prepared
//! while trusted, must therefore never come out of the cache of prepared statements for a caller who sends the same
//! text: it would end everybody's transaction in the middle of a batch. So every text of the engine's own begins with
//! a mark, and callers may not use the mark.

use rusqlite::{CachedStatement, Connection};

use super::authorizer::Trusted;
use super::errors;
use crate::error::{StatementError, StatementErrorKind as Kind};

/// A text of the engine's own. Only [`own`] makes one, so none is without the mark.
#[derive(Clone, Copy)]
pub(super) struct Own(pub(super) &'static str);

/// The mark, or a text behind it.
macro_rules! own {
    () => {
        "/* actix-sqlite */ "
    };
    ($sql:expr) => {
        $crate::engine::sqlite::own::Own(concat!($crate::engine::sqlite::own::own!(), $sql))
    };
}
pub(super) use own;

/// Prepares a text of the engine's own. To be run while the caller is still trusted: a changed schema makes SQLite
/// prepare it again.
pub(super) fn prepare<'conn>(
    conn: &'conn Connection,
    Own(sql): Own,
    _: &Trusted,
) -> rusqlite::Result<CachedStatement<'conn>> {
    conn.prepare_cached(sql)
}

/// Prepares a text that a message of the library's own brought along.
pub(super) fn prepare_marked<'conn>(
    conn: &'conn Connection,
    sql: &str,
    _: &Trusted,
) -> Result<CachedStatement<'conn>, StatementError> {
    if !is_marked(sql) {
        // Else a caller who sends the same text would get it out of the cache.
        return Err(StatementError::new(Kind::ForbiddenSql, "a statement of the engine's own has to say so"));
    }
    conn.prepare_cached(sql).map_err(|error| errors::statement_error(&error))
}

fn is_marked(sql: &str) -> bool {
    sql.trim_start().starts_with(own!().trim_end())
}

/// Runs a text of the engine's own that returns nothing.
pub(super) fn run(conn: &Connection, sql: Own) -> rusqlite::Result<()> {
    let trusted = Trusted::begin();
    prepare(conn, sql, &trusted)?.execute([]).map(|_| ())
}

/// To be asked before a caller's text is looked up in the cache.
pub(super) fn refuse_mark(sql: &str) -> Result<(), StatementError> {
    if is_marked(sql) {
        let message = format!("a statement that begins with {} belongs to the engine", own!());
        return Err(StatementError::new(Kind::ForbiddenSql, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::SqliteEngine;
    use crate::engine::{Engine, Outcomes};
    use crate::message::{Transaction, WriteRequest};
    use crate::settings::Settings;
    use crate::stats::Stats;

    #[test]
    fn a_caller_never_gets_a_statement_of_the_engine_out_of_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::for_file(directory.path().join("a.db"));
        let engine = SqliteEngine::new(settings, Vec::new(), None, Arc::new(Stats::new())).unwrap();
        let mut writer = engine.open_writer().unwrap();
        let mut codes = |texts: &[&'static str]| -> Vec<Option<&'static str>> {
            let write = |text: &&'static str| WriteRequest::from(Transaction::new().then(*text));
            let writes: Vec<_> = texts.iter().map(write).collect();
            let mut outcomes = Outcomes::default();
            writer.commit(&mut &*writes, &mut outcomes).unwrap();
            assert!(!outcomes.replayed, "no transaction was ended");
            let code =
                |outcome: Option<Result<_, crate::WriteError>>| outcome.unwrap().err().map(|e| e.code());
            outcomes.settled.into_iter().map(code).collect()
        };
        assert_eq!(
            codes(&["CREATE TABLE t (x)"]),
            [None],
            "the engine's own statements are in the cache now"
        );
        for text in [
            "COMMIT",
            " commit ",
            "ROLLBACK",
            "BEGIN IMMEDIATE",
            "UPDATE _actix_sqlite_commit SET seq = ?1",
            super::own!("COMMIT").0,
            "  /* actix-sqlite */ ROLLBACK  ",
        ] {
            let write = "INSERT INTO t VALUES (1)";
            assert_eq!(codes(&[write, text, write]), [None, Some("forbidden_sql"), None], "{text}");
        }
    }
}
