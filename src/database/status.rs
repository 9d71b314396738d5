//! The database at a glance.

use super::Database;
use crate::engine::sqlite::log_path;
use crate::queue::{Queue, Queued};
use crate::stats::{DatabaseStatus, QueueStatus, ReadersStatus, State, Status, WriterStatus, get};

impl Database {
    /// State, queues and counts. Asks nobody, so it answers whatever the actors are doing.
    pub fn status(&self) -> Status {
        let (shared, settings) = (&self.inner.shared, &self.inner.settings);
        let stats = &shared.stats;
        let health = shared.health.borrow().clone();
        let (queue, readers) = (&settings.queue, &settings.readers);
        Status {
            state: health.state,
            reason: health.reason.or_else(|| stats.last_error()),
            uptime_seconds: stats.started.elapsed().as_secs_f64(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: self.database_status(),
            queue: queue_status(
                &shared.intake,
                (queue.max_writes.get(), queue.max_bytes),
                get(&stats.writes_refused),
            ),
            writer: WriterStatus {
                last_commit: self.last_commit().0,
                commits: get(&stats.commits),
                batches: get(&stats.batches),
                in_hand: get(&stats.in_hand),
                largest_batch: get(&stats.largest_batch),
                committed: get(&stats.writes_committed),
                failed: get(&stats.writes_failed),
                abandoned: get(&stats.writes_abandoned),
                refused_for_log: get(&stats.writes_refused_for_log),
                given_back: get(&stats.writes_given_back),
                replayed_batches: get(&stats.replayed_batches),
                leases: get(&stats.leases),
                buried: get(&stats.writes_buried),
                lost: get(&stats.writes_lost),
                flushes: stats.flushes(),
                time: stats.writer_nanos.status(),
                restarts: get(&stats.writer_restarts),
            },
            readers: ReadersStatus {
                threads: readers.thread_count(),
                queue: queue_status(
                    &shared.reads,
                    (readers.max_queue.get(), readers.max_queue_bytes),
                    get(&stats.queries_refused),
                ),
                queries: get(&stats.queries),
                failed: get(&stats.queries_failed),
                ended_for_log: get(&stats.queries_ended_for_log),
                restarts: get(&stats.reader_restarts),
            },
        }
    }

    /// Whether reads and writes are served right now.
    pub fn is_running(&self) -> bool {
        self.inner.shared.health.borrow().state == State::Running
    }

    /// Returns when the database has failed for good, with the reason, or was shut down.
    pub async fn ended(&self) -> Option<String> {
        let mut news = self.inner.shared.health.subscribe();
        match news.wait_for(|health| matches!(health.state, State::Failed | State::Stopped)).await {
            Ok(health) => health.reason.clone(),
            Err(_) => None,
        }
    }

    fn database_status(&self) -> DatabaseStatus {
        let (stats, settings) = (&self.inner.shared.stats, &self.inner.settings.database);
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len());
        DatabaseStatus {
            path: settings.path.display().to_string(),
            bytes: size(&settings.path),
            wal_bytes: size(&log_path(&settings.path)),
            wal_max_bytes: settings.wal_max_size.as_u64(),
            sqlite_version: rusqlite::version().to_owned(),
            synchronous: settings.synchronous.name().to_owned(),
            format: get(&stats.format),
            relay_schema: get(&stats.relay_schema),
            checkpoints: get(&stats.checkpoints),
            checkpoints_ahead: get(&stats.checkpoints_ahead),
            checkpoints_busy: get(&stats.checkpoints_busy),
            checkpoints_failed: get(&stats.checkpoints_failed),
        }
    }
}

fn queue_status<T: Queued>(
    queue: &Queue<T>,
    (max_length, max_bytes): (usize, bytesize::ByteSize),
    refused: u64,
) -> QueueStatus {
    let (held, waiting) = queue.load();
    let all = held.all();
    QueueStatus {
        length: all.items,
        bytes: all.bytes,
        waiting: waiting.interactive + waiting.bulk,
        bulk_length: held.bulk.items,
        bulk_waiting: waiting.bulk,
        max_length,
        max_bytes: crate::settings::bytes(max_bytes),
        refused,
    }
}
