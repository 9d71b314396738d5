//! `WriterActor`: the only one that writes. It lives on a thread of its own and wakes when there is a write in the
//! queue; it has the engine commit a batch (`open_batch.rs`), and answers each caller. Its one message is `Collect`, and the
//! handler runs until the queue is closed or something fails.
//!
//! Whatever ends the run, nothing it held is lost: what the engine settled is answered, what is in doubt is left until
//! there is a new connection, and the rest goes back to the head of the queue.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, Handler, MessageResult, SyncArbiter, SyncContext};

use super::open_batch::OpenBatch;
use super::shared::{Occupation, Shared};
use super::ticket::WriteTicket;
use super::{Collect, Exit};
use crate::engine::{Engine, EngineFailure, Occasion, Outcomes, WriteEngine};
use crate::error::{LeaseEnd, StatementError, StatementErrorKind, WriteError};
use crate::message::{Burial, CommitSeq, panic_message};
use crate::policy::{BatchPolicy, FlushReason, Spin, Traffic};
use crate::queue::{ONE, Woken};
use crate::settings::{self, WriterSettings};
use crate::stats;

pub(crate) struct WriterActor {
    shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    policy: BatchPolicy,
    hand: Hand,
    traffic: Traffic,
    spin: Spin,
}

/// The writes taken from the queue and not answered yet.
#[derive(Default)]
struct Hand {
    tickets: Vec<WriteTicket>,
    outcomes: Outcomes,
    /// Its turn comes when the others are committed.
    lease: Option<WriteTicket>,
}

/// What is about to be kept. If it is not, for whatever reason, it waits for the next turn, or the next writer.
struct Unburied<'a> {
    burials: Vec<Burial>,
    shared: &'a Shared,
}

impl Drop for Unburied<'_> {
    fn drop(&mut self) {
        self.shared.put_burials(std::mem::take(&mut self.burials));
    }
}

/// How often it is tried to keep what could not be kept, while nobody writes.
const UNBURIED_PAUSE: Duration = Duration::from_secs(1);

