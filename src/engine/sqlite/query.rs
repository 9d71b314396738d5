//! A query on a reading connection, bounded in time, and the clock that bounds writes too.
//!
//! A query holds on to the file as it was when it began, and with that to the write-ahead log from there on. So there is
//! a second bound, an age, past which a query is ended if the log is as long as it may be and writes are refused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::authorizer::Trusted;
use super::columns::KnownColumns;
use super::own::own;
use super::prepare::prepare;
use super::{bind, errors, own, rowid};
use crate::engine::{ReadEngine, RowSink, Until};
use crate::error::{ReadError, StatementError, StatementErrorKind as Kind};
use crate::message::{Description, Extent, ReadRequest};
use crate::stats::{self, Stats};

/// How many instructions of SQLite's virtual machine pass between two looks at the clock.
const INSTRUCTIONS: i32 = 1_000;

/// Interrupts a statement when its time is up.
pub(super) struct Deadline {
    epoch: Instant,
    /// In microseconds since `epoch`.
    at: Arc<AtomicU64>,
    /// Becomes true when the caller has left; none for writes, which run to their end.
    left: Arc<Mutex<Option<Arc<AtomicBool>>>>,
    /// None for writes, which keep nobody out.
    age: Option<Arc<AgeLimit>>,
}

/// Ends the old query of a reader while the log is full.
pub(super) struct AgeLimit {
    log_full: Arc<AtomicBool>,
    max_age: Duration,
    /// When the query is old, in microseconds since the epoch of its deadline.
    at: AtomicU64,
    /// Whether it was ended for that.
    ended: AtomicBool,
}

impl AgeLimit {
    /// `log_full`: set while the log is as long as it may be, and cannot be made shorter.
    pub(super) fn new(log_full: Arc<AtomicBool>, max_age: Duration) -> Self {
        Self { log_full, max_age, at: AtomicU64::new(NEVER), ended: AtomicBool::new(false) }
    }

    fn begin(&self, now: Duration) {
        self.at.store(micros(now + self.max_age), Relaxed);
    }

    fn is_over(&self, now: impl FnOnce() -> Duration) -> bool {
        let over = self.log_full.load(Relaxed) && micros(now()) >= self.at.load(Relaxed);
        if over {
            self.ended.store(true, Relaxed);
        }
        over
    }

    fn error(&self) -> StatementError {
        let age = humantime_serde::re::humantime::format_duration(self.max_age);
        let message = format!(
            "it was ended because it was older than {age} (readers.max_age) while the write-ahead log was as long as \
             it may be (database.wal_max_size): it kept the log from being checkpointed, and all writes out"
        );
        StatementError::new(Kind::StatementTimeout, message)
    }
}

const NEVER: u64 = u64::MAX;

/// While it lives the deadline holds.
pub(super) struct Limit<'a>(&'a AtomicU64);

impl Deadline {
    /// `interrupted`: set when no statement of a caller may run any more.
    pub(super) fn install(conn: &Connection, interrupted: Arc<AtomicBool>) -> rusqlite::Result<Self> {
        Self::with_age(conn, interrupted, None)
    }

    fn with_age(
        conn: &Connection,
        interrupted: Arc<AtomicBool>,
        age: Option<Arc<AgeLimit>>,
    ) -> rusqlite::Result<Self> {
        let epoch = Instant::now();
        let at = Arc::new(AtomicU64::new(NEVER));
        let left = Arc::new(Mutex::new(None::<Arc<AtomicBool>>));
        let (watched, caller) = (Arc::clone(&at), Arc::clone(&left));
        let has_left = move || {
            let caller = caller.lock().unwrap_or_else(PoisonError::into_inner);
            caller.as_ref().is_some_and(|left| left.load(Relaxed))
        };
        let aging = age.clone();
        let is_old = move || aging.as_ref().is_some_and(|age| age.is_over(|| epoch.elapsed()));
        let is_over = move || {
            let at = watched.load(Relaxed);
            at != NEVER
                && (interrupted.load(Relaxed) || micros(epoch.elapsed()) >= at || has_left() || is_old())
        };
        conn.progress_handler(INSTRUCTIONS, Some(is_over))?;
        Ok(Self { epoch, at, left, age })
    }

