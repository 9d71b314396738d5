//! A batch becomes a transaction, and each of its writes an outcome of its own.
//!
//! All writes of a batch run in one transaction. One that fails and leaves nothing behind is answered with its error.
//! One that soils the transaction (ends it, leaves rows behind although it failed, leaves a foreign key violated) is
//! isolated: everything is rolled back, and the writes before it, itself, and the writes after it are committed as
//! transactions of their own, in this order. Nothing is settled before the COMMIT that makes it true.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::at_hand::AtHand;
use super::authorizer::Trusted;
use super::idempotency::{self, Found};
use super::own::{self, Own, own};
use super::query::Deadline;
use super::wal::Checkpointer;
use super::{bind, deferred, errors, rowid};
use crate::engine::{EngineFailure, InDoubt, Occasion, Outcomes, WriteEngine, WriteOutcome};
use crate::error::{StartError, StatementError, StatementErrorKind as Kind, WriteError};
use crate::message::{CommitSeq, Committed, Statement, StatementResult, WriteRequest};
use crate::settings::{self, DatabaseSettings, Settings};
use crate::stats::Stats;

pub(super) struct SqliteWriter {
    conn: Connection,
    last_commit: CommitSeq,
    /// What the last COMMIT took.
    sealing: Duration,
    deadline: Deadline,
    rowids: rowid::Watch,
    checkpointer: Checkpointer,
    limits: Limits,
    settings: DatabaseSettings,
    /// When old idempotency keys are next looked for.
    keys_kept_until: Instant,
    /// How many keys too many there were when that was looked for last, less those that went since.
    surplus_keys: i64,
    /// How many keys go at once: more than a batch brings, so that a surplus shrinks however fast keys come.
    keys_at_once: usize,
}

struct Limits {
    statement_timeout: Duration,
    max_rows: usize,
    max_bytes: usize,
}

/// Between two clean-ups of idempotency keys.
const KEY_KEEPING_PERIOD: Duration = Duration::from_secs(10);

/// Keys that are forgotten at once, at least.
const LEAST_KEYS_AT_ONCE: usize = 2_000;

/// How the attempt to commit some writes in one transaction ended.
enum Attempt {
    Committed(Vec<WriteOutcome>),
    /// The write at this place soiled the transaction, with this error; everything is rolled back.
    Soiled {
        at: usize,
        error: WriteError,
    },
    /// The COMMIT was refused and nobody knows for whose sake; everything is rolled back.
    CommitRefused(StatementError),
}

/// How one write inside the transaction ended.
enum Ran {
    Clean(WriteOutcome),
    Soiled(WriteError),
}

