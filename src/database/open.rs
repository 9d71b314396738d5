//! From settings to a database at work.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::{Database, Inner};
use crate::actors::shared::Shared;
use crate::actors::supervisor::Supervisor;
use crate::engine::Engine;
use crate::engine::sqlite::{Migration, MigrationError, SqliteEngine};
use crate::error::StartError;
use crate::settings::Settings;
use crate::stats::Stats;

/// Opens a [`Database`] with more than settings.
pub struct DatabaseBuilder {
    settings: Settings,
    migrations: Vec<Migration>,
    vfs: Option<String>,
}

impl DatabaseBuilder {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, migrations: Vec::new(), vfs: None }
    }

    /// Brings the caller's own schema up to date before anything is written: `migrate` gets the writing connection
    /// each time one is opened, and must change nothing if nothing is to be done.
    #[must_use]
    pub fn migration(
        mut self,
        migrate: impl Fn(&mut Connection) -> Result<(), MigrationError> + Send + Sync + 'static,
    ) -> Self {
        self.migrations.push(Box::new(migrate));
        self
    }

    /// Reaches the file through this VFS (<https://sqlite.org/vfs.html>), which must be registered: for encryption,
    /// compression, or tests of failing disks.
    #[must_use]
    pub fn vfs(mut self, name: impl Into<String>) -> Self {
        self.vfs = Some(name.into());
        self
    }

    /// Opens the file; everything is at work when this returns.
    ///
    /// # Errors
    /// [`StartError`] says why it cannot be opened.
    pub async fn open(self) -> Result<Database, StartError> {
        self.settings.validate()?;
        if actix_rt::System::try_current().is_none() {
            return Err(StartError::NoSystem);
        }
        let stats = Arc::new(Stats::new());
        let migrations = built_in(&self.settings).into_iter().chain(self.migrations).collect();
        let engine = SqliteEngine::new(self.settings.clone(), migrations, self.vfs, Arc::clone(&stats))?;
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let shared = Arc::new(Shared::new(&self.settings, stats));
        let (started, outcome) = oneshot::channel();
        Supervisor::launch(Arc::clone(&shared), &engine, &self.settings, started);
        let snapshots = Arc::new(Semaphore::new(self.settings.readers.max_snapshots.get()));
        let inner = Inner {
            shared,
            engine,
            settings: self.settings,
            snapshots,
            lease_turns: Arc::new(Semaphore::new(1)),
            settling: <_>::default(),
        };
        let database = Database { inner: Arc::new(inner) };
        outcome.await.map_err(|_| StartError::Stopped("the supervisor is gone".into()))??;
        Ok(database)
    }
}

/// The migrations of the built-in domain, if it is built in and wanted.
fn built_in(settings: &Settings) -> Option<Migration> {
    #[cfg(feature = "relay")]
    if settings.relay.migrate {
        return Some(Box::new(crate::relay::migrate));
    }
    #[cfg(not(feature = "relay"))]
    let _ = settings;
    None
}
