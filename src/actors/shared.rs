//! What the door and the actors share: the queues, the counts, and the news of state and commits.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::ticket::{ReadTicket, WriteTicket};
use crate::error::WriteError;
use crate::message::{Burial, CommitSeq};
use crate::policy::{AdmissionPolicy, LanePolicy, Lanes, RefusedBecause};
use crate::queue::Queue;
use crate::settings::{self, Settings};
use crate::stats::{self, State, Stats};

pub(crate) struct Shared {
    pub(crate) intake: Queue<WriteTicket>,
    pub(crate) reads: Queue<ReadTicket>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) last_commit: watch::Sender<CommitSeq>,
    /// What the writer does just now.
    occupation: AtomicU8,
    /// Who may still touch the file.
    users: watch::Sender<Users>,
    /// Writes whose COMMIT failed in the storage, kept while there is no writer: the next one resolves that.
    in_doubt: Mutex<Vec<WriteTicket>>,
    /// What is to be kept of writes that failed, as long as it is not in the file.
    burials: Mutex<Burials>,
    max_burial_bytes: usize,
}

/// What the writer may be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Occupation {
    /// It waits for a write.
    Idle,
    /// It has writes in hand, or is about to.
    Batch,
    /// It obeys the holder of a lease.
    Lease,
}

#[derive(Debug, Default)]
struct Burials {
    all: Vec<Burial>,
    bytes: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Users {
    /// Connections, those that are being opened included.
    connected: usize,
    /// Nobody tells an actor to open one any more.
    unsupervised: bool,
}

/// Somebody's word that there is a connection; gone when the connection is.
pub(crate) struct Connected(Arc<Shared>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.users.send_modify(|users| users.connected -= 1);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
}

impl Shared {
    pub(crate) fn new(settings: &Settings, stats: Arc<Stats>) -> Self {
        let (queue, readers) = (&settings.queue, &settings.readers);
        Self {
            intake: Queue::new(
                AdmissionPolicy {
                    max_items: queue.max_writes.get(),
                    max_bytes: settings::bytes(queue.max_bytes),
                },
                LanePolicy { interactive_weight: queue.interactive_weight },
            ),
            reads: Queue::new(
                AdmissionPolicy {
                    max_items: readers.max_queue.get(),
                    max_bytes: settings::bytes(readers.max_queue_bytes),
                },
                // All queries are in one lane.
                LanePolicy { interactive_weight: NonZeroUsize::MIN },
            ),
            stats,
            health: watch::Sender::new(Health { state: State::Starting, reason: None }),
            last_commit: watch::Sender::new(CommitSeq::default()),
            occupation: AtomicU8::new(Occupation::Idle as u8),
            users: watch::Sender::new(Users::default()),
            in_doubt: Mutex::default(),
            burials: Mutex::default(),
            max_burial_bytes: settings::bytes(queue.max_bytes),
        }
    }

    /// Said by the writer, before it takes anything from the queue.
    pub(crate) fn occupied(&self, occupation: Occupation) {
        self.occupation.store(occupation as u8, Ordering::SeqCst);
    }

    pub(crate) fn is_leased(&self) -> bool {
        self.occupation.load(Ordering::SeqCst) == Occupation::Lease as u8
    }

    /// Whether nothing that entered the queue before is still to be committed.
    pub(crate) fn is_settled(&self) -> bool {
        let (held, waiting) = self.intake.load();
        // In this order: the writer says that it is occupied before it takes what is held.
        held.all().items == 0
            && waiting == Lanes::default()
            && self.occupation.load(Ordering::SeqCst) == Occupation::Idle as u8
    }

    /// To be held from before a connection is opened until after it is closed.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.users.send_modify(|users| users.connected += 1);
        Connected(Arc::clone(self))
    }

    /// Said by the supervisor at its end, whatever ended it.
    pub(crate) fn unsupervised(&self) {
        self.users.send_modify(|users| users.unsupervised = true);
    }

    /// Returns when the file is closed, and nobody will open it again.
    pub(crate) async fn closed(&self) {
        let mut news = self.users.subscribe();
        // It cannot fail: the sender lives as long as `self`.
        let _ = news.wait_for(|users| users.unsupervised && users.connected == 0).await;
    }

