//! When a batch is committed: bounded by writes, bytes and time, whichever comes first.
//!
//! A batch runs while it is filled, so a write that comes while another one runs costs nothing to wait for. The question is
//! only what to do when all have run and nothing more is here.
//!
//! `Linger::Auto` follows what RabbitMQ's `gen_batch_server` found (a batch is what waits when the last one is done)
//! and adds one thing: callers who were answered together tend to come back together, so while fewer are here than
//! last time it waits for them, and then one COMMIT does for all. Without the wait they fall into two groups that take
//! turns, with a COMMIT for each. While it waits the writer is idle, so a wait pays only if it costs less than the COMMIT it
//! saves: it ends after half of that, and a few in a row that ended in vain are followed by a pause of many batches, in
//! which none waits.

use std::time::{Duration, Instant};

/// How long a part-filled batch waits for company.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linger {
    /// Only while recent traffic says that company will come.
    Auto,
    /// This long after the batch's first write, always. Zero: commit as soon as the queue runs empty.
    Fixed(Duration),
}

/// Why a batch was committed when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushReason {
    /// It has as many writes as it may.
    Writes,
    /// It has as many bytes as it may.
    Bytes,
    /// Its time was up.
    Linger,
    /// Nothing more waits, and nothing more is expected.
    Idle,
    /// A caller asked for a flush.
    Requested,
    /// No more writes will come.
    Shutdown,
}

impl FlushReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Writes, Self::Bytes, Self::Linger, Self::Idle, Self::Requested, Self::Shutdown];

    /// The name in status, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Bytes => "bytes",
            Self::Linger => "linger",
            Self::Idle => "idle",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// What is in the writer's hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) writes: usize,
    pub(crate) bytes: usize,
    /// When the first write was taken.
    pub(crate) since: Instant,
    /// How long the writer had nothing to do since then.
    pub(crate) waited: Duration,
    pub(crate) flush_requested: bool,
}

/// What is still in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The next write is of this many bytes.
    Next(usize),
    Nothing,
    /// Nothing, and nothing will come.
    Closed,
}

/// The recent past, for `Linger::Auto`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// Writes of the last batch.
    pub(crate) last_batch: usize,
    /// What the last COMMIT took by itself, without the statements before it.
    pub(crate) commit_cost: Duration,
    /// Waits that ended without the company, one after the other.
    in_vain: u32,
    /// So many batches will not wait.
    pause: u32,
}

impl Traffic {
    /// One wait in vain may be the scheduler's fault; so many are not.
    const MOST_IN_VAIN: u32 = 3;
    /// How many batches pass before it is tried again.
    const PAUSE: u32 = 1_024;

    /// What is known after one more batch, whose wait, if it waited, began with so many writes in hand.
    pub(crate) fn after(
        self,
        batch: usize,
        commit_cost: Duration,
        reason: FlushReason,
        waited_from: Option<usize>,
    ) -> Self {
        let pause = self.pause.saturating_sub(1);
        let mut after = Self { last_batch: batch, commit_cost, pause, ..self };
        match waited_from {
            Some(_) if reason == FlushReason::Linger => {
                after.in_vain += 1;
                if after.in_vain >= Self::MOST_IN_VAIN {
                    (after.in_vain, after.pause) = (Self::MOST_IN_VAIN - 1, Self::PAUSE);
                }
            }
            // A wait for a few stragglers proves nothing, one for most of the batch does.
            Some(writes) if writes <= batch / 2 => after.in_vain = 0,
            _ => {}
        }
        after
    }

    /// Whether company is expected that is worth a wait.
    fn is_company_missing(self, pending: Pending) -> bool {
        self.pause == 0 && pending.writes < self.last_batch
    }
}

/// What to do with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take the next write from the queue.
    Take,
    /// Wait for another write, but not past this instant.
    Wait { until: Instant },
    /// Commit.
    Flush(FlushReason),
}

/// So much in the queue that a batch is worth looking at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) writes: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchPolicy {
    pub(crate) max_writes: usize,
    pub(crate) max_bytes: usize,
    pub(crate) linger: Linger,
    pub(crate) max_linger: Duration,
}

