//! A single write.

use std::time::Duration;

use super::{IdempotencyKey, Params, Statement};
use crate::policy::Lane;

/// One statement to be committed: INSERT, UPDATE, DELETE, with RETURNING or without, or DDL.
///
/// Answered with a [`Receipt`](crate::Receipt) after the COMMIT that holds it, or with a
/// [`WriteError`](crate::WriteError) that says whether it may be sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Execute {
    /// What to run.
    pub statement: Statement,
    /// How long it may wait for its turn; past that it is not executed. `None`: as long as it takes.
    pub timeout: Option<Duration>,
    /// Makes the write happen once however often it is sent.
    pub key: Option<IdempotencyKey>,
    /// Where it waits for its turn.
    pub lane: Lane,
}

impl Execute {
    /// A write of `statement`: a text, or a text and its parameters as a tuple.
    pub fn new(statement: impl Into<Statement>) -> Self {
        Self { statement: statement.into(), timeout: None, key: None, lane: Lane::default() }
    }

    /// With these parameters.
    #[must_use]
    pub fn params(mut self, params: impl Into<Params>) -> Self {
        self.statement = self.statement.params(params);
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

impl<S: Into<Statement>> From<S> for Execute {
    fn from(statement: S) -> Self {
        Self::new(statement)
    }
}