    pub(crate) fn put_in_doubt(&self, writes: Vec<WriteTicket>) {
        self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner).extend(writes);
    }

    pub(crate) fn take_in_doubt(&self) -> Vec<WriteTicket> {
        std::mem::take(&mut *self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// To be told of each write that failed, before it is answered.
    pub(crate) fn note_failure(&self, ticket: &WriteTicket, error: &WriteError) {
        match ticket.burial(error) {
            Some(burial) => self.put_burials(vec![burial]),
            None if ticket.is_unattended() => self.note_loss(1, &error.to_string()),
            None => {}
        }
    }

    /// As much as the queue may hold; what is more is lost, and told.
    pub(crate) fn put_burials(&self, burials: Vec<Burial>) {
        let mut held = self.burials.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = 0;
        for burial in burials {
            let bytes = held.bytes + burial.size();
            if bytes > self.max_burial_bytes {
                lost += usize::from(burial.is_new());
            } else {
                held.bytes = bytes;
                held.all.push(burial);
            }
        }
        drop(held);
        self.note_loss(lost, "too many wait to be kept as dead letters");
    }

    /// Whether there is something to be kept that could not be until now.
    pub(crate) fn has_burials(&self) -> bool {
        !self.burials.lock().unwrap_or_else(PoisonError::into_inner).all.is_empty()
    }

    pub(crate) fn take_burials(&self) -> Vec<Burial> {
        std::mem::take(&mut *self.burials.lock().unwrap_or_else(PoisonError::into_inner)).all
    }

    /// Those that wait to be kept never will be.
    pub(crate) fn lose_burials(&self, reason: &str) {
        let lost = self.take_burials().iter().filter(|burial| burial.is_new()).count();
        self.note_loss(lost, reason);
    }

    /// Writes that nobody waited for were not executed, and there is no place for them.
    pub(crate) fn note_loss(&self, writes: usize, reason: &str) {
        if writes > 0 {
            stats::add(&self.stats.writes_lost, writes);
            tracing::error!(writes, reason, "writes that nobody waited for are lost");
        }
    }

    /// Tells of a state, unless the database has reached its end.
    pub(crate) fn tell(&self, state: State, reason: Option<String>) {
        self.health.send_if_modified(|health| {
            let is_final = match health.state {
                State::Stopped | State::Failed => true,
                State::ShuttingDown => !matches!(state, State::Stopped | State::Failed),
                _ => false,
            };
            if !is_final {
                *health = Health { state, reason };
            }
            !is_final
        });
    }

    /// Whether its end has begun.
    pub(crate) fn is_closing(&self) -> bool {
        self.health.borrow().state.is_closing()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.health.borrow().state == State::Failed
    }

    /// For good: everything that waits is answered, and nothing is taken any more.
    pub(crate) fn give_up(&self, reason: String) {
        tracing::error!(%reason, "the database is given up");
        // First, so that an actor which gives something back from now on sees it.
        self.tell(State::Failed, Some(reason));
        self.answer_all_if_failed();
    }

    /// To be called by an actor that gave something back: after the end nobody else would come for it.
    pub(crate) fn answer_all_if_failed(&self) {
        let health = self.health.borrow().clone();
        if health.state != State::Failed {
            return;
        }
        let in_doubt = self.take_in_doubt();
        if !in_doubt.is_empty() {
            tracing::error!(writes = in_doubt.len(), "a commit stays in doubt");
            let reason = health.reason.unwrap_or_default();
            let unattended = in_doubt.iter().filter(|ticket| ticket.is_unattended()).count();
            self.note_loss(unattended, &reason);
            for ticket in in_doubt {
                ticket.in_doubt(&reason);
            }
        }
        self.refuse_all(RefusedBecause::Failed);
        self.lose_burials("the database failed before they were kept as dead letters");
    }

    /// Refuses from now on, and lets the actors finish what is queued.
    pub(crate) fn close(&self) {
        self.tell(State::ShuttingDown, None);
        self.intake.close(RefusedBecause::ShuttingDown);
        self.reads.close(RefusedBecause::ShuttingDown);
    }

    /// Answers all that is queued with a refusal. How many writes there were.
    pub(crate) fn refuse_all(&self, because: RefusedBecause) -> usize {
        self.intake.close(because);
        self.reads.close(because);
        let writes = self.intake.drain();
        let refused = writes.len();
        let unattended = writes.iter().filter(|ticket| ticket.is_unattended()).count();
        self.note_loss(unattended, &because.to_string());
        for ticket in writes {
            ticket.refuse(because);
        }
        for ticket in self.reads.drain() {
            ticket.refuse(because);
        }
        refused
    }
}
