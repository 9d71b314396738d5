//! The end: no new requests, what is queued is committed within a limit, the rest is answered, the files are closed.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Database;
use crate::policy::RefusedBecause;
use crate::stats::get;

/// What a shutdown did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShutdownReport {
    /// Writes committed since the shutdown began.
    pub committed: u64,
    /// Writes that failed since the shutdown began, each answered with its error.
    pub failed: u64,
    /// Writes still queued when the time was up, each answered as not executed.
    pub refused: usize,
    /// Whether the files were closed in time.
    pub closed: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl std::fmt::Display for ShutdownReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { committed, failed, refused, closed, seconds } = self;
        let files = if *closed { "files closed" } else { "files not closed in time" };
        write!(
            formatter,
            "{committed} queued writes committed, {failed} failed, {refused} refused; {files}, {seconds:.3} s"
        )
    }
}

/// What has begun is rolled back when the time is up, and that has this long at least.
const ROLLBACK: Duration = Duration::from_secs(1);

impl Database {
    /// Refuses new requests, commits what is queued within `supervisor.shutdown_timeout`, answers the rest as not
    /// executed, and closes the files. May be called more than once; needs a running tokio (or actix) runtime.
    pub async fn shutdown(&self) -> ShutdownReport {
        let begun = Instant::now();
        let shared = &self.inner.shared;
        let stats = &shared.stats;
        let (committed, failed) = (get(&stats.writes_committed), get(&stats.writes_failed));
        shared.close();
        let limit = self.inner.settings.supervisor.shutdown_timeout;
        let mut closed = self.closes_within(limit).await;
        let mut refused = 0;
        if !closed {
            refused = shared.refuse_all(RefusedBecause::ShuttingDown);
            tracing::warn!(refused, "the shutdown's time is up");
            // What has begun is ended too: rolled back, and answered as not executed.
            self.inner.engine.interrupt();
            closed = self.closes_within(limit.max(ROLLBACK)).await;
        }
        ShutdownReport {
            committed: get(&stats.writes_committed) - committed,
            failed: get(&stats.writes_failed) - failed,
            refused,
            closed,
            seconds: begun.elapsed().as_secs_f64(),
        }
    }

    async fn closes_within(&self, limit: Duration) -> bool {
        let closed = actix_rt::time::timeout(limit, self.inner.shared.closed()).await.is_ok();
        if closed {
            // The supervisor has done so, unless its System was stopped.
            self.inner.engine.close();
        }
        closed
    }
}