    pub(super) fn set(&self, at: Instant) -> Limit<'_> {
        self.at.store(micros(at.saturating_duration_since(self.epoch)), Relaxed);
        Limit(&self.at)
    }
}

impl Deadline {
    fn set_for(&self, until: Until<'_>) -> Limit<'_> {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(until.left));
        if let Some(age) = &self.age {
            age.begin(self.epoch.elapsed());
        }
        self.set(until.deadline)
    }

    /// For who does something else than to run the virtual machine between two looks at the clock.
    fn check_age(&self) -> Result<(), StatementError> {
        match &self.age {
            Some(age) if age.is_over(|| self.epoch.elapsed()) => Err(age.error()),
            _ => Ok(()),
        }
    }

    /// Why the last query was ended, if it was for its age; told once.
    fn ended_for_age(&self) -> Option<StatementError> {
        self.age.as_ref().filter(|age| age.ended.swap(false, Relaxed)).map(|age| age.error())
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
    known: KnownColumns,
    stats: Arc<Stats>,
}

impl SqliteReader {
    pub(super) fn new(
        conn: Connection,
        interrupted: Arc<AtomicBool>,
        age: AgeLimit,
        stats: Arc<Stats>,
    ) -> rusqlite::Result<Self> {
        let deadline = Deadline::with_age(&conn, interrupted, Some(Arc::new(age)))?;
        Ok(Self { conn, deadline, known: KnownColumns::default(), stats })
    }

    /// Reads something.
    fn look(&self) -> rusqlite::Result<()> {
        let trusted = Trusted::begin();
        let something = own!("SELECT 1 FROM _actix_sqlite_commit");
        own::prepare(&self.conn, something, &trusted)?.query_row([], |_| Ok(()))
    }

    fn rows(&self, request: &ReadRequest, until: Until<'_>, sink: &mut dyn RowSink) -> Result<(), ReadError> {
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
        // What one session inserted is no business of another's, nor of those who have none.
        rowid::set(&self.conn, request.session.unwrap_or(0));
        let _limit = self.deadline.set_for(until);
        // Known for certain only after the first step: if the schema has changed, SQLite prepares again in it.
        let mut columns: Option<usize> = None;
        let mut found = prepared.raw_query();
        while let Some(row) = found.next().map_err(explain)? {
            let columns = *columns.get_or_insert_with(|| {
                let names = self.known.of(row.as_ref());
                if request.session.is_some() {
                    sink.typed_columns(bind::columns(row.as_ref()));
                }
                let count = names.len();
                sink.columns(names);
                count
            });
            let bind::SizedRow { size, values } = bind::row_within(row, columns, sink.room())?;
            sink.make_room(size)?;
            if let Some(values) = values {
                sink.row(values)?;
            }
            self.deadline.check_age()?;
            if request.extent == Extent::First {
                break;
            }
        }
        drop(found);
        if columns.is_none() {
            if request.session.is_some() {
                sink.typed_columns(bind::columns(&prepared));
            }
            sink.columns(self.known.of(&prepared));
        }
        Ok(())
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
        let result = self.rows(request, until, sink);
        match self.deadline.ended_for_age() {
            Some(error) if result.is_err() => {
                stats::add(&self.stats.queries_ended_for_log, 1);
                Err(error.into())
            }
            _ => result,
        }
    }

    fn describe(&mut self, sql: &str) -> Result<Description, ReadError> {
        // What is prepared is prepared against the schema as this connection knows it; whoever reads the file sees
        // whether that is still so.
        self.look().map_err(|error| errors::statement_error(&error))?;
        Ok(bind::describe(&*prepare(&self.conn, sql)?))
    }

    fn hold(&mut self) -> Result<(), ReadError> {
        // It is the first read that decides what the transaction sees.
        let held = own::run(&self.conn, own!("BEGIN")).and_then(|()| self.look());
        Ok(held.map_err(|error| errors::statement_error(&error))?)
    }

    fn release(&mut self) -> Result<(), ReadError> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        Ok(own::run(&self.conn, own!("ROLLBACK")).map_err(|error| errors::statement_error(&error))?)
    }
}
