//! What the engine counts of itself, and the picture of it that `status` shows.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::policy::FlushReason;

/// Counts and levels, kept by the actors and read by `status`.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) started: Instant,
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) writes_committed: AtomicU64,
    pub(crate) writes_failed: AtomicU64,
    pub(crate) writes_refused: AtomicU64,
    pub(crate) writes_abandoned: AtomicU64,
    pub(crate) writes_refused_for_log: AtomicU64,
    pub(crate) writes_given_back: AtomicU64,
    pub(crate) replayed_batches: AtomicU64,
    pub(crate) leases: AtomicU64,
    pub(crate) writes_buried: AtomicU64,
    pub(crate) writes_lost: AtomicU64,
    pub(crate) in_hand: AtomicU64,
    pub(crate) largest_batch: AtomicU64,
    pub(crate) flushes: [AtomicU64; FlushReason::ALL.len()],
    pub(crate) writer_nanos: WriterNanos,
    pub(crate) writer_restarts: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoints_ahead: AtomicU64,
    pub(crate) checkpoints_busy: AtomicU64,
    pub(crate) checkpoints_failed: AtomicU64,
    pub(crate) queries: AtomicU64,
    pub(crate) queries_failed: AtomicU64,
    pub(crate) queries_refused: AtomicU64,
    pub(crate) queries_ended_for_log: AtomicU64,
    pub(crate) reader_restarts: AtomicU64,
    pub(crate) last_error: Mutex<Option<String>>,
    /// Versions found in the file when it was opened last.
    pub(crate) format: AtomicU64,
    pub(crate) relay_schema: AtomicU64,
}

/// What the writer's time went into, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct WriterNanos {
    pub(crate) statements: AtomicU64,
    pub(crate) commit: AtomicU64,
    pub(crate) maintenance: AtomicU64,
    pub(crate) waiting: AtomicU64,
}

impl WriterNanos {
    pub(crate) fn status(&self) -> WriterTime {
        let micros = |nanos: &AtomicU64| get(nanos) / 1_000;
        WriterTime {
            statements_us: micros(&self.statements),
            commit_us: micros(&self.commit),
            maintenance_us: micros(&self.maintenance),
            waiting_us: micros(&self.waiting),
        }
    }
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            commits: AtomicU64::default(),
            batches: AtomicU64::default(),
            writes_committed: AtomicU64::default(),
            writes_failed: AtomicU64::default(),
            writes_refused: AtomicU64::default(),
            writes_abandoned: AtomicU64::default(),
            writes_refused_for_log: AtomicU64::default(),
            writes_given_back: AtomicU64::default(),
            replayed_batches: AtomicU64::default(),
            leases: AtomicU64::default(),
            writes_buried: AtomicU64::default(),
            writes_lost: AtomicU64::default(),
            in_hand: AtomicU64::default(),
            largest_batch: AtomicU64::default(),
            flushes: Default::default(),
            writer_nanos: WriterNanos::default(),
            writer_restarts: AtomicU64::default(),
            checkpoints: AtomicU64::default(),
            checkpoints_ahead: AtomicU64::default(),
            checkpoints_busy: AtomicU64::default(),
            checkpoints_failed: AtomicU64::default(),
            queries: AtomicU64::default(),
            queries_failed: AtomicU64::default(),
            queries_refused: AtomicU64::default(),
            queries_ended_for_log: AtomicU64::default(),
            reader_restarts: AtomicU64::default(),
            last_error: Mutex::default(),
            format: AtomicU64::default(),
            relay_schema: AtomicU64::default(),
        }
    }

    pub(crate) fn batch(&self, writes: usize, reason: FlushReason) {
        add(&self.batches, 1);
        add(&self.flushes[reason.index()], 1);
        self.largest_batch.fetch_max(writes as u64, Relaxed);
    }

    pub(crate) fn error(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn flushes(&self) -> BTreeMap<String, u64> {
        FlushReason::ALL
            .iter()
            .map(|reason| (reason.name().to_owned(), get(&self.flushes[reason.index()])))
            .collect()
    }
}

/// Counts are statistics: they order nothing, so relaxed is enough.
pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Relaxed);
}

/// Counts a time in nanoseconds.
pub(crate) fn add_time(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
}

/// Does this, and counts the time it takes.
pub(crate) fn timed<T>(counter: &AtomicU64, deed: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = deed();
    add_time(counter, begun.elapsed());
    done
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// Whether the database serves, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The file is being opened.
    Starting,
    /// Reads and writes are served.
    Running,
    /// The writer failed and is being started again; writes wait.
    Recovering,
    /// Over the restart budget, for good; everything is refused.
    Failed,
    /// No new requests; what is queued is being committed.
    ShuttingDown,
    /// The files are closed.
    Stopped,
}

