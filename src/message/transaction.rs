//! Several writes that commit together or not at all.

use std::time::Duration;

use super::{ExpireDeadLetters, IdempotencyKey, LeaseSeat, Logic, Program, Statement};
use crate::policy::Lane;

/// Statements that are committed all or none.
///
/// Inside a batch a transaction has a savepoint of its own, so neither its failure nor a neighbour's reaches across.
/// Answered with a [`TransactionReceipt`](crate::TransactionReceipt).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction {
    /// What to run, in this order.
    pub statements: Vec<Statement>,
    /// How long it may wait for its turn; past that it is not executed. `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// Makes the transaction happen once however often it is sent.
    pub key: Option<IdempotencyKey>,
    /// Where it waits for its turn.
    pub lane: Lane,
}

impl Transaction {
    /// An empty transaction.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more statement at its end.
    #[must_use]
    pub fn then(mut self, statement: impl Into<Statement>) -> Self {
        self.statements.push(statement.into());
        self
    }

    /// Not executed if its turn has not come within this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Committed once under this key, however often it is sent.
    #[must_use]
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Waits in the bulk lane, for loads of many or large writes: interactive writes go before it, and it has its turn
    /// after `queue.interactive_weight` of them.
    ///
    /// Order is kept within a lane only: a caller who uses both gets no order between them, unless one write is sent when
    /// the other is acknowledged.
    #[must_use]
    pub fn bulk(mut self) -> Self {
        self.lane = Lane::Bulk;
        self
    }
}

/// A write on its way to the engine.
#[derive(Debug)]
pub(crate) struct WriteRequest {
    pub(crate) task: Task,
    pub(crate) key: Option<IdempotencyKey>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// All of them or none.
    Statements(Vec<Statement>),
    Logic(Logic),
    Program(Program),
    /// Has the writer to itself, so it is never part of a batch.
    Lease(LeaseSeat),
    /// Tries a dead letter again; it is one no more if that is committed.
    Retry(i64),
    Expire(ExpireDeadLetters),
    /// Nothing; committed with what came before it.
    Flush,
}

impl Task {
    /// What logic, leases and dead letters count for: their statements are not known yet.
    const UNKNOWN_SIZE: usize = 1_024;

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Statements(statements) => statements.iter().map(Statement::size).sum(),
            Self::Program(program) => program.size(),
            Self::Logic(_) | Self::Lease(_) | Self::Retry(_) => Self::UNKNOWN_SIZE,
            Self::Expire(expire) => {
                Self::UNKNOWN_SIZE + expire.ids.as_ref().map_or(0, |ids| size_of_val(ids.as_slice()))
            }
            Self::Flush => 0,
        }
    }

    pub(crate) fn is_flush(&self) -> bool {
        matches!(self, Self::Flush)
    }

    pub(crate) fn as_lease(&self) -> Option<&LeaseSeat> {
        if let Self::Lease(seat) = self { Some(seat) } else { None }
    }
}

impl WriteRequest {
    /// In bytes, for the bounds of queue and batch.
    pub(crate) fn size(&self) -> usize {
        self.key.as_ref().map_or(0, |key| key.as_str().len()) + self.task.size()
    }
}

impl From<Task> for WriteRequest {
    fn from(task: Task) -> Self {
        Self { task, key: None }
    }
}

impl From<Transaction> for WriteRequest {
    fn from(transaction: Transaction) -> Self {
        Self { task: Task::Statements(transaction.statements), key: transaction.key }
    }
}
