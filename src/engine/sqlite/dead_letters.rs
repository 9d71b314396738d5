//! Dead letters: writes that failed and that nobody waited for, kept with their error until somebody tries them again or
//! throws them away.

use rusqlite::{ErrorCode, OptionalExtension, params};

use super::authorizer::Trusted;
use super::commit::{SqliteWriter, storage_failure};
use super::idempotency::{self, Found};
use super::own::{self, own};
use super::run::Ran;
use super::{errors, prepare, wal};
use crate::engine::EngineFailure;
use crate::error::{StatementError, StatementErrorKind as Kind, WriteError};
use crate::message::{
    Burial, Buried, CommitSeq, Committed, ExpireDeadLetters, Fingerprint, IdempotencyKey, Results, Statement,
    StatementResult, statements_from_json,
};

pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _actix_sqlite_dead_letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token INTEGER NOT NULL UNIQUE,
        statements TEXT NOT NULL,
        key TEXT,
        code TEXT NOT NULL,
        message TEXT NOT NULL,
        failed_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL
    ) STRICT;
";

/// How many were kept: all but those that no row can hold. `None`: not now, for the disk is full.
pub(super) fn bury(writer: &mut SqliteWriter, dead: &[Burial]) -> Result<Option<usize>, EngineFailure> {
    writer.check_files()?;
    let buried = own::run(&writer.conn, own!("BEGIN IMMEDIATE")).and_then(|()| {
        let kept = bury_all(writer, dead)?;
        forget_surplus(writer)?;
        fail::fail_point!("bury");
        writer.seal()?;
        Ok(kept)
    });
    match buried {
        Ok(kept) => Ok(Some(kept)),
        Err(error) => {
            writer.rollback()?;
            // Another connection would find the disk as full.
            if wal::is_disk_full(&error) { Ok(None) } else { Err(storage_failure(&error)) }
        }
    }
}

