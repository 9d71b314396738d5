//! A query on a reading connection, bounded in time, and the clock that bounds writes too.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rusqlite::Connection;

use super::authorizer::Trusted;
use super::prepare::prepare;
use super::{bind, errors, own};
use crate::engine::{ReadEngine, RowSink, Until};
use crate::error::{ReadError, StatementError, StatementErrorKind as Kind};
use crate::message::{Extent, ReadRequest};

/// How many instructions of SQLite's virtual machine pass between two looks at the clock.
const INSTRUCTIONS: i32 = 1_000;

/// Interrupts a statement when its time is up.
pub(super) struct Deadline {
    epoch: Instant,
    /// In microseconds since `epoch`.
    at: Arc<AtomicU64>,
    /// Becomes true when the caller has left; none for writes, which run to their end.
    left: Arc<Mutex<Option<Arc<AtomicBool>>>>,
}

const NEVER: u64 = u64::MAX;

/// While it lives the deadline holds.
pub(super) struct Limit<'a>(&'a AtomicU64);

impl Deadline {
    /// `interrupted`: set when no statement of a caller may run any more.
    pub(super) fn install(conn: &Connection, interrupted: Arc<AtomicBool>) -> rusqlite::Result<Self> {
        let epoch = Instant::now();
        let at = Arc::new(AtomicU64::new(NEVER));
        let left = Arc::new(Mutex::new(None::<Arc<AtomicBool>>));
        let (watched, caller) = (Arc::clone(&at), Arc::clone(&left));
        let has_left = move || {
            let caller = caller.lock().unwrap_or_else(PoisonError::into_inner);
            caller.as_ref().is_some_and(|left| left.load(Relaxed))
        };
        let is_over = move || {
            let at = watched.load(Relaxed);
            at != NEVER && (interrupted.load(Relaxed) || micros(epoch.elapsed()) >= at || has_left())
        };
        conn.progress_handler(INSTRUCTIONS, Some(is_over))?;
        Ok(Self { epoch, at, left })
    }

    pub(super) fn set(&self, at: Instant) -> Limit<'_> {
        self.at.store(micros(at.saturating_duration_since(self.epoch)), Relaxed);
        Limit(&self.at)
    }
}

impl Deadline {
    fn set_for(&self, until: Until<'_>) -> Limit<'_> {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(until.left));
        self.set(until.deadline)
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        self.0.store(NEVER, Relaxed);
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(NEVER - 1)
}

pub(super) struct SqliteReader {
    conn: Connection,
    deadline: Deadline,
}

impl SqliteReader {
    pub(super) fn new(conn: Connection, interrupted: Arc<AtomicBool>) -> rusqlite::Result<Self> {
        Ok(Self { deadline: Deadline::install(&conn, interrupted)?, conn })
    }
}

impl ReadEngine for SqliteReader {
    fn query(
        &mut self,
        request: &ReadRequest,
        until: Until<'_>,
        sink: &mut dyn RowSink,
    ) -> Result<(), ReadError> {
        fail::fail_point!("query");
        let explain = |error: rusqlite::Error| errors::statement_error(&error);
        let trusted = request.is_own.then(Trusted::begin);
        let mut prepared = match &trusted {
            Some(trusted) => own::prepare_marked(&self.conn, &request.statement.sql, trusted)?,
            None => prepare(&self.conn, &request.statement.sql)?,
        };
        if !prepared.readonly() {
            let message = "the statement writes; send it as an execute";
            return Err(StatementError::new(Kind::NotReadOnly, message).into());
        }
        bind::bind(&mut prepared, &request.statement.params)?;
        let _limit = self.deadline.set_for(until);
        // Known for certain only after the first step: if the schema has changed, SQLite prepares again in it.
        let mut columns: Option<Vec<String>> = None;
        let mut found = prepared.raw_query();
        while let Some(row) = found.next().map_err(explain)? {
            let columns = columns.get_or_insert_with(|| {
                let names = bind::column_names(row.as_ref());
                sink.columns(names.clone());
                names
            });
            sink.make_room(bind::row_size(row, columns.len(), sink.room())?)?;
            sink.row(bind::row_values(row, columns)?)?;
            if request.extent == Extent::First {
                break;
            }
        }
        drop(found);
        if columns.is_none() {
            sink.columns(bind::column_names(&prepared));
        }
        Ok(())
    }
}