impl SqliteWriter {
    pub(super) fn new(
        conn: Connection,
        path: &Path,
        settings: &Settings,
        stats: Arc<Stats>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, StartError> {
        let explain = |error: rusqlite::Error| StartError::Open {
            path: path.display().to_string(),
            reason: errors::message(&error),
        };
        let last_commit = stored_commit(&conn).map_err(explain)?;
        let writer = &settings.writer;
        Ok(Self {
            last_commit,
            sealing: Duration::ZERO,
            deadline: Deadline::install(&conn, interrupted).map_err(explain)?,
            rowids: rowid::Watch::install(&conn).map_err(explain)?,
            checkpointer: Checkpointer::install(&conn, path, &settings.database, stats).map_err(explain)?,
            limits: Limits {
                statement_timeout: writer.statement_timeout,
                max_rows: writer.max_rows.get(),
                max_bytes: settings::bytes(writer.max_result_bytes),
            },
            settings: settings.database.clone(),
            keys_kept_until: Instant::now(),
            surplus_keys: 0,
            keys_at_once: writer.max_batch_writes.get().saturating_mul(2).max(LEAST_KEYS_AT_ONCE),
            conn,
        })
    }

    /// Runs the writes in one transaction and commits it.
    fn attempt(
        &mut self,
        writes: &[&WriteRequest],
        in_doubt: &mut Option<InDoubt>,
    ) -> Result<Attempt, EngineFailure> {
        if writes.iter().all(|write| write.is_flush) {
            let nothing = Committed { results: Vec::new(), commit: self.last_commit };
            return Ok(Attempt::Committed(writes.iter().map(|_| Ok(nothing.clone())).collect()));
        }
        let commit = CommitSeq(self.last_commit.0 + 1);
        fail::fail_point!("before_begin");
        own::run(&self.conn, own!("BEGIN IMMEDIATE")).map_err(|error| storage_failure(&error))?;
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut at_hand = AtHand::new(&self.conn);
        for (at, write) in writes.iter().enumerate() {
            if at == writes.len() / 2 {
                fail::fail_point!("mid_batch");
            }
            match self.run(write, commit, &mut at_hand) {
                Ran::Clean(outcome) => outcomes.push(outcome),
                Ran::Soiled(error) => {
                    self.rollback()?;
                    return Ok(Attempt::Soiled { at, error });
                }
            }
        }
        drop(at_hand);
        if outcomes.iter().all(Result::is_err) {
            self.rollback()?;
            return Ok(Attempt::Committed(outcomes));
        }
        fail::fail_point!("before_commit");
        let begun = Instant::now();
        match self.seal(commit) {
            Ok(()) => {
                self.last_commit = commit;
                self.sealing = begun.elapsed();
                Ok(Attempt::Committed(outcomes))
            }
            Err(error) if leaves_commit_in_doubt(&error) => {
                let failure = storage_failure(&error);
                *in_doubt = Some(InDoubt { commit, first: 0, outcomes });
                Err(failure)
            }
            Err(error) => {
                self.rollback()?;
                Ok(Attempt::CommitRefused(errors::statement_error(&error)))
            }
        }
    }

    /// Writes the number of the commit, and commits.
    fn seal(&self, commit: CommitSeq) -> rusqlite::Result<()> {
        let trusted = Trusted::begin();
        let seq = i64::try_from(commit.0).unwrap_or(i64::MAX);
        let number = own!("UPDATE _actix_sqlite_commit SET seq = ?1");
        own::prepare(&self.conn, number, &trusted)?.execute([seq])?;
        own::prepare(&self.conn, own!("COMMIT"), &trusted)?.execute([])?;
        Ok(())
    }

    fn run<'a>(&'a self, write: &'a WriteRequest, commit: CommitSeq, at_hand: &mut AtHand<'a>) -> Ran {
        rowid::forget(&self.conn);
        let Some(key) = &write.key else { return self.run_statements(&write.statements, commit, at_hand) };
        let fingerprint = write.fingerprint();
        match idempotency::find(&self.conn, key, fingerprint) {
            Ok(Found::Receipt(receipt)) => return Ran::Clean(Ok(receipt)),
            Ok(Found::Conflict) => return Ran::Clean(Err(WriteError::IdempotencyConflict)),
            Ok(Found::Nothing) => {}
            Err(error) => return Ran::Soiled(errors::statement_error(&error).into()),
        }
        let ran = self.run_statements(&write.statements, commit, at_hand);
        if let Ran::Clean(Ok(receipt)) = &ran
            && let Err(error) = idempotency::store(&self.conn, key, fingerprint, receipt)
        {
            return Ran::Soiled(errors::statement_error(&error).into());
        }
        ran
    }

