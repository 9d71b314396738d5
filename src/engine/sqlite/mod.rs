//! The engine on one SQLite file: an own lock on it, one writing connection, any number of reading ones.

mod ahead;
mod at_hand;
mod authorizer;
mod bind;
mod columns;
mod commit;
mod dead_letters;
mod deferred;
mod errors;
mod ghost;
mod idempotency;
mod identity;
mod lease;
mod lock;
mod numbers;
mod open;
mod own;
mod prepare;
mod program;
mod query;
mod rowid;
mod run;
mod wal;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytesize::ByteSize;
use rusqlite::Connection;

use super::{Engine, ReadEngine, WriteEngine};
use crate::error::StartError;
use crate::settings::Settings;
use crate::stats::Stats;
pub(crate) use wal::log_path;

/// Brings the schema of a file up to date; run on the writing connection before any write.
pub(crate) type Migration = Box<dyn Fn(&mut Connection) -> Result<(), MigrationError> + Send + Sync>;

/// Why a schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The file has migrations that this program does not know.
    #[error("{0}")]
    Newer(String),
    /// A migration failed and was rolled back.
    #[error("{0}")]
    Failed(String),
}

/// One SQLite file, locked for this process until it is closed.
pub(crate) struct SqliteEngine {
    path: PathBuf,
    settings: Settings,
    migrations: Vec<Migration>,
    vfs: Option<String>,
    stats: Arc<Stats>,
    interrupted: Arc<AtomicBool>,
    identity: Arc<identity::Identity>,
    last_commit: numbers::Known,
    kept: Arc<ghost::Kept>,
    /// Whether the log is as long as it may be; said by the writer, seen by the readers.
    log_full: Arc<AtomicBool>,
    /// Until the end; actors may live on for a moment after it, and the engine with them.
    lock: Mutex<Option<lock::FileLock>>,
}

impl SqliteEngine {
    /// Locks the file; nothing in it is touched yet.
    pub(crate) fn new(
        settings: Settings,
        migrations: Vec<Migration>,
        vfs: Option<String>,
        stats: Arc<Stats>,
    ) -> Result<Self, StartError> {
        open::check_sqlite_version()?;
        let path = open::checked_path(&settings.database.path)?;
        let lock = lock::FileLock::acquire(&path)?;
        Ok(Self {
            path,
            settings,
            migrations,
            vfs,
            stats,
            interrupted: Arc::default(),
            identity: Arc::default(),
            last_commit: Arc::default(),
            kept: Arc::default(),
            log_full: Arc::default(),
            lock: Mutex::new(Some(lock)),
        })
    }
}

impl SqliteEngine {
    fn check_identity(&self) -> Result<(), StartError> {
        self.identity
            .check(&self.path)
            .map_err(|reason| StartError::Open { path: self.path.display().to_string(), reason })
    }

    /// Who checkpoints beside the writer, if that is worth a thread. Not on somebody's own file system: what that does is
    /// to depend on the writer alone.
    fn ahead(&self) -> Option<ahead::Ahead> {
        /// A shorter log is moved before a thread is awake.
        const WORTH_A_THREAD: ByteSize = ByteSize::mib(1);
        let settings = &self.settings.database;
        let is_worth_it = settings.checkpoint && settings.wal_checkpoint_size >= WORTH_A_THREAD;
        if !is_worth_it || self.vfs.is_some() {
            return None;
        }
        let (path, settings, identity) =
            (self.path.clone(), self.settings.clone(), Arc::clone(&self.identity));
        let open = move || {
            identity.check(&path)?;
            open::checkpointer(&path, &settings).map_err(|error| errors::message(&error))
        };
        Some(ahead::Ahead::new(open, Arc::clone(&self.stats)))
    }
}

impl Engine for SqliteEngine {
    fn open_writer(&self) -> Result<Box<dyn WriteEngine>, StartError> {
        fail::fail_point!("open_writer");
        self.check_identity()?;
        if self.last_commit.get().is_none() {
            open::sync_log(&self.path)?;
        }
        let explain = |error: rusqlite::Error| open::start_error(&self.path, &error);
        let writer = open::writer(&self.path, self.vfs.as_deref(), &self.settings, &self.migrations)?;
        open::note_versions(&writer, &self.stats).map_err(explain)?;
        // A new file is known from now on.
        self.check_identity()?;
        open::checkpoint_on_close(&writer, self.settings.database.checkpoint).map_err(explain)?;
        self.kept.erase_ghost(&writer).map_err(explain)?;
        let numbers = numbers::Numbers::read(&writer, Arc::clone(&self.last_commit)).map_err(explain)?;
        let writer = ghost::WritingConnection::new(writer, Arc::clone(&self.kept));
        let (path, settings) = (&self.path, &self.settings);
        let (stats, log_full) = (Arc::clone(&self.stats), Arc::clone(&self.log_full));
        let checkpointer =
            wal::Checkpointer::install(&writer, path, &settings.database, stats, log_full, self.ahead())
                .map_err(explain)?;
        let interrupted = Arc::clone(&self.interrupted);
        let writer = commit::SqliteWriter::new(writer, numbers, checkpointer, path, settings, interrupted);
        Ok(Box::new(writer.map_err(explain)?))
    }

    fn open_reader(&self) -> Result<Box<dyn ReadEngine + Send>, StartError> {
        fail::fail_point!("open_reader");
        self.check_identity()?;
        let reader = open::reader(&self.path, self.vfs.as_deref(), &self.settings)?;
        let age = query::AgeLimit::new(Arc::clone(&self.log_full), self.settings.readers.max_age);
        let (stats, interrupted) = (Arc::clone(&self.stats), Arc::clone(&self.interrupted));
        let reader = query::SqliteReader::new(reader, interrupted, age, stats)
            .map_err(|error| open::start_error(&self.path, &error))?;
        Ok(Box::new(reader))
    }

    fn interrupt(&self) {
        self.interrupted.store(true, Relaxed);
    }

    fn close(&self) {
        self.kept.let_go();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
