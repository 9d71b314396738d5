//! A request in a queue, with the place its answer goes to. A caller that left is seen: its receiver is gone.
//!
//! An answer, unless it is a stream, takes its request back with it: what a thread allocated is freed by that thread. Freed
//! by the writer, the texts of a large batch kept both threads waiting for the allocator's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::shared::Connected;
use crate::engine::{ReadEngine, WriteOutcome};
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{
    Burial, Column, Columns, CommitSeq, Description, LeaseSeat, ReadRequest, Rows, StepResult, Task, Value,
    WriteRequest,
};
use crate::policy::{Lane, RefusedBecause};
use crate::queue::Queued;

/// A write that waits for its turn.
pub(crate) struct WriteTicket {
    pub(crate) request: WriteRequest,
    /// None: nobody waits for it. If it fails it becomes a dead letter.
    reply: Option<oneshot::Sender<WriteAnswer>>,
    lane: Lane,
    limit: Option<TimeLimit>,
    size: usize,
    /// Writers that panicked with this in hand.
    pub(crate) crashes: u32,
}

/// What became of a write, and the write itself, to be dropped where it was made.
pub(crate) struct WriteAnswer {
    pub(crate) outcome: WriteOutcome,
    _request: WriteRequest,
}

/// What became of a read, and the read itself.
pub(crate) struct ReadAnswer<T> {
    pub(crate) result: Result<T, ReadError>,
    _request: ReadRequest,
}

impl WriteTicket {
    pub(crate) fn new(
        request: WriteRequest,
        lane: Lane,
        limit: Option<TimeLimit>,
    ) -> (Self, oneshot::Receiver<WriteAnswer>) {
        let (reply, answer) = oneshot::channel();
        (Self { reply: Some(reply), ..Self::unattended(request, lane, limit) }, answer)
    }

    pub(crate) fn unattended(request: WriteRequest, lane: Lane, limit: Option<TimeLimit>) -> Self {
        let size = request.size();
        Self { request, reply: None, lane, limit, size, crashes: 0 }
    }

    pub(crate) fn is_unattended(&self) -> bool {
        self.reply.is_none()
    }

    /// What is to be kept of it if it failed with this error and nobody hears of it, or if it is a dead letter that was tried
    /// again.
    pub(crate) fn burial(&self, error: &WriteError) -> Option<Burial> {
        let is_kept = self.is_unattended() || matches!(self.request.task, Task::Retry(_));
        if is_kept { Burial::of(&self.request, error) } else { None }
    }

    /// A caller that left in the meantime gets nothing, and that is all right.
    pub(crate) fn answer(self, outcome: WriteOutcome) {
        if let Some(reply) = self.reply {
            let _ = reply.send(WriteAnswer { outcome, _request: self.request });
        }
    }

    pub(crate) fn refuse(self, because: RefusedBecause) {
        self.answer(Err(Refusal::new(because).into()));
    }

    pub(crate) fn in_doubt(self, reason: &str) {
        self.answer(Err(WriteError::Unknown(reason.to_owned())));
    }

    /// Whether it is a lease whose turn has begun: nobody can go on with it.
    pub(crate) fn is_spent(&self) -> bool {
        self.request.task.as_lease().is_some_and(LeaseSeat::was_granted)
    }

    /// Whether its turn may begin: its caller is there, and its time is not up.
    pub(crate) fn begins(&self, now: Instant) -> bool {
        let in_time = |limit: &TimeLimit| now < limit.deadline && limit.begin();
        !self.is_abandoned() && self.limit.as_ref().is_none_or(in_time)
    }

    /// Its turn did not come to an end; it waits for another one.
    pub(crate) fn waits_again(&mut self) {
        if let Some(limit) = &self.limit {
            limit.turn.store(TimeLimit::WAITING, Ordering::Release);
        }
    }
}

/// Until when a write may begin. Agreed upon between the writer and a caller whose time is up, so that nobody is told
/// "not executed" of a write that is running.
#[derive(Debug, Clone)]
pub(crate) struct TimeLimit {
    pub(crate) deadline: Instant,
    turn: Arc<AtomicU8>,
}

impl TimeLimit {
    const WAITING: u8 = 0;
    const BEGUN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    pub(crate) fn new(deadline: Instant) -> Self {
        Self { deadline, turn: Arc::new(AtomicU8::new(Self::WAITING)) }
    }

    fn begin(&self) -> bool {
        self.leave_waiting(Self::BEGUN)
    }

    /// Whether the caller may be told that the write was not executed: it never will be then.
    pub(crate) fn give_up(&self) -> bool {
        self.leave_waiting(Self::GIVEN_UP)
    }

