//! One write inside a transaction: its statements, or the logic of its caller, and whether it left anything behind that it
//! should not have.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Statement as Prepared};

use super::at_hand::AtHand;
use super::authorizer::Trusted;
use super::commit::SqliteWriter;
use super::idempotency::{self, Found};
use super::own::{self, Own, own};
use super::{bind, deferred, errors, prepare, rowid};
use crate::engine::WriteOutcome;
use crate::error::{LeaseEnd, StatementError, StatementErrorKind as Kind, WriteError};
use crate::message::{
    Columns, CommitSeq, Committed, Fingerprint, IdempotencyKey, Logic, Results, Statement, StatementResult,
    StepResult, Steps, Task, WriteRequest,
};
use crate::settings::{self, WriterSettings};

/// How one write inside the transaction ended.
pub(super) enum Ran {
    Clean(WriteOutcome),
    Soiled(WriteError),
}

/// What bounds a write.
pub(super) struct Limits {
    statement_timeout: Duration,
    pub(super) lease_timeout: Duration,
    max_rows: usize,
    max_bytes: usize,
}

impl SqliteWriter {
    pub(super) fn run<'a>(
        &'a self,
        write: &WriteRequest,
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        rowid::forget(&self.conn);
        match &write.task {
            Task::Statements(statements) => self.run_once(write.key.as_ref(), statements, commit, at_hand),
            Task::Logic(logic) => self.run_logic(logic, commit),
            Task::Program(program) => self.run_program(program, commit, at_hand),
            Task::Retry(id) => self.retry(*id, commit),
            Task::Expire(expire) => self.expire(expire, commit),
            Task::Flush => Ran::Clean(Ok(Committed { commit, ..Committed::default() })),
            // Nobody puts one into a batch.
            Task::Lease(_) => Ran::Clean(Err(WriteError::LeaseEnded(LeaseEnd::WriterFailed))),
        }
    }

    /// Once for all times, if there is a key.
    fn run_once<'a>(
        &'a self,
        key: Option<&IdempotencyKey>,
        statements: &[Statement],
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        let Some(key) = key else { return self.run_statements(statements, commit, at_hand) };
        let fingerprint = Fingerprint::of(statements);
        match idempotency::find(&self.conn, key, fingerprint) {
            Ok(Found::Receipt(receipt)) => return Ran::Clean(Ok(receipt)),
            Ok(Found::Conflict) => return Ran::Clean(Err(WriteError::IdempotencyConflict)),
            Ok(Found::Nothing) => {}
            Err(error) => return Ran::Soiled(errors::statement_error(&error).into()),
        }
        let ran = self.run_statements(statements, commit, at_hand);
        if let Ran::Clean(Ok(receipt)) = &ran
            && let Err(error) = idempotency::store(&self.conn, key, fingerprint, receipt)
        {
            return Ran::Soiled(errors::statement_error(&error).into());
        }
        ran
    }

    fn run_statements<'a>(
        &'a self,
        statements: &[Statement],
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        match statements {
            [] => Ran::Clean(Ok(Committed { commit, ..Committed::default() })),
            [statement] => self.run_alone(statement, commit, at_hand),
            [first, rest @ ..] if rest.iter().all(|statement| only_looks(statement, at_hand)) => {
                self.run_and_look(first, rest, commit, at_hand)
            }
            statements => self.run_in_savepoint(statements, commit, at_hand),
        }
    }

    /// A statement, and others that only look at what it did. It needs no savepoint, for which SQLite would keep a copy of
    /// each page that is changed: all there is to undo is the one statement, and if a look fails everything is.
    fn run_and_look<'a>(
        &'a self,
        first: &Statement,
        rest: &[Statement],
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        let failed = |index, error| WriteError::Transaction { index, error };
        let changes = self.conn.total_changes();
        let mut results = Results::with_capacity(1 + rest.len());
        match self.run_statement(first, at_hand) {
            Ok(result) => results.push(result),
            Err(error) if self.left_behind(&error, changes, &first.sql) => {
                return Ran::Soiled(failed(0, error));
            }
            Err(error) => return Ran::Clean(Err(failed(0, error))),
        }
        let mut bytes = results[0].size();
        for (place, look) in rest.iter().enumerate() {
            let result = self.run_statement(look, at_hand).and_then(|result| {
                bytes += result.size();
                self.limits.check_bytes(bytes).map(|()| result)
            });
            match result {
                Ok(result) => results.push(result),
                Err(error) => return Ran::Soiled(failed(place + 1, error)),
            }
        }
        if deferred::violations_pending(&self.conn) {
            return Ran::Soiled(foreign_key_violated().into());
        }
        Ran::Clean(Ok(Committed { results, commit }))
    }

    /// A statement is atomic by itself, unless it says otherwise: then it shows in the count of changes.
    fn run_alone<'a>(&'a self, statement: &Statement, commit: CommitSeq, at_hand: &mut AtHand<'a>) -> Ran {
        let changes = self.conn.total_changes();
        match self.run_statement(statement, at_hand) {
            Ok(result) if !deferred::violations_pending(&self.conn) => {
                Ran::Clean(Ok(Committed { results: Results::from_iter([result]), commit }))
            }
            Ok(_) => Ran::Soiled(foreign_key_violated().into()),
            Err(error) if self.left_behind(&error, changes, &statement.sql) => Ran::Soiled(error.into()),
            Err(error) => Ran::Clean(Err(error.into())),
        }
    }

    /// Whether a statement that failed ended the transaction, or may have left something in it; `changes` were counted
    /// before it.
    pub(super) fn left_behind(&self, error: &StatementError, changes: u64, sql: &str) -> bool {
        self.conn.is_autocommit()
            || self.conn.total_changes() != changes
            || error.kind == Kind::Storage
            || (error.kind == Kind::ConstraintViolation && self.may_leave_rows(sql))
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
        statements: &[Statement],
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        self.in_savepoint(commit, || {
            let mut results = Results::with_capacity(statements.len());
            let mut bytes = 0;
            for (index, statement) in statements.iter().enumerate() {
                let failed = |error| WriteError::Transaction { index, error };
                let result = self.run_statement(statement, at_hand).map_err(failed)?;
                bytes += result.size();
                if bytes > self.limits.max_bytes {
                    return Err(failed(self.limits.bytes_exceeded()));
                }
                results.push(result);
            }
            Ok(results)
        })
    }

    /// Logic runs in a savepoint even if it turns out to be one statement.
    fn run_logic(&self, logic: &Logic, commit: CommitSeq) -> Ran {
        self.in_savepoint(commit, || {
            let until = self.limits.statement_deadline();
            let mut steps = LogicSteps { writer: self, until, left_behind: None };
            logic.run(&mut steps)?;
            match steps.left_behind {
                Some(error) => Err(error.into()),
                None if Instant::now() > until => {
                    let message = "the logic ran longer than it may (writer.statement_timeout)";
                    Err(StatementError::new(Kind::StatementTimeout, message).into())
                }
                None => Ok(Results::default()),
            }
        })
    }

    /// What fails inside leaves nothing behind, unless the whole transaction is soiled.
    pub(super) fn in_savepoint(
        &self,
        commit: CommitSeq,
        body: impl FnOnce() -> Result<Results, WriteError>,
    ) -> Ran {
        const SAVEPOINT: Own = own!("SAVEPOINT _actix_sqlite_write");
        const UNDO: Own = own!("ROLLBACK TO _actix_sqlite_write");
        const RELEASE: Own = own!("RELEASE _actix_sqlite_write");
        let own = |sql| own::run(&self.conn, sql);
        let soiled = |error: rusqlite::Error| Ran::Soiled(errors::statement_error(&error).into());
        if let Err(error) = own(SAVEPOINT) {
            return soiled(error);
        }
        let ended = body().and_then(|results| {
            if deferred::violations_pending(&self.conn) {
                Err(foreign_key_violated().into())
            } else {
                Ok(results)
            }
        });
        match ended {
            Ok(results) => match own(RELEASE) {
                Ok(()) => Ran::Clean(Ok(Committed { results, commit })),
                Err(error) => soiled(error),
            },
            Err(error) => {
                let undone = !self.conn.is_autocommit() && own(UNDO).and_then(|()| own(RELEASE)).is_ok();
                if undone { Ran::Clean(Err(error)) } else { Ran::Soiled(error) }
            }
        }
    }

    fn run_statement<'a>(
        &'a self,
        statement: &Statement,
        at_hand: &mut AtHand<'a>,
    ) -> Result<StatementResult, StatementError> {
        let prepared = at_hand.prepare(statement)?;
        self.step(prepared, statement, self.limits.statement_deadline())
    }

    /// Runs a prepared statement to its end.
    pub(super) fn step(
        &self,
        prepared: &mut Prepared<'_>,
        statement: &Statement,
        until: Instant,
    ) -> Result<StatementResult, StatementError> {
        self.step_for(prepared, statement, until, true)
    }

    /// The same, for who wants to know the types of the columns too.
    pub(super) fn step_typed(
        &self,
        prepared: &mut Prepared<'_>,
        statement: &Statement,
        until: Instant,
        wants_rows: bool,
    ) -> Result<StepResult, StatementError> {
        let result = self.step_for(prepared, statement, until, wants_rows)?;
        Ok(StepResult {
            columns: if result.columns.is_empty() { Vec::new() } else { bind::columns(prepared) },
            rows: result.rows,
            rows_affected: result.rows_affected,
            last_insert_rowid: result.last_insert_rowid,
        })
    }

    /// The same in a transaction of the caller's own, which goes on if a statement fails. One whose rows are too many has done
    /// its work by then, and SQLite does not know that it failed.
    pub(super) fn step_in_transaction(
        &self,
        prepared: &mut Prepared<'_>,
        statement: &Statement,
        until: Instant,
        wants_rows: bool,
    ) -> Result<StepResult, StatementError> {
        const SAVEPOINT: Own = own!("SAVEPOINT _actix_sqlite_returning");
        const UNDO: Own = own!("ROLLBACK TO _actix_sqlite_returning");
        const RELEASE: Own = own!("RELEASE _actix_sqlite_returning");
        let own = |sql| own::run(&self.conn, sql).map_err(|error| errors::statement_error(&error));
        if prepared.readonly() || prepared.column_count() == 0 {
            return self.step_typed(prepared, statement, until, wants_rows);
        }
        own(SAVEPOINT)?;
        let result = self.step_typed(prepared, statement, until, wants_rows);
        if !self.conn.is_autocommit() {
            if result.as_ref().is_err_and(|error| error.sqlite_code.is_none()) {
                own(UNDO)?;
            }
            own(RELEASE)?;
        }
        result
    }

    fn step_for(
        &self,
        prepared: &mut Prepared<'_>,
        statement: &Statement,
        until: Instant,
        wants_rows: bool,
    ) -> Result<StatementResult, StatementError> {
        let explain = |error: rusqlite::Error| errors::statement_error(&error);
        bind::bind(prepared, &statement.params)?;
        let changes = self.conn.total_changes();
        let rowid = self.rowids.before(&self.conn);
        let _limit = self.deadline.set(until);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        // Known for certain only after the first step: if the schema has changed, SQLite prepares again in it.
        let mut columns: Option<Columns> = None;
        let mut found = prepared.raw_query();
        while let Some(row) = found.next().map_err(explain)? {
            let columns = columns.get_or_insert_with(|| self.known.of(row.as_ref()));
            if !wants_rows {
                continue;
            }
            let room = self.limits.max_bytes.saturating_sub(bytes);
            bytes += bind::row_size(row, columns.len(), room)?;
            self.limits.check(rows.len() + 1, bytes)?;
            rows.push(bind::row_values(row, columns)?);
        }
        drop(found);
        let columns = columns.unwrap_or_else(|| self.known.of(prepared));
        // `changes()` is left over from an earlier statement if this one changed nothing.
        let has_changed = self.conn.total_changes() != changes;
        Ok(StatementResult {
            rows_affected: if has_changed { self.conn.changes() } else { 0 },
            last_insert_rowid: self.rowids.inserted_since(rowid, &self.conn, &statement.sql),
            columns,
            rows,
        })
    }
}

