//! A request in a queue, with the place its answer goes to. A caller that left is seen: its receiver is gone.
//!
//! An answered write takes its request back with it: what a thread allocated is freed by that thread. Freed by the
//! writer, the texts of a large batch kept both threads waiting for the allocator's lock.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use crate::engine::WriteOutcome;
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{ReadRequest, Rows, Value, WriteRequest};
use crate::policy::RefusedBecause;
use crate::queue::Queued;

/// A write that waits for its turn.
pub(crate) struct WriteTicket {
    pub(crate) request: WriteRequest,
    reply: oneshot::Sender<WriteAnswer>,
    deadline: Option<Instant>,
    size: usize,
    /// Writers that panicked with this in hand.
    pub(crate) crashes: u32,
}

/// What became of a write, and the write itself, to be dropped where it was made.
pub(crate) struct WriteAnswer {
    pub(crate) outcome: WriteOutcome,
    _request: WriteRequest,
}

impl WriteTicket {
    pub(crate) fn new(
        request: WriteRequest,
        deadline: Option<Instant>,
    ) -> (Self, oneshot::Receiver<WriteAnswer>) {
        let (reply, answer) = oneshot::channel();
        let size = request.size();
        (Self { request, reply, deadline, size, crashes: 0 }, answer)
    }

    /// A caller that left in the meantime gets nothing, and that is all right.
    pub(crate) fn answer(self, outcome: WriteOutcome) {
        let _ = self.reply.send(WriteAnswer { outcome, _request: self.request });
    }

    pub(crate) fn refuse(self, because: RefusedBecause) {
        self.answer(Err(Refusal::new(because).into()));
    }

    pub(crate) fn in_doubt(self, reason: &str) {
        self.answer(Err(WriteError::Unknown(reason.to_owned())));
    }

    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

impl Queued for WriteTicket {
    fn size(&self) -> usize {
        self.size
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn is_urgent(&self) -> bool {
        self.request.is_flush
    }
}

/// A query that waits for a reader.
pub(crate) struct ReadTicket {
    pub(crate) request: ReadRequest,
    pub(crate) reply: ReadReply,
    pub(crate) deadline: Instant,
    size: usize,
    /// Readers that panicked with this in hand.
    pub(crate) crashes: u32,
}

/// Where the rows go.
pub(crate) enum ReadReply {
    /// All at once.
    Rows(oneshot::Sender<Result<Rows, ReadError>>),
    /// As they come, and how it ended: without that, rows that are missing would look like the end.
    Stream { chunks: mpsc::Sender<Chunk>, end: oneshot::Sender<Result<(), ReadError>> },
}

/// A piece of a streamed result; the columns come first, once.
#[derive(Debug)]
pub(crate) enum Chunk {
    Columns(Vec<String>),
    Rows(Vec<Vec<Value>>),
}

impl ReadTicket {
    pub(crate) fn new(request: ReadRequest, reply: ReadReply, deadline: Instant) -> Self {
        let size = request.statement.size();
        Self { request, reply, deadline, size, crashes: 0 }
    }

    pub(crate) fn fail(self, error: ReadError) {
        match self.reply {
            ReadReply::Rows(reply) => {
                let _ = reply.send(Err(error));
            }
            ReadReply::Stream { end, .. } => {
                let _ = end.send(Err(error));
            }
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
        }
    }
}