impl WriterActor {
    /// Starts the thread; it does nothing until it is told to.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        engine: &Arc<dyn Engine>,
        settings: &WriterSettings,
    ) -> Addr<Self> {
        let policy = BatchPolicy {
            max_writes: settings.max_batch_writes.get(),
            max_bytes: settings::bytes(settings.max_batch_bytes),
            linger: settings.linger,
            max_linger: settings.max_linger,
        };
        let (shared, engine) = (Arc::clone(shared), Arc::clone(engine));
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let thread = || std::thread::Builder::new().name("actix-sqlite-writer".into());
        SyncArbiter::start_with_thread_builder(1, thread, move || Self {
            shared: Arc::clone(&shared),
            engine: Arc::clone(&engine),
            policy,
            hand: Hand::default(),
            traffic: Traffic::default(),
            spin: Spin::on(cores),
        })
    }

    /// Opens a connection and commits batches until the queue is closed and empty.
    fn work(&mut self, collect: Collect) -> Exit {
        let shared = Arc::clone(&self.shared);
        let _connected = shared.connected();
        let mut engine = match self.engine.open_writer() {
            Ok(engine) => engine,
            Err(error) => return Exit::CannotOpen(error),
        };
        match self.work_with(engine.as_mut(), collect) {
            Ok(()) => Exit::Drained,
            Err(error) => Exit::Failed(error.to_string()),
        }
    }

    fn work_with(&mut self, engine: &mut dyn WriteEngine, collect: Collect) -> Result<(), EngineFailure> {
        // A COMMIT that failed under the writer before this one cannot come back, now that there is a new connection; so
        // its writes may run again, or be told that they were not executed.
        self.give_back(self.shared.take_in_doubt());
        self.bury(engine)?;
        self.shared.last_commit.send_replace(engine.last_commit());
        // Nobody listens any more only if the supervisor is gone, and then the queue is closed too.
        let _ = collect.ready.send(());
        loop {
            self.shared.occupied(Occupation::Idle);
            let unburied = || self.shared.has_burials().then_some(UNBURIED_PAUSE);
            let until = engine.idle_pause().or_else(unburied).map(|pause| Instant::now() + pause);
            match self.wait(until) {
                Woken::Finished => break,
                Woken::TimedOut => {
                    self.maintain(engine, Occasion::Idle)?;
                    self.bury(engine)?;
                    continue;
                }
                Woken::Ready => self.shared.occupied(Occupation::Batch),
            }
            self.commit_batch(engine)?;
            if let Some(lease) = self.hand.lease.take() {
                self.hold_lease(engine, lease)?;
            }
            self.bury(engine)?;
        }
        self.bury(engine)?;
        self.shared.lose_burials("there was no room to the end, so they are not kept as dead letters");
        engine.maintain(Occasion::Close)
    }

    /// Waits for callers, and counts it.
    fn wait(&mut self, until: Option<Instant>) -> Woken {
        let Self { shared, spin, .. } = self;
        stats::timed(&shared.stats.writer_nanos.waiting, || shared.intake.wait_awake(ONE, until, spin))
    }

    fn maintain(&self, engine: &mut dyn WriteEngine, occasion: Occasion) -> Result<(), EngineFailure> {
        stats::timed(&self.shared.stats.writer_nanos.maintenance, || engine.maintain(occasion))
    }

    /// To be called before whoever is in a commit is answered: a query that is asked after that has to show it.
    fn tell_commit(&self, commit: CommitSeq) {
        self.shared.last_commit.send_if_modified(|last| {
            let is_newer = commit > *last;
            *last = commit.max(*last);
            is_newer
        });
    }

    /// Puts back at the head of the queue what may run again.
    fn give_back(&self, tickets: Vec<WriteTicket>) {
        let (spent, mut tickets): (Vec<_>, Vec<_>) = tickets.into_iter().partition(WriteTicket::is_spent);
        for lease in spent {
            lease.answer(Err(WriteError::LeaseEnded(LeaseEnd::WriterFailed)));
        }
        tickets.iter_mut().for_each(WriteTicket::waits_again);
        stats::add(&self.shared.stats.writes_given_back, tickets.len());
        self.shared.intake.give_back(tickets.into_iter());
    }

    /// Keeps what is left of writes that failed and that nobody waited for.
    fn bury(&self, engine: &mut dyn WriteEngine) -> Result<(), EngineFailure> {
        let mut unburied = Unburied { burials: self.shared.take_burials(), shared: &self.shared };
        if unburied.burials.is_empty() {
            return Ok(());
        }
        let buried = engine.bury(&unburied.burials);
        if let Ok(Some(kept)) = &buried {
            let all = std::mem::take(&mut unburied.burials).len();
            stats::add(&self.shared.stats.writes_buried, *kept);
            self.shared.note_loss(all - kept, "they are too large to be kept as dead letters");
        }
        self.shared.last_commit.send_replace(engine.last_commit());
        buried.map(|_| ())
    }

    /// Commits what is in the queue, and what comes while that runs, as long as the policy says so.
    fn commit_batch(&mut self, engine: &mut dyn WriteEngine) -> Result<(), EngineFailure> {
        let begun = Instant::now();
        let Hand { tickets, outcomes, lease } = &mut self.hand;
        *outcomes = Outcomes::default();
        let hand = (tickets, lease);
        let mut batch = OpenBatch::new(&self.shared, &self.policy, self.traffic, &mut self.spin, hand, begun);
        let result = engine.commit(&mut batch, outcomes);
        let (writes, waited_from) = (batch.tickets.len(), batch.waited_from);
        let (reason, waited) = (batch.ended.unwrap_or(FlushReason::Idle), batch.waited());
        self.shared.stats.in_hand.store(0, Relaxed);
        if writes > 0 {
            self.shared.last_commit.send_replace(engine.last_commit());
            fail::fail_point!("after_commit");
            let nanos = &self.shared.stats.writer_nanos;
            stats::add_time(&nanos.commit, outcomes.sealing);
            stats::add_time(&nanos.statements, begun.elapsed().saturating_sub(outcomes.sealing + waited));
            self.traffic = self.traffic.after(writes, outcomes.sealing, reason, waited_from);
            let micros = begun.elapsed().as_micros();
            tracing::debug!(writes, reason = reason.name(), micros, "batch");
            self.shared.stats.batch(writes, reason);
        }
        result?;
        if writes > 0 {
            self.answer_settled();
            self.maintain(engine, Occasion::Commit)?;
        }
        Ok(())
    }

    fn hold_lease(&mut self, engine: &mut dyn WriteEngine, lease: WriteTicket) -> Result<(), EngineFailure> {
        self.hand.tickets.push(lease);
        self.hand.outcomes = Outcomes::default();
        self.shared.stats.in_hand.store(1, Relaxed);
        let Hand { tickets, outcomes, .. } = &mut self.hand;
        let Some(seat) = tickets[0].request.task.as_lease() else { return Ok(()) };
        self.shared.occupied(Occupation::Lease);
        let result = engine.lease(seat, outcomes);
        self.shared.occupied(Occupation::Batch);
        self.shared.stats.in_hand.store(0, Relaxed);
        self.shared.last_commit.send_replace(engine.last_commit());
        if result.is_ok() {
            stats::add(&self.shared.stats.leases, 1);
            self.answer_settled();
            return self.maintain(engine, Occasion::Commit);
        }
        result
    }

    /// Answers what is final, and keeps the rest in hand.
    fn answer_settled(&mut self) {
        let (tickets, outcomes) =
            (std::mem::take(&mut self.hand.tickets), std::mem::take(&mut self.hand.outcomes));
        let stats = &self.shared.stats;
        stats::add(&stats.commits, outcomes.commits);
        stats::add(&stats.replayed_batches, usize::from(outcomes.replayed));
        let (mut committed, mut failed, mut refused) = (0, 0, 0);
        let counts = |ticket: &WriteTicket| usize::from(!ticket.request.task.is_flush());
        let mut in_doubt = Vec::new();
        let settled = outcomes.settled.into_iter().chain(std::iter::repeat_with(|| None));
        for (place, (ticket, outcome)) in tickets.into_iter().zip(settled).enumerate() {
            match outcome {
                Some(outcome) => {
                    if let Err(error) = &outcome {
                        self.shared.note_failure(&ticket, error);
                    }
                    *match &outcome {
                        Ok(_) => &mut committed,
                        Err(WriteError::Refused(_)) => &mut refused,
                        Err(_) => &mut failed,
                    } += counts(&ticket);
                    ticket.answer(outcome);
                }
                None if outcomes.in_doubt.contains(&place) => in_doubt.push(ticket),
                None => self.hand.tickets.push(ticket),
            }
        }
        stats::add(&stats.writes_committed, committed);
        stats::add(&stats.writes_failed, failed);
        stats::add(&stats.writes_refused_for_log, refused);
        self.shared.put_in_doubt(in_doubt);
    }

    /// After a failure: answers what is final and gives the rest back. A write that was alone in the hand of every
    /// writer that panicked is the reason they did, and is not tried again.
    fn clear_hand(&mut self, panicked: bool) {
        self.shared.stats.in_hand.store(0, Relaxed);
        let committed = self.hand.outcomes.settled.iter().flatten().flatten();
        if let Some(newest) = committed.map(|committed| committed.commit).max() {
            self.tell_commit(newest);
        }
        self.answer_settled();
        let mut tickets = std::mem::take(&mut self.hand.tickets);
        if panicked {
            for ticket in &mut tickets {
                ticket.crashes += 1;
            }
            let alone_is_enough =
                |ticket: &WriteTicket| self.policy.max_writes_after(ticket.crashes - 1) == 1;
            if let [ticket] = tickets.as_slice()
                && alone_is_enough(ticket)
                && ticket.crashes > 1
            {
                let message = "the writer panicked whenever it ran this write; it left nothing behind";
                let error = StatementError::new(StatementErrorKind::Panicked, message);
                stats::add(&self.shared.stats.writes_failed, 1);
                for ticket in tickets.drain(..) {
                    let error = WriteError::from(error.clone());
                    self.shared.note_failure(&ticket, &error);
                    ticket.answer(Err(error));
                }
            }
        }
        tickets.extend(self.hand.lease.take());
        self.give_back(tickets);
        self.shared.answer_all_if_failed();
    }
}

impl Actor for WriterActor {
    type Context = SyncContext<Self>;
}

impl Handler<Collect> for WriterActor {
    type Result = MessageResult<Collect>;

    fn handle(&mut self, collect: Collect, ctx: &mut Self::Context) -> Self::Result {
        let run = catch_unwind(AssertUnwindSafe(|| self.work(collect)));
        let panicked = run.is_err();
        let exit = run.unwrap_or_else(|panic| Exit::Failed(panic_message(panic.as_ref())));
        if !matches!(exit, Exit::Drained) {
            self.clear_hand(panicked);
            // The arbiter builds a fresh actor; it waits for the supervisor's word.
            ctx.stop();
        }
        MessageResult(exit)
    }
}
