//! Reads that wait until all is committed that was sent before them. The writer says so by answering a flush, and one
//! flush does for all who come before the next write: were each to send its own, reads would fill the queue of the
//! writes whenever the writer takes long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt, Shared};

use super::{Database, in_time};

/// What reads wait for.
#[derive(Default)]
pub(super) struct Settling {
    /// How many writes were put into the queue; counted when they are in it.
    writes: AtomicU64,
    last: Mutex<Option<Flush>>,
}

#[derive(Clone)]
struct Flush {
    /// The writes that were counted before it was sent: it is behind all of them.
    behind: u64,
    done: Shared<BoxFuture<'static, ()>>,
}

impl Settling {
    /// To be called when a write is in the queue.
    pub(super) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Database {
    /// Waits until all writes are committed that were sent before, by whomever; but not for long, and not behind somebody's
    /// lease.
    pub(super) async fn settle(&self) {
        /// Longer than a COMMIT takes on a slow disk.
        const PATIENCE: Duration = Duration::from_millis(250);
        if !self.inner.shared.is_settled() && !self.inner.shared.is_leased() {
            in_time(Instant::now() + PATIENCE, self.flush_shared()).await;
        }
    }

    pub(super) fn flush_shared(&self) -> Shared<BoxFuture<'static, ()>> {
        let settling = &self.inner.settling;
        let mut last = settling.last.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = settling.writes.load(Ordering::SeqCst);
        if let Some(last) = &*last
            && last.behind == behind
        {
            return last.done.clone();
        }
        let flushes = self.push_flush();
        let done = async move {
            for flush in flushes {
                // Refused: then nothing is committed any more.
                let _ = flush.outcome().await;
            }
        };
        let done = done.boxed().shared();
        *last = Some(Flush { behind, done: done.clone() });
        done
    }
}
