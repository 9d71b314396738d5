//! A COMMIT that failed stays out of the file.
//!
//! SQLite rolls such a COMMIT back, and nobody sees it; yet all its pages may be in the log, and who reads the log from its
//! beginning finds it there: a ghost. That is what the first connection to a file does, for the index of the log goes with
//! the last one (<https://sqlite.org/walformat.html#recovery>). So the connection that failed is kept until a COMMIT has
//! taken the ghost's place in the log.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode};

use super::{open, wal};

/// The writing connection. If one of its COMMITs left a ghost, it is not closed when it is dropped.
pub(super) struct WritingConnection {
    /// Until it is dropped.
    conn: Option<Connection>,
    left_ghost: bool,
    kept: Arc<Kept>,
}

impl WritingConnection {
    pub(super) fn new(conn: Connection, kept: Arc<Kept>) -> Self {
        Self { conn: Some(conn), left_ghost: false, kept }
    }

    /// To be told how each COMMIT ended.
    pub(super) fn note(&mut self, committed: &rusqlite::Result<()>) {
        self.left_ghost |= committed.as_ref().is_err_and(may_leave_ghost);
    }
}

impl Deref for WritingConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        #[allow(clippy::expect_used, reason = "it is taken nowhere else")]
        self.conn.as_ref().expect("there is a connection until it is dropped")
    }
}

impl Drop for WritingConnection {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && self.left_ghost
        {
            self.kept.keep(conn);
        }
    }
}

/// The connection that failed last, if there may be a ghost.
#[derive(Default)]
pub(super) struct Kept(Mutex<Option<Connection>>);

impl Kept {
    fn keep(&self, conn: Connection) {
        // Should it be the last one in the end, it leaves the log as it is.
        let _ = open::checkpoint_on_close(&conn, false);
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(conn);
        drop(before);
    }

    /// To be called with each new writing connection, before anything else is committed. A COMMIT of nothing takes the
    /// ghost's place, should there be one: then there is none any more, not even after a crash.
    pub(super) fn erase_ghost(&self, conn: &Connection) -> rusqlite::Result<()> {
        let is_kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_kept {
            wal::commit_nothing(conn)?;
            self.let_go();
            tracing::info!("a commit that failed cannot come back any more");
        }
        Ok(())
    }

    /// The file is let go of as it is, or there is no ghost.
    pub(super) fn let_go(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// After these the log may hold a COMMIT that this process was told had failed. A full disk is not among them: the
/// frame that commits was not written.
pub(super) fn may_leave_ghost(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory))
}