fn bury_all(writer: &SqliteWriter, dead: &[Burial]) -> rusqlite::Result<usize> {
    let mut kept = 0;
    for burial in dead {
        match bury_one(writer, burial) {
            Ok(()) => kept += 1,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                // One that was tried again keeps the error that it had.
                kept += usize::from(!burial.is_new());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

fn bury_one(writer: &SqliteWriter, burial: &Burial) -> rusqlite::Result<()> {
    let trusted = Trusted::begin();
    let (code, message, failed_at) = (burial.error.code(), burial.error.to_string(), burial.failed_at);
    match &burial.what {
        Buried::New { token, statements, key } => {
            // It may be there: whatever ended the writer after the COMMIT, it is told the same again.
            let sql = own!(
                "INSERT INTO _actix_sqlite_dead_letters
                     (token, statements, key, code, message, failed_at, attempts)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1) ON CONFLICT DO NOTHING"
            );
            let values = params![token, statements, key, code, message, failed_at];
            own::prepare(&writer.conn, sql, &trusted)?.execute(values)?;
        }
        Buried::Again { id } => {
            let sql = own!(
                "UPDATE _actix_sqlite_dead_letters
                 SET code = ?2, message = ?3, failed_at = ?4, attempts = attempts + 1 WHERE id = ?1"
            );
            own::prepare(&writer.conn, sql, &trusted)?.execute(params![id, code, message, failed_at])?;
        }
    }
    Ok(())
}

/// By the width of their numbers, which is more than their count only if some in the middle are gone.
fn forget_surplus(writer: &SqliteWriter) -> rusqlite::Result<()> {
    let trusted = Trusted::begin();
    let most = i64::try_from(writer.settings.max_dead_letters.get()).unwrap_or(i64::MAX);
    let sql = own!(
        "DELETE FROM _actix_sqlite_dead_letters
         WHERE id <= (SELECT max(id) FROM _actix_sqlite_dead_letters) - ?1"
    );
    let gone = own::prepare(&writer.conn, sql, &trusted)?.execute([most])?;
    if gone > 0 {
        tracing::warn!(gone, "dead letters over database.max_dead_letters are gone");
    }
    Ok(())
}

impl SqliteWriter {
    /// Runs a dead letter's statements, and deletes it with them.
    pub(super) fn retry(&self, id: i64, commit: CommitSeq) -> Ran {
        let stored = match self.letter(id) {
            Ok(Some(stored)) => stored,
            // Somebody was quicker; nothing to do is no failure.
            Ok(None) => return Ran::Clean(Ok(Committed { commit, ..Committed::default() })),
            Err(error) => return Ran::Soiled(errors::statement_error(&error).into()),
        };
        let unreadable = |reason: String| WriteError::from(StatementError::new(Kind::Sqlite, reason));
        let (statements, key) = match parse(&stored) {
            Ok(parsed) => parsed,
            Err(reason) => return Ran::Clean(Err(unreadable(reason))),
        };
        self.in_savepoint(commit, || {
            self.run_letter(&statements, key.as_ref(), commit)?;
            self.delete_letter(id).map_err(|error| errors::statement_error(&error))?;
            // One result says that it was there.
            Ok(Results::from_iter([StatementResult { rows_affected: 1, ..StatementResult::default() }]))
        })
    }

    fn letter(&self, id: i64) -> rusqlite::Result<Option<(String, Option<String>)>> {
        let trusted = Trusted::begin();
        let sql = own!("SELECT statements, key FROM _actix_sqlite_dead_letters WHERE id = ?1");
        own::prepare(&self.conn, sql, &trusted)?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    fn delete_letter(&self, id: i64) -> rusqlite::Result<()> {
        let trusted = Trusted::begin();
        let sql = own!("DELETE FROM _actix_sqlite_dead_letters WHERE id = ?1");
        own::prepare(&self.conn, sql, &trusted)?.execute([id]).map(|_| ())
    }

    fn run_letter(
        &self,
        statements: &[Statement],
        key: Option<&IdempotencyKey>,
        commit: CommitSeq,
    ) -> Result<(), WriteError> {
        let explain = |error: rusqlite::Error| errors::statement_error(&error);
        let key = key.map(|key| (key, Fingerprint::of(statements)));
        if let Some((key, fingerprint)) = key {
            match idempotency::find(&self.conn, key, fingerprint).map_err(explain)? {
                Found::Receipt(_) => return Ok(()),
                Found::Conflict => return Err(WriteError::IdempotencyConflict),
                Found::Nothing => {}
            }
        }
        let mut results = Results::with_capacity(statements.len());
        for statement in statements {
            let mut prepared = prepare::prepare(&self.conn, &statement.sql)?;
            results.push(self.step(&mut prepared, statement, self.limits.statement_deadline())?);
        }
        if let Some((key, fingerprint)) = key {
            let receipt = Committed { results, commit };
            idempotency::store(&self.conn, key, fingerprint, &receipt).map_err(explain)?;
        }
        Ok(())
    }

    /// Deletes the dead letters that are to go, and tells how many.
    pub(super) fn expire(&self, expire: &ExpireDeadLetters, commit: CommitSeq) -> Ran {
        let oldest = expire.older_than.map(|age| idempotency::now().saturating_sub_unsigned(age.as_secs()));
        self.in_savepoint(commit, || {
            let gone = self.delete_letters(expire.ids.as_deref(), oldest);
            let gone = gone.map_err(|error| errors::statement_error(&error))?;
            Ok(Results::from_iter([StatementResult { rows_affected: gone, ..StatementResult::default() }]))
        })
    }

    fn delete_letters(&self, ids: Option<&[i64]>, oldest: Option<i64>) -> rusqlite::Result<u64> {
        let trusted = Trusted::begin();
        let sql = own!(
            "DELETE FROM _actix_sqlite_dead_letters
             WHERE failed_at <= ?1 AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))"
        );
        let ids = ids.map(|ids| serde_json::json!(ids).to_string());
        let gone =
            own::prepare(&self.conn, sql, &trusted)?.execute(params![oldest.unwrap_or(i64::MAX), ids])?;
        Ok(u64::try_from(gone).unwrap_or(u64::MAX))
    }
}

type Stored = (String, Option<String>);

fn parse((statements, key): &Stored) -> Result<(Vec<Statement>, Option<IdempotencyKey>), String> {
    Ok((statements_from_json(statements)?, key.clone().map(IdempotencyKey::new).transpose()?))
}
