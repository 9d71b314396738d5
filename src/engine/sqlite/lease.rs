//! A lease: one caller's transaction, statement by statement, with the writer to itself.
//!
//! Inside it statements mean what they mean on a connection of one's own: one that fails leaves the transaction open,
//! unless SQLite itself ends it. Nothing of it is there before its COMMIT, and its COMMIT counts as any other.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::authorizer::InTransaction;
use super::commit::{SqliteWriter, storage_failure};
use super::ghost::may_leave_ghost;
use super::own::{self, own};
use super::run::foreign_key_violated;
use super::{bind, deferred, errors, prepare, rowid};
use crate::engine::{EngineFailure, Outcomes, WriteOutcome};
use crate::error::{LeaseEnd, StatementError, WriteError};
use crate::message::script::{self, Kind};
use crate::message::{Committed, Description, LeaseOrder, LeaseSeat, Statement, StepResult, Stepped};

/// Savepoints, and the PRAGMA that lasts until the end of the transaction.
pub(super) fn is_control(sql: &str) -> bool {
    match script::kind(sql) {
        Kind::Savepoint(_) | Kind::Release(_) | Kind::RollbackTo(_) => true,
        Kind::Pragma { name, .. } => name == "defer_foreign_keys",
        _ => false,
    }
}

impl SqliteWriter {
    pub(super) fn hold(&mut self, seat: &LeaseSeat, outcomes: &mut Outcomes) -> Result<(), EngineFailure> {
        let _turn = seat.take_turn();
        if let Some(refusal) = self.refusal()? {
            outcomes.settle(0, [Err(refusal)]);
            return Ok(());
        }
        // Nothing but a new connection mends it if this fails on the way: then it is a failure of the engine's.
        let own = |sql| own::run(&self.conn, sql).map_err(|error| storage_failure(&error));
        if !seat.terms.foreign_keys {
            own(own!("PRAGMA foreign_keys = OFF"))?;
        }
        own(own!("BEGIN IMMEDIATE"))?;
        rowid::set(&self.conn, seat.terms.last_rowid);
        let ended = if seat.grant() { self.obey(seat)? } else { Err(LeaseEnd::RolledBack) };
        let outcome = match ended {
            Ok(()) => self.commit_lease(outcomes)?,
            Err(end) => Err(WriteError::LeaseEnded(end)),
        };
        self.rollback()?;
        if !seat.terms.foreign_keys {
            own::run(&self.conn, own!("PRAGMA foreign_keys = ON"))
                .map_err(|error| storage_failure(&error))?;
        }
        outcomes.settle(0, [outcome]);
        Ok(())
    }

    /// Runs what the holder orders, until it is to be committed (`Ok`) or is over.
    fn obey(&self, seat: &LeaseSeat) -> Result<Result<(), LeaseEnd>, EngineFailure> {
        let longest = self.limits.lease_timeout;
        let until = Instant::now() + seat.max_age.map_or(longest, |wanted| wanted.min(longest));
        loop {
            match seat.next(until, || self.interrupted.load(Relaxed)) {
                Ok(LeaseOrder::Run { statement, wants_rows, reply }) => {
                    fail::fail_point!("lease");
                    let result = self.run_leased(&statement, wants_rows, until);
                    let broken = result.as_ref().err().filter(|error| error.breaks_connection());
                    let failure = broken.map(|error| EngineFailure::Storage(error.to_string()));
                    let is_over = failure.is_some() || self.conn.is_autocommit();
                    // A holder that left is noticed at the next order.
                    let _ = reply.send(Stepped { result, is_over });
                    match failure {
                        Some(failure) => return Err(failure),
                        None if is_over => return Ok(Err(LeaseEnd::TransactionEnded)),
                        None => {}
                    }
                }
                Ok(LeaseOrder::Describe(sql, reply)) => drop(reply.send(self.describe_leased(&sql))),
                Ok(LeaseOrder::Commit(Some(reply))) if deferred::violations_pending(&self.conn) => {
                    let _ = reply.send(foreign_key_violated());
                }
                Ok(LeaseOrder::Commit(_)) => return Ok(Ok(())),
                Ok(LeaseOrder::Rollback) => return Ok(Err(LeaseEnd::RolledBack)),
                Err(end) => return Ok(Err(end)),
            }
        }
    }

    fn run_leased(
        &self,
        statement: &Statement,
        wants_rows: bool,
        until: Instant,
    ) -> Result<StepResult, StatementError> {
        let until = until.min(self.limits.statement_deadline());
        if is_control(&statement.sql) {
            return self.control(statement, until);
        }
        let mut prepared = prepare::prepare(&self.conn, &statement.sql)?;
        self.step_in_transaction(&mut prepared, statement, until, wants_rows)
    }

    /// Runs what only a transaction of the caller's own may have.
    pub(super) fn control(
        &self,
        statement: &Statement,
        until: Instant,
    ) -> Result<StepResult, StatementError> {
        let allowed = InTransaction::begin();
        let mut prepared = prepare::prepare_control(&self.conn, &statement.sql, &allowed)?;
        self.step_typed(&mut prepared, statement, until, true)
    }

    fn describe_leased(&self, sql: &str) -> Result<Description, StatementError> {
        Ok(bind::describe(&*prepare::prepare(&self.conn, sql)?))
    }

    fn commit_lease(&mut self, outcomes: &mut Outcomes) -> Result<WriteOutcome, EngineFailure> {
        if deferred::violations_pending(&self.conn) {
            return Ok(Err(foreign_key_violated().into()));
        }
        self.check_files()?;
        let committed = Committed { commit: self.numbers.next(), ..Committed::default() };
        match self.seal() {
            Ok(()) => {
                outcomes.commits += 1;
                Ok(Ok(committed))
            }
            Err(error) if may_leave_ghost(&error) => {
                outcomes.in_doubt = 0..1;
                Err(storage_failure(&error))
            }
            Err(error) => Ok(Err(errors::statement_error(&error).into())),
        }
    }
}