/// The statements of one run of logic.
struct LogicSteps<'a> {
    writer: &'a SqliteWriter,
    /// All of them together.
    until: Instant,
    /// The first error of a statement that left something behind, or ended the transaction: the logic may not pass over it.
    left_behind: Option<StatementError>,
}

impl Steps for LogicSteps<'_> {
    fn run(&mut self, statement: &Statement) -> Result<StatementResult, StatementError> {
        let writer = self.writer;
        let conn: &Connection = &writer.conn;
        if let Some(error) = &self.left_behind {
            return Err(error.clone());
        }
        let changes = conn.total_changes();
        let result = prepare::prepare(conn, &statement.sql)
            .and_then(|mut prepared| writer.step(&mut prepared, statement, self.until));
        if let Err(error) = &result
            && writer.left_behind(error, changes, &statement.sql)
        {
            self.left_behind = Some(error.clone());
        }
        result
    }
}

impl Limits {
    pub(super) fn new(settings: &WriterSettings) -> Self {
        Self {
            statement_timeout: settings.statement_timeout,
            lease_timeout: settings.lease_timeout,
            max_rows: settings.max_rows.get(),
            max_bytes: settings::bytes(settings.max_result_bytes),
        }
    }

    /// Of a statement that begins now.
    pub(super) fn statement_deadline(&self) -> Instant {
        Instant::now() + self.statement_timeout
    }

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

    /// Whether results of so many bytes are too many for one answer.
    pub(super) fn check_bytes(&self, bytes: usize) -> Result<(), StatementError> {
        self.check(0, bytes)
    }

    fn bytes_exceeded(&self) -> StatementError {
        let message = format!(
            "RETURNING gave more than {} bytes (writer.max_result_bytes); return less",
            self.max_bytes
        );
        StatementError::new(Kind::ResultTooLarge, message)
    }
}

/// Whether this is a SELECT, as far as can be said before the statements before it have run.
fn only_looks(statement: &Statement, at_hand: &mut AtHand<'_>) -> bool {
    let begins = statement.sql.get(..6);
    begins.is_some_and(|verb| verb.eq_ignore_ascii_case("select"))
        && at_hand.prepare(statement).is_ok_and(|prepared| prepared.readonly())
}

pub(super) fn foreign_key_violated() -> StatementError {
    StatementError {
        kind: Kind::ConstraintViolation,
        message: "FOREIGN KEY constraint failed (deferred: still violated at the end of the write)".into(),
        sqlite_code: Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY),
    }
}
