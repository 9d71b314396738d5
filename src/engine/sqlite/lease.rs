//! A lease: one caller's transaction, statement by statement, with the writer to itself.
//!
//! Inside it statements mean what they mean on a connection of one's own: one that fails leaves the transaction open,
//! unless SQLite itself ends it. Nothing of it is there before its COMMIT, and its COMMIT counts as any other.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::commit::{SqliteWriter, leaves_commit_in_doubt, storage_failure};
use super::own::{self, own};
use super::run::foreign_key_violated;
use super::{deferred, errors, prepare, rowid};
use crate::engine::{EngineFailure, InDoubt, Outcomes, WriteOutcome};
use crate::error::{LeaseEnd, StatementError, WriteError};
use crate::message::{CommitSeq, Committed, LeaseOrder, LeaseSeat, Statement, StatementResult};

impl SqliteWriter {
    pub(super) fn hold(&mut self, seat: &LeaseSeat, outcomes: &mut Outcomes) -> Result<(), EngineFailure> {
        if let Some(refusal) = self.refusal()? {
            outcomes.settled[0] = Some(Err(refusal));
            return Ok(());
        }
        own::run(&self.conn, own!("BEGIN IMMEDIATE")).map_err(|error| storage_failure(&error))?;
        rowid::forget(&self.conn);
        let ended = if seat.grant() { self.obey(seat)? } else { Err(LeaseEnd::RolledBack) };
        let outcome = match ended {
            Ok(()) => self.commit_lease(outcomes)?,
            Err(end) => Err(WriteError::LeaseEnded(end)),
        };
        self.rollback()?;
        outcomes.settled[0] = Some(outcome);
        Ok(())
    }

    /// Runs what the holder orders, until it is to be committed (`Ok`) or is over.
    fn obey(&self, seat: &LeaseSeat) -> Result<Result<(), LeaseEnd>, EngineFailure> {
        let longest = self.limits.lease_timeout;
        let until = Instant::now() + seat.max_age.map_or(longest, |wanted| wanted.min(longest));
        loop {
            match seat.next(until, || self.interrupted.load(Relaxed)) {
                Ok(LeaseOrder::Run(statement, reply)) => {
                    fail::fail_point!("lease");
                    let result = self.run_leased(&statement, until);
                    let broken = result.as_ref().err().filter(|error| error.breaks_connection());
                    let failure = broken.map(|error| EngineFailure::Storage(error.to_string()));
                    // A holder that left is noticed at the next order.
                    let _ = reply.send(result);
                    if let Some(failure) = failure {
                        return Err(failure);
                    }
                    if self.conn.is_autocommit() {
                        return Ok(Err(LeaseEnd::TransactionEnded));
                    }
                }
                Ok(LeaseOrder::Commit) => return Ok(Ok(())),
                Ok(LeaseOrder::Rollback) => return Ok(Err(LeaseEnd::RolledBack)),
                Err(end) => return Ok(Err(end)),
            }
        }
    }

    fn run_leased(&self, statement: &Statement, until: Instant) -> Result<StatementResult, StatementError> {
        let mut prepared = prepare::prepare(&self.conn, &statement.sql)?;
        self.step(&mut prepared, statement, until.min(self.limits.statement_deadline()))
    }

    fn commit_lease(&mut self, outcomes: &mut Outcomes) -> Result<WriteOutcome, EngineFailure> {
        if deferred::violations_pending(&self.conn) {
            return Ok(Err(foreign_key_violated().into()));
        }
        self.check_files()?;
        let commit = CommitSeq(self.last_commit.0 + 1);
        let committed = Committed { results: Vec::new(), commit };
        match self.seal(commit) {
            Ok(()) => {
                self.last_commit = commit;
                outcomes.commits += 1;
                Ok(Ok(committed))
            }
            Err(error) if leaves_commit_in_doubt(&error) => {
                outcomes.in_doubt = Some(InDoubt { commit, first: 0, outcomes: vec![Ok(committed)] });
                Err(storage_failure(&error))
            }
            Err(error) => Ok(Err(errors::statement_error(&error).into())),
        }
    }
}
