//! HOW: what the actors ask of a storage engine. Blocking, one batch in, an outcome for each write out.
//!
//! The trait is the seam for an engine that is remote or replicated; `sqlite` is the one there is.

pub(crate) mod sqlite;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::error::{ReadError, StartError, StatementError, WriteError};
use crate::message::{
    Burial, Column, Columns, CommitSeq, Committed, Description, LeaseSeat, ReadRequest, Value, WriteRequest,
};

/// What the actors need to open their connections, again after each failure.
pub(crate) trait Engine: Send + Sync + 'static {
    /// When it has succeeded, no COMMIT that failed before comes back, not even after a crash.
    fn open_writer(&self) -> Result<Box<dyn WriteEngine>, StartError>;
    fn open_reader(&self) -> Result<Box<dyn ReadEngine + Send>, StartError>;
    /// Ends the statements of callers that run now, and all that begin later: the time of a shutdown is up.
    fn interrupt(&self);
    /// Lets go of the file: all connections are closed, and nothing will be opened any more.
    fn close(&self);
}

/// One writer's connection.
pub(crate) trait WriteEngine {
    /// The number of the last COMMIT. In a file that was just opened for the first time none is higher.
    fn last_commit(&self) -> CommitSeq;

    /// Commits the writes in order, each succeeding or failing alone. `outcomes` is filled only with what is final, so
    /// that whatever has no outcome after an error, or a panic, may be run again.
    fn commit(&mut self, batch: &mut dyn Batch, outcomes: &mut Outcomes) -> Result<(), EngineFailure>;

    /// Grants a lease and runs its orders until it is committed, rolled back or over. `outcomes` has one place.
    fn lease(&mut self, seat: &LeaseSeat, outcomes: &mut Outcomes) -> Result<(), EngineFailure>;

    /// Keeps what is left of writes that failed and that nobody waited for, and commits that. How many were kept: all but
    /// those that are too large to be; or not now (`None`), while nothing may be written. May be told the same ones again
    /// after an error.
    fn bury(&mut self, dead: &[Burial]) -> Result<Option<usize>, EngineFailure>;

    /// Keeps the log short and the idempotency keys few.
    fn maintain(&mut self, occasion: Occasion) -> Result<(), EngineFailure>;

    /// If something is left to maintain: how long to wait for a write before it is tried without one.
    fn idle_pause(&self) -> Option<Duration>;
}

/// The writes of one group commit. While the first of them run, the others may still be on their way.
pub(crate) trait Batch {
    /// The write at this place; one that is not here yet is waited for, if that is worth it. `None`: the batch ends
    /// before it.
    fn write(&mut self, place: usize) -> Option<&WriteRequest>;

    /// How many are here.
    fn len(&self) -> usize;
}

/// All of them are here.
#[cfg(test)]
impl Batch for &[WriteRequest] {
    fn write(&mut self, place: usize) -> Option<&WriteRequest> {
        self.get(place)
    }

    fn len(&self) -> usize {
        (**self).len()
    }
}

/// One reader's connection.
pub(crate) trait ReadEngine {
    /// Runs a query and hands its rows to `sink`.
    fn query(
        &mut self,
        request: &ReadRequest,
        until: Until<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), ReadError>;

    /// Says what a statement is, without running it.
    fn describe(&mut self, sql: &str) -> Result<Description, ReadError>;

    /// From now on all queries see the file as it is now, until [`ReadEngine::release`].
    fn hold(&mut self) -> Result<(), ReadError>;

    /// Queries see what is new again.
    fn release(&mut self) -> Result<(), ReadError>;
}

/// What ends a query before its last row.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    pub(crate) deadline: Instant,
    /// Becomes true when the caller has left.
    pub(crate) left: &'a Arc<AtomicBool>,
}

/// Where the rows of a query go.
pub(crate) trait RowSink {
    fn columns(&mut self, columns: Columns);
    /// Comes before the names, if the request asks for it.
    fn typed_columns(&mut self, columns: Vec<Column>);
    /// How many bytes the next row may have.
    fn room(&self) -> usize;
    /// The next row has so many bytes; more than there is room for, if it does not matter how many, and then this is an
    /// error.
    fn make_room(&mut self, bytes: usize) -> Result<(), StatementError>;
    /// An error means that nobody wants the rest.
    fn row(&mut self, row: Vec<Value>) -> Result<(), StatementError>;
}

/// When maintenance is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// After a batch.
    Commit,
    /// No write came for the time that `idle_pause` told.
    Idle,
    /// Before the connection is closed for good.
    Close,
}

pub(crate) type WriteOutcome = Result<Committed, WriteError>;

/// The outcomes of a batch, one place a write.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    /// Final: to be answered whatever happens next. One that is beyond the end is as open as an empty one.
    pub(crate) settled: Vec<Option<WriteOutcome>>,
    /// The places of a COMMIT that failed in the storage. It is not in the file, but it may be after a crash.
    pub(crate) in_doubt: Range<usize>,
    /// COMMITs that succeeded.
    pub(crate) commits: usize,
    /// What the last of them took, without the statements before it.
    pub(crate) sealing: Duration,
    /// Whether a write had to be isolated from its neighbours.
    pub(crate) replayed: bool,
}

impl Outcomes {
    /// These are final, from this place on.
    pub(crate) fn settle(&mut self, first: usize, outcomes: impl IntoIterator<Item = WriteOutcome>) {
        let outcomes = outcomes.into_iter().map(Some);
        if self.settled.is_empty() && first == 0 {
            // As a rule: one transaction for all of them.
            self.settled = outcomes.collect();
            return;
        }
        for (place, outcome) in (first..).zip(outcomes) {
            if self.settled.len() <= place {
                self.settled.resize_with(place + 1, || None);
            }
            self.settled[place] = outcome;
        }
    }
}

/// Why a connection cannot go on; the supervisor opens another one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineFailure {
    /// The storage failed under a statement or a COMMIT.
    #[error("{0}")]
    Storage(String),
}
