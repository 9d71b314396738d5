//! A lease from its holder's side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use futures_util::future::{Either, select};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Database, PendingWrite, in_time};
use crate::error::{Refusal, StatementError, WriteError};
use crate::message::{
    BeginLease, CommitSeq, Committed, Description, LeaseHold, LeaseOrder, LeaseSeat, LeaseTerms, Rows,
    Statement, StatementResult, StepResult, Stepped, Task,
};
use crate::policy::{Lane, RefusedBecause};

/// A transaction that is run statement by statement, with the writer to itself: an interactive transaction.
///
/// All other writes wait until it is committed, rolled back or dropped, or until its time is up (`writer.lease_timeout`):
/// then it is rolled back, and its next use says so. Where one message can say it all, a
/// [`Transaction`](crate::Transaction) or [`Transact`](crate::Transact) keeps nobody waiting.
///
/// Inside it a statement that fails leaves the transaction open, as on a connection of one's own.
pub struct Lease {
    orders: Sender<LeaseOrder>,
    /// What becomes of it in the end; gone once that was told.
    outcome: Option<Ending>,
    /// What was told.
    told: Option<WriteError>,
}

/// How the wish to commit ended.
pub(super) enum Wish {
    Committed,
    /// Foreign keys are still violated, and the transaction goes on.
    Refused(Lease, StatementError),
}

type Ending = Pin<Box<dyn Future<Output = Result<Committed, WriteError>> + Send>>;

impl Database {
    /// Waits for its turn in the queue of writes and then has the writer to itself.
    ///
    /// # Errors
    /// [`WriteError::Refused`] if its turn did not come.
    pub async fn lease(&self, begin: BeginLease) -> Result<Lease, WriteError> {
        self.submit_lease(begin).granted().await
    }

    /// The same, on terms that only a session asks for.
    ///
    /// Such leases take turns before they enter the queue, one at a time: so all writes that came while one lasted are
    /// committed before the next one, and whoever begins many of them keeps nobody else waiting for more than one.
    pub(super) async fn lease_on(&self, begin: BeginLease, terms: LeaseTerms) -> Result<Lease, WriteError> {
        let deadline = begin.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let turn = Arc::clone(&self.inner.lease_turns).acquire_owned();
        let turn = match deadline {
            Some(deadline) => in_time(deadline, turn).await,
            None => Some(turn.await),
        };
        let Some(turn) = turn else {
            return Err(Refusal::new(RefusedBecause::DeadlinePassed).into());
        };
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // It is never closed.
        self.submit_lease_on(BeginLease { timeout, ..begin }, terms, turn.ok()).granted().await
    }

    /// Puts the wish for a lease into the queue at once, to be awaited later.
    pub(super) fn submit_lease(&self, begin: BeginLease) -> PendingLease {
        self.submit_lease_on(begin, LeaseTerms::default(), None)
    }

    fn submit_lease_on(
        &self,
        begin: BeginLease,
        terms: LeaseTerms,
        turn: Option<OwnedSemaphorePermit>,
    ) -> PendingLease {
        let (seat, hold) = LeaseSeat::new(begin.max_age, terms, turn);
        let limit = begin.timeout.and_then(super::time_limit);
        let overflow = self.inner.settings.queue.overflow;
        PendingLease {
            write: self.push_write(Task::Lease(seat).into(), Lane::Interactive, limit, overflow),
            hold,
        }
    }
}

/// A wish for a lease in the queue.
pub(super) struct PendingLease {
    pub(super) write: PendingWrite,
    hold: LeaseHold,
}

impl PendingLease {
    pub(super) async fn granted(self) -> Result<Lease, WriteError> {
        let LeaseHold { granted, orders } = self.hold;
        let outcome: Ending = Box::pin(self.write.outcome());
        match select(granted, outcome).await {
            Either::Left((Ok(()), outcome)) => Ok(Lease { orders, outcome: Some(outcome), told: None }),
            // Its seat is gone, and the answer says why.
            Either::Left((Err(_), outcome)) => Err(ended(outcome.await)),
            Either::Right((answer, _)) => Err(ended(answer)),
        }
    }
}

/// The error of a lease that was not granted.
fn ended(answer: Result<Committed, WriteError>) -> WriteError {
    answer.err().unwrap_or_else(|| WriteError::Unknown("the writer answered a lease it never granted".into()))
}

