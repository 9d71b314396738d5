//! A batch that is still being filled while its first writes run: the engine asks for one write after the other, and what
//! has come in the meantime is taken from the queue. So the callers' way back here costs the writer no time, as long as
//! they are faster than the statements.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::ticket::WriteTicket;
use crate::engine::Batch;
use crate::error::{Refusal, WriteError};
use crate::message::WriteRequest;
use crate::policy::{BatchPolicy, FlushReason, Load, Pending, RefusedBecause, Spin, Traffic, Verdict};
use crate::queue::Queued;
use crate::stats;

pub(super) struct OpenBatch<'a> {
    shared: &'a Shared,
    policy: &'a BatchPolicy,
    traffic: Traffic,
    spin: &'a mut Spin,
    /// What was taken, and is not answered yet.
    pub(super) tickets: &'a mut Vec<WriteTicket>,
    /// Its turn comes when the others are committed.
    lease: &'a mut Option<WriteTicket>,
    pending: Pending,
    /// How many writes there were when it began to wait for company, if it did.
    pub(super) waited_from: Option<usize>,
    /// Why it takes no more, once it does not.
    pub(super) ended: Option<FlushReason>,
}

impl<'a> OpenBatch<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        policy: &'a BatchPolicy,
        traffic: Traffic,
        spin: &'a mut Spin,
        (tickets, lease): (&'a mut Vec<WriteTicket>, &'a mut Option<WriteTicket>),
        since: Instant,
    ) -> Self {
        let pending = Pending { writes: 0, bytes: 0, since, waited: Duration::ZERO, flush_requested: false };
        Self { shared, policy, traffic, spin, tickets, lease, pending, waited_from: None, ended: None }
    }

    /// Takes what the queue has, or waits for it, or ends the batch.
    fn fill(&mut self) {
        let (policy, traffic, pending) = (self.policy, self.traffic, &mut self.pending);
        let (held, now) = (self.tickets.len(), Instant::now());
        let mut counted = held;
        let mut verdict = Verdict::Take;
        self.shared.intake.take_while(self.tickets, |hand, behind| {
            if let Some(last) = hand.get(counted) {
                counted += 1;
                pending.writes += 1;
                pending.bytes += last.size();
                pending.flush_requested |= last.is_urgent();
            }
            verdict = match hand.first() {
                Some(first) if pending.writes >= policy.max_writes_after(first.crashes) => {
                    Verdict::Flush(FlushReason::Writes)
                }
                _ => policy.decide(*pending, behind, traffic, now),
            };
            verdict == Verdict::Take
        });
        if self.tickets.len() > held {
            self.drop_the_late(held, now);
            // It is urgent, so it ends the batch.
            *self.lease = self.tickets.pop_if(|last| last.request.task.as_lease().is_some());
            self.shared.stats.in_hand.store(self.tickets.len() as u64, Relaxed);
        }
        match verdict {
            Verdict::Flush(reason) => self.ended = Some(reason),
            // First what has come is run, and then it is seen who has come meanwhile.
            Verdict::Wait { .. } if self.tickets.len() > held => {}
            Verdict::Wait { until } => self.wait(now, until),
            Verdict::Take => self.ended = Some(FlushReason::Idle),
        }
    }

    fn wait(&mut self, now: Instant, until: Instant) {
        self.waited_from.get_or_insert(self.pending.writes);
        let wanted = self.policy.wanted(self.pending, self.traffic);
        let wanted = Load { items: wanted.writes, bytes: wanted.bytes };
        self.shared.intake.wait_awake(wanted, Some(until), self.spin);
        let waited = now.elapsed();
        self.pending.waited += waited;
        stats::add_time(&self.shared.stats.writer_nanos.waiting, waited);
    }

    /// How long it waited for company.
    pub(super) fn waited(&self) -> Duration {
        self.pending.waited
    }

    /// Not executed: whose caller has left, or whose time is up.
    fn drop_the_late(&mut self, from: usize, now: Instant) {
        let is_late = |ticket: &mut WriteTicket| !ticket.begins(now);
        for ticket in self.tickets.extract_if(from.., is_late) {
            stats::add(&self.shared.stats.writes_abandoned, 1);
            let error = WriteError::from(Refusal::new(RefusedBecause::DeadlinePassed));
            self.shared.note_failure(&ticket, &error);
            ticket.answer(Err(error));
        }
    }
}

impl Batch for OpenBatch<'_> {
    fn write(&mut self, place: usize) -> Option<&WriteRequest> {
        while place >= self.tickets.len() && self.ended.is_none() {
            self.fill();
        }
        self.tickets.get(place).map(|ticket| &ticket.request)
    }

    fn len(&self) -> usize {
        self.tickets.len()
    }
}
