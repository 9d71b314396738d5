//! Keeps the write-ahead log short: explicit checkpoints whose results are looked at and counted.
//!
//! PASSIVE waits for nobody and is run when the log has passed a size; TRUNCATE is run past a larger one and when the
//! file is closed (<https://sqlite.org/c3ref/wal_checkpoint_v2.html>).

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};

use super::authorizer::Trusted;
use crate::engine::Occasion;
use crate::settings::DatabaseSettings;
use crate::stats::{self, Stats};

thread_local! {
    /// Pages in the log after the last COMMIT on this thread: the hook takes no closure.
    static WAL_PAGES: Cell<u64> = const { Cell::new(0) };
}

pub(super) struct Checkpointer {
    enabled: bool,
    passive_pages: u64,
    truncate_pages: u64,
    /// A reader in the way stays there for a while: not tried again before the log has this many pages.
    next_pages: u64,
    busy_timeout: Duration,
    stats: Arc<Stats>,
}

impl Checkpointer {
    pub(super) fn install(
        conn: &Connection,
        path: &Path,
        settings: &DatabaseSettings,
        stats: Arc<Stats>,
    ) -> rusqlite::Result<Self> {
        let page_size = {
            let _trusted = Trusted::begin();
            conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?
        };
        let page_size = u64::try_from(page_size).unwrap_or(4096).max(512);
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let wal_bytes = std::fs::metadata(wal).map_or(0, |file| file.len());
        WAL_PAGES.set(wal_bytes / page_size);
        conn.wal_hook(Some(count_pages));
        let passive_pages = (settings.wal_checkpoint_size.as_u64() / page_size).max(1);
        Ok(Self {
            enabled: settings.checkpoint,
            passive_pages,
            truncate_pages: (settings.wal_truncate_size.as_u64() / page_size).max(1),
            next_pages: passive_pages,
            busy_timeout: settings.busy_timeout,
            stats,
        })
    }

    pub(super) fn run(&mut self, conn: &Connection, occasion: Occasion) -> rusqlite::Result<()> {
        let pages = WAL_PAGES.get();
        if !self.enabled {
            return Ok(());
        }
        match occasion {
            Occasion::Close => self.checkpoint(conn, "TRUNCATE", pages).map(|_| ()),
            Occasion::Commit if pages < self.passive_pages => {
                self.next_pages = self.passive_pages;
                Ok(())
            }
            Occasion::Commit if pages < self.next_pages => Ok(()),
            Occasion::Commit if pages >= self.truncate_pages => {
                self.checkpoint(conn, "TRUNCATE", pages).map(|_| ())
            }
            Occasion::Commit => self.checkpoint(conn, "PASSIVE", pages).map(|_| ()),
        }
    }

    /// Moves the whole log into the file and syncs it, whatever the settings say about checkpoints.
    ///
    /// After a failed fsync the log's pages may be marked clean and yet not be on the disk, so syncing the log again
    /// proves nothing; copying them proves it.
    pub(super) fn make_durable(&mut self, conn: &Connection) -> rusqlite::Result<bool> {
        self.checkpoint(conn, "TRUNCATE", WAL_PAGES.get())
    }

    /// Whether the whole log was moved.
    fn checkpoint(&mut self, conn: &Connection, mode: &str, pages: u64) -> rusqlite::Result<bool> {
        let _trusted = Trusted::begin();
        // TRUNCATE would wait for readers, and every write with it.
        conn.busy_timeout(Duration::ZERO)?;
        let result = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get::<_, i64>(0)? != 0, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        conn.busy_timeout(self.busy_timeout)?;
        match result {
            Ok((false, in_log, moved)) if in_log == moved => {
                stats::add(&self.stats.checkpoints, 1);
                self.next_pages = self.passive_pages;
                // The next COMMIT starts the log again from its beginning.
                WAL_PAGES.set(0);
                Ok(true)
            }
            Ok(_) => {
                stats::add(&self.stats.checkpoints_busy, 1);
                self.next_pages = pages + self.passive_pages.div_ceil(4);
                Ok(false)
            }
            Err(error) => {
                stats::add(&self.stats.checkpoints_failed, 1);
                tracing::warn!(%error, mode, "checkpoint failed");
                self.next_pages = pages + self.passive_pages.div_ceil(4);
                // With a full disk the log is still good, and commits that fit go on.
                if error.sqlite_error_code() == Some(ErrorCode::DiskFull) { Ok(false) } else { Err(error) }
            }
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the hook's signature is rusqlite's")]
fn count_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    WAL_PAGES.set(u64::try_from(pages).unwrap_or_default());
    Ok(())
}