impl BatchPolicy {
    /// The first write always fits, so no write can be stuck for its size.
    pub(crate) fn decide(&self, pending: Pending, behind: Behind, traffic: Traffic, now: Instant) -> Verdict {
        if pending.writes >= self.max_writes {
            return Verdict::Flush(FlushReason::Writes);
        }
        if pending.bytes >= self.max_bytes {
            return Verdict::Flush(FlushReason::Bytes);
        }
        if pending.flush_requested {
            return Verdict::Flush(FlushReason::Requested);
        }
        match behind {
            Behind::Next(bytes) if pending.writes == 0 || pending.bytes + bytes <= self.max_bytes => {
                Verdict::Take
            }
            Behind::Next(_) => Verdict::Flush(FlushReason::Bytes),
            Behind::Closed => Verdict::Flush(FlushReason::Shutdown),
            Behind::Nothing => match self.linger {
                Linger::Fixed(Duration::ZERO) => Verdict::Flush(FlushReason::Idle),
                Linger::Fixed(linger) => Self::wait_or_flush(pending.since + linger, now),
                Linger::Auto if traffic.is_company_missing(pending) => {
                    let longest = (traffic.commit_cost / 2).min(self.max_linger);
                    Self::wait_or_flush(now + longest.saturating_sub(pending.waited), now)
                }
                Linger::Auto => Verdict::Flush(FlushReason::Idle),
            },
        }
    }

    fn wait_or_flush(until: Instant, now: Instant) -> Verdict {
        if now < until { Verdict::Wait { until } } else { Verdict::Flush(FlushReason::Linger) }
    }

    /// How many writes a batch may have whose first write was in the hand of so many writers that panicked. The group in
    /// which the cause is looked for shrinks quickly, so that it is found within the restart budget.
    pub(crate) fn max_writes_after(&self, crashes: u32) -> usize {
        self.max_writes.checked_shr(crashes.saturating_mul(4)).unwrap_or(0).max(1)
    }

