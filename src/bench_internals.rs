//! Doors into the inside for `benches/micro.rs`, and for nobody else: behind the feature `bench-internals`, which no release
//! has, without any promise. Each does one step of a write's or a result's way, and nothing of its own.
#![allow(missing_docs, reason = "no part of the interface")]

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::actors::ticket::{WriteAnswer, WriteTicket};
use crate::layout::{Encoder, Layout};
use crate::message::{
    CommitSeq, Committed, Execute, Receipt, Results, Rows, StatementResult, Write, WriteRequest,
};
use crate::policy::{
    AdmissionPolicy, BatchPolicy, Behind, FlushReason, Lane, LanePolicy, Linger, Overflow, Pending,
    RefusedBecause, Traffic, Verdict,
};
use crate::queue::{ONE, Queue, Woken};

pub use crate::server::hrana_internals::{HranaAnswer, read_pipeline};

/// The batch policy, and the traffic it looks at.
pub struct Batching {
    policy: BatchPolicy,
    traffic: Traffic,
    since: Instant,
}

impl Batching {
    /// After a batch of 64 writes whose COMMIT took longer than its statements.
    pub fn new(linger: Linger) -> Self {
        let policy = BatchPolicy {
            max_writes: 1_000,
            max_bytes: 8 << 20,
            linger,
            max_linger: Duration::from_millis(5),
        };
        let commit = Duration::from_micros(400);
        let traffic = Traffic::default().after(64, commit, FlushReason::Idle, None);
        Self { policy, traffic, since: Instant::now() }
    }

    /// Whether a batch of so many writes goes on: with the next one in the queue, or by waiting for it.
    pub fn goes_on(&self, writes: usize, next: Option<usize>) -> bool {
        let pending = Pending {
            writes,
            bytes: writes * 200,
            since: self.since,
            waited: Duration::ZERO,
            flush_requested: false,
        };
        let behind = next.map_or(Behind::Nothing, Behind::Next);
        !matches!(self.policy.decide(pending, behind, self.traffic, self.since), Verdict::Flush(_))
    }
}

/// A write on its way to the writer.
pub struct Ticket(WriteTicket);

/// Where its answer will be.
pub struct Answer(oneshot::Receiver<WriteAnswer>);

impl Ticket {
    pub fn new(write: Execute) -> Option<(Self, Answer)> {
        let request = WriteRequest::from(write.into_transaction().ok()?);
        let (ticket, answer) = WriteTicket::new(request, Lane::Interactive, None);
        Some((Self(ticket), Answer(answer)))
    }

    /// Answers as the writer does after a COMMIT.
    pub fn commit(self, rowid: i64) {
        let result = StatementResult {
            rows_affected: 1,
            last_insert_rowid: Some(rowid),
            ..StatementResult::default()
        };
        self.0.answer(Ok(Committed { results: Results::from_iter([result]), commit: CommitSeq(1) }));
    }
}

impl Answer {
    /// Blocks until it is there.
    pub fn receipt(self) -> Option<Receipt> {
        self.0.blocking_recv().ok()?.outcome.ok().map(Receipt::from)
    }
}

/// The queue of writes, with room for all.
pub struct Intake {
    queue: Queue<WriteTicket>,
    hand: Mutex<Vec<WriteTicket>>,
}

impl Default for Intake {
    fn default() -> Self {
        let admission = AdmissionPolicy { max_items: usize::MAX >> 1, max_bytes: usize::MAX >> 1 };
        let turns = LanePolicy { interactive_weight: NonZeroUsize::MIN };
        Self { queue: Queue::new(admission, turns), hand: Mutex::default() }
    }
}

impl Intake {
    pub fn push(&self, ticket: Ticket) -> bool {
        self.queue.push(ticket.0, Overflow::Wait).is_ok()
    }

    /// Takes one, as a reader does.
    pub fn pop(&self) -> Option<Ticket> {
        self.queue.pop().map(Ticket)
    }

    /// Takes all there is, as the writer does, and commits it. How much that was.
    pub fn commit_all(&self) -> usize {
        let Ok(mut hand) = self.hand.lock() else { return 0 };
        self.queue.take_while(&mut hand, |_, behind| matches!(behind, Behind::Next(_)));
        let count = hand.len();
        for ticket in hand.drain(..) {
            Ticket(ticket).commit(1);
        }
        count
    }

    /// The writer's loop: waits, and commits what is there, until the queue is closed and empty.
    pub fn serve(&self) {
        while self.queue.wait(ONE, None) != Woken::Finished {
            self.commit_all();
        }
    }

    pub fn close(&self) {
        self.queue.close(RefusedBecause::ShuttingDown);
    }
}

/// Rows as lines of JSON, as the daemon streams them.
pub fn ndjson(rows: &Rows) -> Vec<u8> {
    let encoder = Encoder::new(Layout::Ndjson, &rows.columns).ok();
    encoder.and_then(|mut encoder| encoder.rows(&rows.rows).ok()).unwrap_or_default()
}