impl Lease {
    /// Runs one statement in the transaction.
    ///
    /// # Errors
    /// [`WriteError::Statement`]: it failed, and the transaction goes on. [`WriteError::LeaseEnded`]: the lease is over, and
    /// nothing of it was kept.
    pub async fn execute(&mut self, statement: impl Into<Statement>) -> Result<StatementResult, WriteError> {
        let StepResult { columns, rows, rows_affected, last_insert_rowid } =
            self.step(statement.into(), true).await?.result?;
        let columns = columns.into_iter().map(|column| column.name).collect();
        Ok(StatementResult { rows_affected, last_insert_rowid, columns, rows })
    }

    /// Runs one statement, and says whether it ended the transaction.
    pub(super) async fn step(
        &mut self,
        statement: Statement,
        wants_rows: bool,
    ) -> Result<Stepped, WriteError> {
        self.order(|reply| LeaseOrder::Run { statement, wants_rows, reply }).await
    }

    /// Says what a statement is, with what the transaction did so far.
    pub(super) async fn describe(
        &mut self,
        sql: String,
    ) -> Result<Result<Description, StatementError>, WriteError> {
        self.order(|reply| LeaseOrder::Describe(sql, reply)).await
    }

    /// Gives an order that is answered, and waits for that; an error means that the lease is over.
    async fn order<T>(
        &mut self,
        order: impl FnOnce(oneshot::Sender<T>) -> LeaseOrder,
    ) -> Result<T, WriteError> {
        let Some(outcome) = &mut self.outcome else { return Err(self.ending().await) };
        let (reply, answer) = oneshot::channel();
        // An order that nobody takes any more is answered by the outcome.
        let _ = self.orders.send(order(reply));
        // The answer first: the statement that ended the transaction has an error of its own.
        match select(answer, outcome).await {
            Either::Left((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(_), _)) => Err(self.ending().await),
            Either::Right((outcome, mut answer)) => {
                (self.outcome, self.told) = (None, Some(ended(outcome)));
                // Both may have come since the answer was looked for.
                match answer.try_recv() {
                    Ok(answer) => Ok(answer),
                    Err(_) => Err(self.ending().await),
                }
            }
        }
    }

    /// Runs one statement in the transaction for its rows, within the writer's limits (`writer.max_rows`,
    /// `writer.max_result_bytes`).
    ///
    /// # Errors
    /// As for [`Lease::execute`].
    pub async fn query(&mut self, statement: impl Into<Statement>) -> Result<Rows, WriteError> {
        self.execute(statement).await.map(|result| Rows { columns: result.columns, rows: result.rows })
    }

    /// Commits what was done.
    ///
    /// # Errors
    /// [`WriteError`]: nothing of it was kept, or, in the one case that says so, its outcome is unknown.
    pub async fn commit(mut self) -> Result<CommitSeq, WriteError> {
        let _ = self.orders.send(LeaseOrder::Commit(None));
        match self.outcome.take() {
            Some(outcome) => outcome.await.map(|committed| committed.commit),
            None => Err(self.ending().await),
        }
    }

    /// Commits what was done, unless foreign keys are violated: then the transaction goes on, as it does in SQLite.
    pub(super) async fn wish_to_commit(mut self) -> Result<Wish, WriteError> {
        let Some(outcome) = self.outcome.take() else { return Err(self.ending().await) };
        let (reply, refused) = oneshot::channel();
        let _ = self.orders.send(LeaseOrder::Commit(Some(reply)));
        match select(refused, outcome).await {
            Either::Left((Ok(error), outcome)) => {
                self.outcome = Some(outcome);
                Ok(Wish::Refused(self, error))
            }
            Either::Left((Err(_), outcome)) => outcome.await.map(|_| Wish::Committed),
            Either::Right((outcome, _)) => outcome.map(|_| Wish::Committed),
        }
    }

    /// Undoes what was done. Dropping the lease does the same; this returns when it is done.
    pub async fn rollback(mut self) {
        let _ = self.orders.send(LeaseOrder::Rollback);
        self.ending().await;
    }

    /// Why it is over.
    async fn ending(&mut self) -> WriteError {
        if let Some(outcome) = self.outcome.take() {
            self.told = Some(ended(outcome.await));
        }
        self.told.clone().unwrap_or_else(|| WriteError::Unknown("the lease is over".into()))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lease").finish_non_exhaustive()
    }
}