impl State {
    /// Whether its end has begun.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Stopped | Self::Failed)
    }
}

/// The database at a glance. Counts are since it was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Status {
    /// Whether it serves.
    pub state: State,
    /// Why it is not running, or what failed last.
    pub reason: Option<String>,
    /// Seconds since it was opened.
    pub uptime_seconds: f64,
    /// The version of this library.
    pub version: String,
    /// The file.
    pub database: DatabaseStatus,
    /// The queue of writes.
    pub queue: QueueStatus,
    /// The writer.
    pub writer: WriterStatus,
    /// The readers.
    pub readers: ReadersStatus,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DatabaseStatus {
    /// Where it is.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of the write-ahead log in bytes.
    pub wal_bytes: u64,
    /// The size from which writes are refused while the log cannot be made shorter.
    pub wal_max_bytes: u64,
    /// The version of SQLite.
    pub sqlite_version: String,
    /// What `synchronous` is set to.
    pub synchronous: String,
    /// The format of the engine's own tables.
    pub format: u64,
    /// The version of the tables of accounts and message logs; 0 if there are none.
    pub relay_schema: u64,
    /// Checkpoints that moved the whole log into the file.
    pub checkpoints: u64,
    /// Checkpoints of a part of the log, beside the writer.
    #[serde(default)]
    pub checkpoints_ahead: u64,
    /// Checkpoints that a reader kept from finishing.
    pub checkpoints_busy: u64,
    /// Checkpoints that failed.
    pub checkpoints_failed: u64,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct QueueStatus {
    /// Requests inside.
    pub length: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Requests that wait to be let in.
    pub waiting: usize,
    /// Of the requests inside, those in the bulk lane; all queries are in the other one.
    pub bulk_length: usize,
    /// Of the requests that wait to be let in, those in the bulk lane.
    pub bulk_waiting: usize,
    /// How many requests fit.
    pub max_length: usize,
    /// How many bytes fit.
    pub max_bytes: usize,
    /// Requests refused.
    pub refused: u64,
}

/// The writer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WriterStatus {
    /// The number of the last COMMIT. Before the first one of this process: one that none in the file is above.
    pub last_commit: u64,
    /// COMMITs.
    pub commits: u64,
    /// Batches; one COMMIT each unless a write had to be isolated.
    pub batches: u64,
    /// Writes in the batch that is being committed.
    pub in_hand: u64,
    /// Writes in the largest batch.
    pub largest_batch: u64,
    /// Writes committed.
    pub committed: u64,
    /// Writes that failed, each alone.
    pub failed: u64,
    /// Writes whose caller had left, or whose time was up, before their turn.
    pub abandoned: u64,
    /// Writes refused because the write-ahead log was as long as it may be.
    pub refused_for_log: u64,
    /// Writes handed back to the queue by a writer that failed.
    pub given_back: u64,
    /// Batches split because one of their writes ended or soiled the transaction.
    pub replayed_batches: u64,
    /// Leases that came to an end, committed or not.
    pub leases: u64,
    /// Writes that failed with nobody waiting for them, and became dead letters, or failed again as such.
    pub buried: u64,
    /// Writes that nobody waited for and that were not executed, with no place to keep them: refused at the door, or
    /// still queued when the database was shut down or failed.
    pub lost: u64,
    /// How often batches were committed for which reason.
    pub flushes: BTreeMap<String, u64>,
    /// What its time went into.
    #[serde(default)]
    pub time: WriterTime,
    /// Restarts.
    pub restarts: u64,
}

/// What the writer's time went into since the database was opened, in microseconds. What is missing went into taking
/// writes from the queue and answering them, into leases and into dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct WriterTime {
    /// Statements, from BEGIN on.
    pub statements_us: u64,
    /// COMMITs: writing the log and, with `synchronous=FULL`, waiting for the disk.
    pub commit_us: u64,
    /// Checkpoints, and forgetting old idempotency keys.
    pub maintenance_us: u64,
    /// Waiting for callers: for a first write, or lingering for more.
    pub waiting_us: u64,
}

/// The readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ReadersStatus {
    /// Threads.
    pub threads: usize,
    /// Their queue.
    pub queue: QueueStatus,
    /// Queries answered with rows.
    pub queries: u64,
    /// Queries that failed.
    pub failed: u64,
    /// Of these, queries ended because the write-ahead log was as long as it may be, and they kept it so.
    pub ended_for_log: u64,
    /// Restarts.
    pub restarts: u64,
}