    fn run_statements<'a>(
        &'a self,
        statements: &'a [Statement],
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        match statements {
            [] => Ran::Clean(Ok(Committed { results: Vec::new(), commit })),
            [statement] => self.run_alone(statement, commit, at_hand),
            statements => self.run_in_savepoint(statements, commit, at_hand),
        }
    }

    /// A statement is atomic by itself, unless it says otherwise: then it shows in the count of changes.
    fn run_alone<'a>(&'a self, statement: &'a Statement, commit: CommitSeq, at_hand: &mut AtHand<'a>) -> Ran {
        let changes = self.conn.total_changes();
        match self.run_statement(statement, at_hand) {
            Ok(result) if !deferred::violations_pending(&self.conn) => {
                Ran::Clean(Ok(Committed { results: vec![result], commit }))
            }
            Ok(_) => Ran::Soiled(foreign_key_violated().into()),
            Err(error) if self.conn.is_autocommit() || self.conn.total_changes() != changes => {
                Ran::Soiled(error.into())
            }
            Err(error) if error.kind == Kind::Storage => Ran::Soiled(error.into()),
            Err(error) if error.kind == Kind::ConstraintViolation && self.may_leave_rows(&statement.sql) => {
                Ran::Soiled(error.into())
            }
            Err(error) => Ran::Clean(Err(error.into())),
        }
    }

    /// Whether a statement that violates a constraint may keep rows without their being counted: what a trigger has
    /// changed is not, if another trigger inside of it fails by FAIL. Says yes rather too often than too seldom.
    fn may_leave_rows(&self, sql: &str) -> bool {
        let trusted = Trusted::begin();
        let says_fail = sql.to_ascii_lowercase().contains("fail");
        let triggers = own!(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger')
                AND (?1 OR EXISTS (SELECT 1 FROM sqlite_schema WHERE sql LIKE '%fail%'))"
        );
        let may = own::prepare(&self.conn, triggers, &trusted);
        may.and_then(|mut may| may.query_row([says_fail], |row| row.get(0))).unwrap_or(true)
    }

    fn run_in_savepoint<'a>(
        &'a self,
        statements: &'a [Statement],
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        const SAVEPOINT: Own = own!("SAVEPOINT _actix_sqlite_write");
        const UNDO: Own = own!("ROLLBACK TO _actix_sqlite_write");
        const RELEASE: Own = own!("RELEASE _actix_sqlite_write");
        let own = |sql| own::run(&self.conn, sql);
        let soiled = |error: rusqlite::Error| Ran::Soiled(errors::statement_error(&error).into());
        if let Err(error) = own(SAVEPOINT) {
            return soiled(error);
        }
        let mut results = Vec::with_capacity(statements.len());
        let mut bytes = 0;
        let mut failed = None;
        for (index, statement) in statements.iter().enumerate() {
            match self.run_statement(statement, at_hand) {
                Ok(result) => {
                    bytes += result.size();
                    results.push(result);
                    if bytes > self.limits.max_bytes {
                        failed = Some(WriteError::Transaction { index, error: self.limits.bytes_exceeded() });
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(WriteError::Transaction { index, error });
                    break;
                }
            }
        }
        if failed.is_none() && deferred::violations_pending(&self.conn) {
            failed = Some(foreign_key_violated().into());
        }
        let Some(error) = failed else {
            return match own(RELEASE) {
                Ok(()) => Ran::Clean(Ok(Committed { results, commit })),
                Err(error) => soiled(error),
            };
        };
        let undone = !self.conn.is_autocommit() && own(UNDO).and_then(|()| own(RELEASE)).is_ok();
        if undone { Ran::Clean(Err(error)) } else { Ran::Soiled(error) }
    }

    fn run_statement<'a>(
        &'a self,
        statement: &'a Statement,
        at_hand: &mut AtHand<'a>,
    ) -> Result<StatementResult, StatementError> {
        let explain = |error: rusqlite::Error| errors::statement_error(&error);
        let prepared = at_hand.prepare(&statement.sql)?;
        bind::bind(prepared, &statement.params)?;
        let changes = self.conn.total_changes();
        let rowid = self.rowids.before(&self.conn);
        let _limit = self.deadline.set(Instant::now() + self.limits.statement_timeout);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        // Known for certain only after the first step: if the schema has changed, SQLite prepares again in it.
        let mut columns: Option<Vec<String>> = None;
        let mut found = prepared.raw_query();
        while let Some(row) = found.next().map_err(explain)? {
            let columns = columns.get_or_insert_with(|| bind::column_names(row.as_ref()));
            let room = self.limits.max_bytes.saturating_sub(bytes);
            bytes += bind::row_size(row, columns.len(), room)?;
            self.limits.check(rows.len() + 1, bytes)?;
            rows.push(bind::row_values(row, columns)?);
        }
        drop(found);
        let columns = columns.unwrap_or_else(|| bind::column_names(prepared));
        // `changes()` is left over from an earlier statement if this one changed nothing.
        let has_changed = self.conn.total_changes() != changes;
        Ok(StatementResult {
            rows_affected: if has_changed { self.conn.changes() } else { 0 },
            last_insert_rowid: self.rowids.inserted_since(rowid, &self.conn, &statement.sql),
            columns,
            rows,
        })
    }

    /// Whether there are more keys to forget.
    fn forget_keys(&mut self) -> rusqlite::Result<bool> {
        if self.surplus_keys == 0 {
            self.surplus_keys = idempotency::surplus(&self.conn, &self.settings)?;
        }
        idempotency::forget(&self.conn, &self.settings, self.keys_at_once, &mut self.surplus_keys)
    }

    fn rollback(&self) -> Result<(), EngineFailure> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        own::run(&self.conn, own!("ROLLBACK")).map_err(|error| storage_failure(&error))
    }
}

impl WriteEngine for SqliteWriter {
    fn last_commit(&self) -> CommitSeq {
        self.last_commit
    }