    fn leave_waiting(&self, to: u8) -> bool {
        self.turn.compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Held by who waits for the rows of a query; when it is gone, so is the caller, and the query is ended.
#[derive(Debug, Default)]
pub(crate) struct Presence(Arc<AtomicBool>);

impl Presence {
    /// Becomes true when the caller has left.
    pub(crate) fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queued for WriteTicket {
    fn size(&self) -> usize {
        self.size
    }

    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    fn is_urgent(&self) -> bool {
        // A lease is the last of its batch.
        self.request.task.is_flush() || self.request.task.as_lease().is_some()
    }

    fn lane(&self) -> Lane {
        self.lane
    }
}

/// A query that waits for a reader.
pub(crate) struct ReadTicket {
    pub(crate) request: ReadRequest,
    pub(crate) reply: ReadReply,
    pub(crate) deadline: Instant,
    /// Becomes true when the caller has left.
    pub(crate) left: Arc<AtomicBool>,
    /// What it is run on, if not on the reader's own connection.
    pub(crate) held: Option<Held>,
    /// Where that goes afterwards.
    give_back: Option<oneshot::Sender<Held>>,
    size: usize,
    /// Readers that panicked with this in hand.
    pub(crate) crashes: u32,
}

/// A connection that sees the file as it was when somebody began to look at it. Readers run what is asked of it.
pub(crate) struct Held {
    pub(crate) engine: Box<dyn ReadEngine + Send>,
    /// A COMMIT that it sees: the last one that was known when it began to look.
    pub(crate) commit: CommitSeq,
    _connected: Connected,
}

impl Held {
    pub(crate) fn new(engine: Box<dyn ReadEngine + Send>, connected: Connected) -> Self {
        Self { engine, commit: CommitSeq::default(), _connected: connected }
    }
}

/// A caller that left in the meantime gets nothing, and that is all right.
pub(crate) struct ReplyTo<T>(oneshot::Sender<ReadAnswer<T>>);

impl<T> ReplyTo<T> {
    pub(crate) fn channel() -> (Self, oneshot::Receiver<ReadAnswer<T>>) {
        let (sender, answer) = oneshot::channel();
        (Self(sender), answer)
    }

    pub(crate) fn send(self, result: Result<T, ReadError>, request: ReadRequest) {
        let _ = self.0.send(ReadAnswer { result, _request: request });
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// What is wanted, and where it goes.
pub(crate) enum ReadReply {
    /// All at once.
    Rows(ReplyTo<Rows>),
    /// As they come, and how it ended: without that, rows that are missing would look like the end.
    Stream { chunks: mpsc::Sender<Chunk>, end: oneshot::Sender<Result<(), ReadError>> },
    /// All at once, with the types of the columns.
    Typed(ReplyTo<StepResult>),
    /// What the statement is.
    Description(ReplyTo<Description>),
    /// A connection that sees the file as it is now.
    Hold(ReplyTo<Held>),
    /// Nothing: the connection is not needed any more.
    Release,
}

/// A piece of a streamed result; the columns come first, once.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// Before the names, if they are wanted.
    TypedColumns(Vec<Column>),
    Columns(Columns),
    Rows(Vec<Vec<Value>>),
}

impl ReadTicket {
    pub(crate) fn new(request: ReadRequest, reply: ReadReply, deadline: Instant, caller: &Presence) -> Self {
        let size = request.statement.size();
        let left = caller.left();
        Self { request, reply, deadline, left, held: None, give_back: None, size, crashes: 0 }
    }

    /// To be run on this connection, which is given back before the answer.
    pub(crate) fn on(mut self, held: Held, give_back: oneshot::Sender<Held>) -> Self {
        (self.held, self.give_back) = (Some(held), Some(give_back));
        self
    }

    /// Whether it can be run again after a panic: nothing of it is out, and its connection is none that may have been
    /// left in the middle of something.
    pub(crate) fn may_run_again(&self) -> bool {
        self.held.is_none() && !matches!(self.reply, ReadReply::Stream { .. })
    }

    /// To be called before the answer, so that who has that has the connection too.
    pub(crate) fn return_held(&mut self) {
        if let (Some(held), Some(give_back)) = (self.held.take(), self.give_back.take()) {
            // Nobody there: it is closed.
            drop(give_back.send(held));
        }
    }

    pub(crate) fn fail(mut self, error: ReadError) {
        self.return_held();
        match self.reply {
            ReadReply::Rows(reply) => reply.send(Err(error), self.request),
            ReadReply::Stream { end, .. } => drop(end.send(Err(error))),
            ReadReply::Typed(reply) => reply.send(Err(error), self.request),
            ReadReply::Description(reply) => reply.send(Err(error), self.request),
            ReadReply::Hold(reply) => reply.send(Err(error), self.request),
            ReadReply::Release => {}
        }
    }

    pub(crate) fn refuse(self, because: RefusedBecause) {
        self.fail(Refusal::new(because).into());
    }
}

impl Queued for ReadTicket {
    fn size(&self) -> usize {
        self.size
    }

    fn is_abandoned(&self) -> bool {
        match &self.reply {
            ReadReply::Rows(reply) => reply.is_closed(),
            ReadReply::Stream { chunks, .. } => chunks.is_closed(),
            ReadReply::Typed(reply) => reply.is_closed(),
            ReadReply::Description(reply) => reply.is_closed(),
            ReadReply::Hold(reply) => reply.is_closed(),
            ReadReply::Release => false,
        }
    }
}
