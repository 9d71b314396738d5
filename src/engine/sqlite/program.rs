//! A program among the writes of a batch: what it would do on a connection of its own, inside of a savepoint.
//!
//! Outside of a transaction of its own each of its statements stands alone, as a write of one statement does; BEGIN is a
//! savepoint, COMMIT lets it go, ROLLBACK undoes it. What cannot be done so is not kept: the program then asks for a lease,
//! where all of this is real.

use std::time::Instant;

use super::at_hand::AtHand;
use super::commit::SqliteWriter;
use super::lease::is_control;
use super::own::{self, Own, own};
use super::run::{Ran, foreign_key_violated};
use super::{deferred, rowid};
use crate::error::{LeaseEnd, StatementError, StatementErrorKind as Kind, WriteError};
use crate::message::script::{self, Kind as Sql, Mode};
use crate::message::{CommitSeq, Committed, Program, ProgramEnd, Results, Step, StepOutcomes, StepResult};

const BEGIN: Own = own!("SAVEPOINT _actix_sqlite_program");
const UNDO: Own = own!("ROLLBACK TO _actix_sqlite_program");
const RELEASE: Own = own!("RELEASE _actix_sqlite_program");

/// It cannot go on as a part of a batch.
struct NeedsLease;

impl From<rusqlite::Error> for NeedsLease {
    /// The lease meets the same error, and tells of it.
    fn from(_: rusqlite::Error) -> Self {
        Self
    }
}

impl SqliteWriter {
    pub(super) fn run_program<'a>(
        &'a self,
        program: &Program,
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        rowid::set(&self.conn, program.last_rowid);
        match program.steps.as_slice() {
            [step] if step.condition.is_none() => self.run_only_step(program, step, commit, at_hand),
            steps => self.in_savepoint(commit, || {
                let until = Instant::now() + self.limits.lease_timeout;
                let mut run = Run { writer: self, at_hand, is_open: false, until, bytes: 0 };
                if let Ok(outcomes) = run.all(steps) {
                    program.end(ProgramEnd::Done(outcomes));
                    Ok(Results::default())
                } else {
                    program.end(ProgramEnd::NeedsLease);
                    Err(WriteError::LeaseEnded(LeaseEnd::TransactionEnded))
                }
            }),
        }
    }

    /// The same as a write of one statement.
    fn run_only_step<'a>(
        &'a self,
        program: &Program,
        Step { statement, wants_rows, .. }: &Step,
        commit: CommitSeq,
        at_hand: &mut AtHand<'a>,
    ) -> Ran {
        let changes = self.conn.total_changes();
        let until = self.limits.statement_deadline();
        let result = at_hand
            .prepare(statement)
            .and_then(|prepared| self.step_typed(prepared, statement, until, *wants_rows));
        match result {
            Ok(result) if !deferred::violations_pending(&self.conn) => {
                program.end(ProgramEnd::Done(vec![Some(Ok(result))]));
                Ran::Clean(Ok(Committed { commit, ..Committed::default() }))
            }
            Ok(_) => Ran::Soiled(foreign_key_violated().into()),
            Err(error) if self.left_behind(&error, changes, &statement.sql) => Ran::Soiled(error.into()),
            Err(error) => Ran::Clean(Err(error.into())),
        }
    }
}

/// A program that is being run.
struct Run<'a, 'b> {
    writer: &'a SqliteWriter,
    at_hand: &'b mut AtHand<'a>,
    /// Whether a transaction of its own is open.
    is_open: bool,
    until: Instant,
    /// Of all results so far.
    bytes: usize,
}

impl Run<'_, '_> {
    fn all(&mut self, steps: &[Step]) -> Result<StepOutcomes, NeedsLease> {
        let mut outcomes = StepOutcomes::with_capacity(steps.len());
        for step in steps {
            let runs =
                step.condition.as_ref().is_none_or(|condition| condition.holds(&outcomes, !self.is_open));
            let outcome = if runs { Some(self.step(step)?) } else { None };
            outcomes.push(outcome);
        }
        // It is to go on after the program.
        if self.is_open { Err(NeedsLease) } else { Ok(outcomes) }
    }

    fn step(&mut self, step: &Step) -> Result<Result<StepResult, StatementError>, NeedsLease> {
        let own = |sql| own::run(&self.writer.conn, sql);
        let (is_open, done) = match (script::kind(&step.statement.sql), self.is_open) {
            // It would begin a transaction that only reads, or without BEGIN, or set something that lasts until the COMMIT of
            // the whole batch.
            (Sql::Begin(Mode::ReadOnly), _)
            | (Sql::Savepoint(_) | Sql::Release(_) | Sql::RollbackTo(_), false) => return Err(NeedsLease),
            (Sql::Pragma { .. }, _) if is_control(&step.statement.sql) => return Err(NeedsLease),
            (Sql::Begin(_), true) => {
                return Ok(Err(StatementError::misplaced("cannot start a transaction within a transaction")));
            }
            (Sql::Begin(_), false) => (true, own(BEGIN)),
            (Sql::Commit, false) => {
                return Ok(Err(StatementError::misplaced("cannot commit - no transaction is active")));
            }
            (Sql::Rollback, false) => {
                return Ok(Err(StatementError::misplaced("cannot rollback - no transaction is active")));
            }
            (Sql::Commit, true) if deferred::violations_pending(&self.writer.conn) => {
                return Ok(Err(foreign_key_violated()));
            }
            (Sql::Commit, true) => (false, own(RELEASE)),
            (Sql::Rollback, true) => (false, own(UNDO).and_then(|()| own(RELEASE))),
            _ if self.is_open => return self.step_in_transaction(step),
            _ => return self.step_alone(step),
        };
        done?;
        self.is_open = is_open;
        Ok(Ok(StepResult::default()))
    }

    fn step_in_transaction(&mut self, step: &Step) -> Result<Result<StepResult, StatementError>, NeedsLease> {
        let result = if is_control(&step.statement.sql) {
            self.writer.control(&step.statement, self.deadline())
        } else {
            self.run(step)
        };
        // It has undone what the neighbours did, too.
        let is_lost = self.writer.conn.is_autocommit();
        if is_lost || result.as_ref().is_err_and(|error| error.kind == Kind::Storage) {
            return Err(NeedsLease);
        }
        Ok(result)
    }

    fn step_alone(&mut self, step: &Step) -> Result<Result<StepResult, StatementError>, NeedsLease> {
        let changes = self.writer.conn.total_changes();
        let result = self.run(step);
        let left_something = match &result {
            Ok(_) => deferred::violations_pending(&self.writer.conn),
            Err(error) => self.writer.left_behind(error, changes, &step.statement.sql),
        };
        if left_something { Err(NeedsLease) } else { Ok(result) }
    }

    fn run(&mut self, step: &Step) -> Result<StepResult, StatementError> {
        // Before it is run: afterwards it would have to be undone.
        self.writer.limits.check_bytes(self.bytes)?;
        let until = self.deadline();
        let prepared = self.at_hand.prepare(&step.statement)?;
        let result = if self.is_open {
            self.writer.step_in_transaction(prepared, &step.statement, until, step.wants_rows)?
        } else {
            self.writer.step_typed(prepared, &step.statement, until, step.wants_rows)?
        };
        self.bytes += result.size();
        Ok(result)
    }

    fn deadline(&self) -> Instant {
        self.until.min(self.writer.limits.statement_deadline())
    }
}