    fn commit(&mut self, writes: &[&WriteRequest], outcomes: &mut Outcomes) -> Result<(), EngineFailure> {
        // A stack of ranges, the first on top, so that order is kept however often a range is split.
        let mut ranges = Vec::new();
        ranges.push(0..writes.len());
        while let Some(range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            let attempt = self.attempt(&writes[range.clone()], &mut outcomes.in_doubt).inspect_err(|_| {
                if let Some(in_doubt) = &mut outcomes.in_doubt {
                    in_doubt.first = range.start;
                }
            })?;
            match attempt {
                Attempt::Committed(results) => {
                    outcomes.commits += usize::from(results.iter().any(Result::is_ok));
                    outcomes.sealing = self.sealing;
                    for (place, result) in range.zip(results) {
                        outcomes.settled[place] = Some(result);
                    }
                }
                Attempt::Soiled { error, .. } if range.len() == 1 => {
                    let needs_new_connection = breaks_connection(&error);
                    let reason = error.to_string();
                    outcomes.settled[range.start] = Some(Err(error));
                    if needs_new_connection {
                        return Err(EngineFailure::Storage(reason));
                    }
                }
                Attempt::Soiled { at, .. } => {
                    outcomes.replayed = true;
                    let soiler = range.start + at;
                    ranges.extend([soiler + 1..range.end, soiler..soiler + 1, range.start..soiler]);
                }
                Attempt::CommitRefused(error) if range.len() == 1 => {
                    outcomes.settled[range.start] = Some(Err(error.into()));
                }
                Attempt::CommitRefused(_) => {
                    outcomes.replayed = true;
                    let middle = range.start + range.len() / 2;
                    ranges.extend([middle..range.end, range.start..middle]);
                }
            }
        }
        Ok(())
    }

    fn erase(&mut self, failed: CommitSeq) -> Result<(), EngineFailure> {
        // Not the same number: should this COMMIT fail too and yet be there, it must not be taken for the other one.
        let commit = CommitSeq(failed.0 + 1);
        own::run(&self.conn, own!("BEGIN IMMEDIATE"))
            .and_then(|()| self.seal(commit))
            .map_err(|error| storage_failure(&error))?;
        self.last_commit = commit;
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), EngineFailure> {
        match self.checkpointer.make_durable(&self.conn) {
            Ok(true) => Ok(()),
            Ok(false) => Err(EngineFailure::Storage("a reader keeps the log from being made durable".into())),
            Err(error) => Err(storage_failure(&error)),
        }
    }

    fn maintain(&mut self, occasion: Occasion) -> Result<(), EngineFailure> {
        let now = Instant::now();
        if now >= self.keys_kept_until {
            let more = match self.forget_keys() {
                Ok(more) => more,
                Err(error) if errors::statement_error(&error).breaks_connection() => {
                    return Err(storage_failure(&error));
                }
                // Keys that stay too long do no harm that would be worth a restart.
                Err(error) => {
                    tracing::warn!(%error, "old idempotency keys could not be removed");
                    false
                }
            };
            self.keys_kept_until = if more { now } else { now + KEY_KEEPING_PERIOD };
        }
        self.checkpointer.run(&self.conn, occasion).map_err(|error| storage_failure(&error))
    }
}

impl Limits {
    fn check(&self, rows: usize, bytes: usize) -> Result<(), StatementError> {
        if rows > self.max_rows {
            let message = format!(
                "RETURNING gave more than {} rows (writer.max_rows); write less at once",
                self.max_rows
            );
            return Err(StatementError::new(Kind::ResultTooLarge, message));
        }
        if bytes > self.max_bytes { Err(self.bytes_exceeded()) } else { Ok(()) }
    }

    fn bytes_exceeded(&self) -> StatementError {
        let message = format!(
            "RETURNING gave more than {} bytes (writer.max_result_bytes); return less",
            self.max_bytes
        );
        StatementError::new(Kind::ResultTooLarge, message)
    }
}

fn stored_commit(conn: &Connection) -> rusqlite::Result<CommitSeq> {
    let _trusted = Trusted::begin();
    let seq: i64 = conn.query_row("SELECT seq FROM _actix_sqlite_commit", [], |row| row.get(0))?;
    Ok(CommitSeq(u64::try_from(seq).unwrap_or_default()))
}

fn foreign_key_violated() -> StatementError {
    StatementError {
        kind: Kind::ConstraintViolation,
        message: "FOREIGN KEY constraint failed (deferred: still violated at the end of the write)".into(),
        sqlite_code: Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY),
    }
}

fn storage_failure(error: &rusqlite::Error) -> EngineFailure {
    EngineFailure::Storage(errors::message(error))
}

/// After these the log may hold a COMMIT that this process was told had failed. A full disk is not among them: the
/// frame that commits was not written.
fn leaves_commit_in_doubt(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory))
}

fn breaks_connection(error: &WriteError) -> bool {
    let (WriteError::Statement(error) | WriteError::Transaction { error, .. }) = error else { return false };
    error.breaks_connection()
}
