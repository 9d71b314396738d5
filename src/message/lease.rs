//! A lease on the writer: a transaction whose statements come one by one, from a caller who looks at each result before the
//! next. While it lasts nobody else writes, so it is bounded in time.

use std::cell::Cell;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Description, Statement, StepResult};
use crate::error::{LeaseEnd, StatementError};

/// A message: asks for a lease, answered with a [`Lease`](crate::Lease) when its turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BeginLease {
    /// How long it may wait for its turn. `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// How long it lasts at the most, from its turn on; shortens `writer.lease_timeout`, never lengthens it.
    pub max_age: Option<Duration>,
}

impl BeginLease {
    /// A lease as long as the settings allow.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refused if its turn has not come within this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Over after this time.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}

/// What the holder of a lease wants next.
pub(crate) enum LeaseOrder {
    Run {
        statement: Statement,
        wants_rows: bool,
        reply: oneshot::Sender<Stepped>,
    },
    /// Says what a statement is.
    Describe(String, oneshot::Sender<Result<Description, StatementError>>),
    /// If foreign keys are still violated and somebody is there to be told, the transaction goes on.
    Commit(Option<oneshot::Sender<StatementError>>),
    Rollback,
}

/// What became of an order to run a statement.
#[derive(Debug)]
pub(crate) struct Stepped {
    pub(crate) result: Result<StepResult, StatementError>,
    /// Whether the statement ended the transaction.
    pub(crate) is_over: bool,
}

/// What a lease is to be like, beside its times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaseTerms {
    /// Whether foreign keys are enforced.
    pub(crate) foreign_keys: bool,
    /// What `last_insert_rowid()` is to be before its first statement.
    pub(crate) last_rowid: i64,
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self { foreign_keys: true, last_rowid: 0 }
    }
}

/// The writer's end of a lease.
pub(crate) struct LeaseSeat {
    granted: Cell<Option<oneshot::Sender<()>>>,
    orders: Receiver<LeaseOrder>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) terms: LeaseTerms,
    /// Its turn among the leases that take turns.
    turn: Cell<Option<OwnedSemaphorePermit>>,
}

/// What the holder has of it: told when it is granted, and the way for orders.
pub(crate) struct LeaseHold {
    pub(crate) granted: oneshot::Receiver<()>,
    pub(crate) orders: Sender<LeaseOrder>,
}

impl LeaseSeat {
    pub(crate) fn new(
        max_age: Option<Duration>,
        terms: LeaseTerms,
        turn: Option<OwnedSemaphorePermit>,
    ) -> (Self, LeaseHold) {
        let (grant, granted) = oneshot::channel();
        let (sender, orders) = channel();
        let seat = Self { granted: Cell::new(Some(grant)), orders, max_age, terms, turn: Cell::new(turn) };
        (seat, LeaseHold { granted, orders: sender })
    }

    /// To be kept while it lasts. The seat itself may outlast it: it goes back to a holder who does not look.
    pub(crate) fn take_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turn.take()
    }

    /// Tells the holder that its turn has come; not if it has left.
    pub(crate) fn grant(&self) -> bool {
        self.granted.take().is_some_and(|granted| granted.send(()).is_ok())
    }

    /// Whether its turn has come once: another one would not go on where that one stopped.
    pub(crate) fn was_granted(&self) -> bool {
        let granted = self.granted.take();
        let was_granted = granted.is_none();
        self.granted.set(granted);
        was_granted
    }

    /// The next order, or why there will be none.
    pub(crate) fn next(
        &self,
        until: Instant,
        is_interrupted: impl Fn() -> bool,
    ) -> Result<LeaseOrder, LeaseEnd> {
        /// How long an interruption may go unnoticed.
        const GLANCE: Duration = Duration::from_millis(20);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.orders.recv_timeout(left.min(GLANCE)) {
                Ok(order) => return Ok(order),
                Err(RecvTimeoutError::Disconnected) => return Err(LeaseEnd::RolledBack),
                Err(RecvTimeoutError::Timeout) if is_interrupted() => return Err(LeaseEnd::ShuttingDown),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => return Err(LeaseEnd::Expired),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl fmt::Debug for LeaseSeat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LeaseSeat").finish_non_exhaustive()
    }
}
