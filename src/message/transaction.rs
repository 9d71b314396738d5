//! Several writes that commit together or not at all.

use std::time::Duration;

use super::{Fingerprint, IdempotencyKey, Statement};
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
#[derive(Debug, Clone)]
pub(crate) struct WriteRequest {
    /// None at all: a flush, which commits what came before it.
    pub(crate) statements: Vec<Statement>,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) is_flush: bool,
}

impl WriteRequest {
    pub(crate) fn flush() -> Self {
        Self { statements: Vec::new(), key: None, is_flush: true }
    }

    /// In bytes, for the bounds of queue and batch.
    pub(crate) fn size(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.as_str().len());
        key + self.statements.iter().map(Statement::size).sum::<usize>()
    }

    /// Tells this write from another one under the same key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.statements)
    }
}

impl From<Transaction> for WriteRequest {
    fn from(transaction: Transaction) -> Self {
        Self { statements: transaction.statements, key: transaction.key, is_flush: false }
    }
}