    /// What is worth waking up for before the wait is over: half of what is missing, so that its statements run while the
    /// other half is on its way.
    pub(crate) fn wanted(&self, pending: Pending, traffic: Traffic) -> Wanted {
        let company = match self.linger {
            Linger::Fixed(_) => self.max_writes,
            Linger::Auto => traffic.last_batch.min(self.max_writes),
        };
        Wanted {
            writes: company.saturating_sub(pending.writes).div_ceil(2).max(1),
            bytes: self.max_bytes.saturating_sub(pending.bytes).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn decide(
        linger: Linger,
        pending: (usize, usize, u32),
        behind: Behind,
        traffic: (usize, u32),
    ) -> Verdict {
        let policy = BatchPolicy { max_writes: 10, max_bytes: 1000, linger, max_linger: 5 * MS };
        let start = Instant::now();
        let (writes, bytes, age) = pending;
        let pending = Pending { writes, bytes, since: start, waited: age * MS, flush_requested: false };
        let traffic = Traffic { last_batch: traffic.0, commit_cost: traffic.1 * MS, ..Traffic::default() };
        policy.decide(pending, behind, traffic, start + age * MS)
    }

    fn waits(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Wait { .. })
    }

    #[test]
    fn a_batch_is_bounded_by_writes_bytes_and_time() {
        let fixed = Linger::Fixed(100 * MS);
        let next = Behind::Next(100);
        for (pending, behind, expected) in [
            ((10, 500, 0), next, Verdict::Flush(FlushReason::Writes)),
            ((9, 500, 0), next, Verdict::Take),
            ((9, 901, 0), next, Verdict::Flush(FlushReason::Bytes)),
            ((9, 900, 0), next, Verdict::Take),
            ((1, 5000, 0), next, Verdict::Flush(FlushReason::Bytes)),
            ((0, 0, 0), Behind::Next(5000), Verdict::Take),
            ((3, 300, 100), Behind::Nothing, Verdict::Flush(FlushReason::Linger)),
            ((3, 300, 100), next, Verdict::Take),
            ((3, 300, 0), Behind::Closed, Verdict::Flush(FlushReason::Shutdown)),
        ] {
            assert_eq!(decide(fixed, pending, behind, (0, 0)), expected, "{pending:?} {behind:?}");
        }
        assert!(waits(decide(fixed, (3, 300, 99), Behind::Nothing, (0, 0))));
    }

    #[test]
    fn no_linger_commits_as_soon_as_the_queue_is_empty() {
        let verdict = decide(Linger::Fixed(Duration::ZERO), (1, 1, 0), Behind::Nothing, (9, 9));
        assert_eq!(verdict, Verdict::Flush(FlushReason::Idle));
    }

    #[test]
    fn auto_waits_only_for_company_that_was_here_last_time() {
        let idle = Verdict::Flush(FlushReason::Idle);
        assert_eq!(
            decide(Linger::Auto, (1, 1, 0), Behind::Nothing, (1, 4)),
            idle,
            "a lone caller never waits"
        );
        assert_eq!(decide(Linger::Auto, (8, 8, 0), Behind::Nothing, (8, 4)), idle, "everybody is back");
        assert!(waits(decide(Linger::Auto, (7, 7, 1), Behind::Nothing, (8, 4))), "one is missing");
        let up = Verdict::Flush(FlushReason::Linger);
        assert_eq!(decide(Linger::Auto, (7, 7, 2), Behind::Nothing, (8, 4)), up, "half a commit is enough");
        assert_eq!(decide(Linger::Auto, (7, 7, 5), Behind::Nothing, (8, 400)), up, "never past max_linger");
    }

    #[test]
    fn waits_in_vain_are_followed_by_a_pause_and_few_after_it_by_another() {
        let (up, idle) = (FlushReason::Linger, FlushReason::Idle);
        let waits = |traffic: Traffic| {
            let policy = BatchPolicy { max_writes: 10, max_bytes: 10, linger: Linger::Auto, max_linger: MS };
            let now = Instant::now();
            let pending =
                Pending { writes: 1, bytes: 1, since: now, waited: Duration::ZERO, flush_requested: false };
            self::waits(policy.decide(pending, Behind::Nothing, traffic, now))
        };
        let after = |traffic: Traffic, reason, waited_from| traffic.after(8, MS, reason, waited_from);
        let begun = after(Traffic::default(), idle, None);
        for (name, batches, expected) in [
            ("nobody waited yet", vec![], true),
            ("twice in vain", vec![(up, Some(1)); 2], true),
            ("three times in vain", vec![(up, Some(1)); 3], false),
            (
                "one of three was worth it",
                vec![(up, Some(1)), (up, Some(1)), (idle, Some(1)), (up, Some(1))],
                true,
            ),
            (
                "one was, for a straggler",
                vec![(up, Some(1)), (up, Some(1)), (idle, Some(7)), (up, Some(1))],
                false,
            ),
            ("the last batch ran out of time without a wait", vec![(up, None); 3], true),
        ] {
            let traffic = batches.iter().fold(begun, |traffic, batch| after(traffic, batch.0, batch.1));
            assert_eq!(waits(traffic), expected, "{name}");
        }
        let paused =
            vec![(up, Some(1)); 3].into_iter().fold(begun, |traffic, batch| after(traffic, batch.0, batch.1));
        let tried_again = (0..Traffic::PAUSE).fold(paused, |traffic, _| {
            assert!(!waits(traffic), "a pause lasts");
            after(traffic, idle, None)
        });
        assert!(waits(tried_again), "and ends");
        assert!(!waits(after(tried_again, up, Some(1))), "in vain again: paused at once");
    }

    #[test]
    fn a_flush_is_not_kept_waiting() {
        let policy = BatchPolicy { max_writes: 10, max_bytes: 10, linger: Linger::Fixed(MS), max_linger: MS };
        let now = Instant::now();
        let pending =
            Pending { writes: 1, bytes: 1, since: now, waited: Duration::ZERO, flush_requested: true };
        let verdict = policy.decide(pending, Behind::Nothing, Traffic::default(), now);
        assert_eq!(verdict, Verdict::Flush(FlushReason::Requested));
    }
}
