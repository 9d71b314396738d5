//! The loads that are measured, one part of a round each: synchronous writes to a file, plain loops over SQLite, and callers
//! of a `Database` that each wait for their answer.
//!
//! Loops that block run on threads of their own, so that the event loop stays free to hear of a signal.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rusqlite::{Connection, OpenFlags};

use super::super::failure::Failure;
use crate::server::{Signal, Signals};
use crate::settings::{Settings, Synchronous};
use crate::{Database, params, relay};

const INSERT: &str = "INSERT INTO message_logs (kook_message_id, kook_channel_id, content, message_type, sender_name, \
                      target_platform, target_channel, status, error_message, latency_ms) \
                      VALUES (?1, ?2, ?3, 'text', ?4, ?5, 'target', 'success', NULL, ?6)";
const SELECT: &str = "SELECT kook_message_id, kook_channel_id, content, sender_name, latency_ms FROM message_logs \
                      WHERE id = ?1";
const PAGE: usize = 4096;

/// A signal that came, if one did: everything ends then.
#[derive(Clone, Default)]
pub(super) struct Stop(Arc<OnceLock<Signal>>);

impl Stop {
    /// Set by the first signal that comes from now on.
    pub(super) fn listen() -> Result<Self, Failure> {
        let mut signals = Signals::listen().map_err(|error| Failure::Io { what: "signals".into(), error })?;
        let stop = Self::default();
        let set = stop.clone();
        actix_rt::spawn(async move { set.0.set(signals.next().await) });
        Ok(stop)
    }

    fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// To be asked after each part: what was measured when it was cut short is worth nothing.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.0.get().map_or(Ok(()), |signal| Err(Failure::Interrupted(*signal)))
    }
}

/// How long a part goes on.
#[derive(Clone)]
pub(super) struct Span {
    until: Instant,
    stop: Stop,
}

impl Span {
    pub(super) fn new(time: Duration, stop: &Stop) -> Self {
        Self { until: Instant::now() + time, stop: stop.clone() }
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.until && !self.stop.is_set()
    }
}

/// Microseconds, up to a minute.
pub(super) fn histogram() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(failed)
}

/// Of all callers on this thread.
pub(super) type Latencies = Rc<RefCell<Histogram<u64>>>;

pub(super) fn latencies() -> Result<Latencies, Failure> {
    Ok(Rc::new(RefCell::new(histogram()?)))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[allow(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^52")]
pub(super) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = actix_rt::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(failed(std::io::Error::other(error))))
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::Io { what: "the plain loop".into(), error: std::io::Error::other(error) }
}

/// What it takes until a written page is on the disk: written as a write-ahead log is, on and on, and over again from its
/// beginning.
pub(super) async fn fsyncs(directory: &Path, log: u64, span: Span) -> Result<Histogram<u64>, Failure> {
    const LEAST: u64 = 20;
    const ENOUGH: u64 = 2_000;
    let path = directory.join("fsync");
    blocking(move || {
        let mut taken = histogram()?;
        let mut work = || {
            let mut file = File::create(&path)?;
            // The first one would have to make the file's name durable as well.
            file.sync_all()?;
            while taken.is_empty()
                || (taken.len() < LEAST && !span.stop.is_set())
                || (taken.len() < ENOUGH && span.goes_on())
            {
                file.write_all(&[1; PAGE])?;
                let begun = Instant::now();
                file.sync_all()?;
                taken.saturating_record(micros(begun.elapsed()));
                if file.stream_position()? >= log {
                    file.rewind()?;
                }
            }
            std::fs::remove_file(&path)
        };
        work().map_err(|error| Failure::file(&path, error))?;
        Ok(taken)
    })
    .await
}

/// Message logs of a program's making, no two of the same message.
pub(super) struct Lines {
    lines: Vec<Line>,
    next: AtomicUsize,
}

struct Line {
    channel: String,
    sender: String,
    content: String,
    platform: &'static str,
    latency_ms: i64,
}

impl Lines {
    pub(super) fn new() -> Self {
        const WORDS: [&str; 8] = ["the", "server", "is", "back", "again", "since", "this", "morning"];
        let line = |n: usize| Line {
            channel: format!("channel-{}", n % 7),
            sender: format!("sender{}", n % 97),
            content: (0..=n * 7 % 31)
                .map(|word| WORDS[(n + word) % WORDS.len()])
                .collect::<Vec<_>>()
                .join(" "),
            platform: ["discord", "telegram", "feishu"][n % 3],
            latency_ms: i64::try_from(n % 400).unwrap_or_default(),
        };
        Self { lines: (0..1_000).map(line).collect(), next: AtomicUsize::new(0) }
    }

    fn next(&self) -> (String, &Line) {
        let next = self.next.fetch_add(1, Relaxed);
        (format!("made-{next:016x}"), &self.lines[next % self.lines.len()])
    }
}

/// A connection of the kind that a program without this crate has.
#[derive(Clone)]
pub(super) struct Plain {
    conn: Arc<Mutex<Connection>>,
    lines: Arc<Lines>,
}

impl Plain {
    /// With the same tables as ours, the same pragmas, and checkpoints from the same size of the log on.
    pub(super) fn open(path: &Path, settings: &Settings, lines: &Arc<Lines>) -> Result<Self, Failure> {
        let database = &settings.database;
        let open = || -> rusqlite::Result<Connection> {
            let conn = Connection::open(path)?;
            conn.pragma_update(None, "journal_mode", "wal")?;
            let level = if database.synchronous == Synchronous::Full { "full" } else { "normal" };
            conn.pragma_update(None, "synchronous", level)?;
            let cache = i64::try_from(database.cache_size.as_u64() / 1024).unwrap_or(i64::MAX);
            conn.pragma_update(None, "cache_size", -cache)?;
            conn.pragma_update(None, "mmap_size", 0)?;
            conn.pragma_update(None, "foreign_keys", true)?;
            conn.pragma_update(None, "cell_size_check", true)?;
            let pages = database.wal_checkpoint_size.as_u64() / PAGE as u64;
            conn.pragma_update(None, "wal_autocheckpoint", i64::try_from(pages).unwrap_or(i64::MAX))?;
            Ok(conn)
        };
        let mut conn = open().map_err(failed)?;
        relay::migrate(&mut conn).map_err(failed)?;
        Ok(Self { conn: Arc::new(Mutex::new(conn)), lines: Arc::clone(lines) })
    }

    /// Writes a second, in batches of so many; a batch of one has no BEGIN and no COMMIT.
    pub(super) async fn writes(&self, batch: usize, span: Span) -> Result<(f64, Histogram<u64>), Failure> {
        let Self { conn, lines } = self.clone();
        blocking(move || {
            let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut taken = histogram()?;
            let rate = write_batches(&conn, &lines, batch.max(1), &span, &mut taken).map_err(failed)?;
            Ok((rate, taken))
        })
        .await
    }

    /// Puts so many rows in, for those who read.
    pub(super) async fn fill(&self, rows: usize) -> Result<(), Failure> {
        let Self { conn, lines } = self.clone();
        blocking(move || {
            let conn = conn.lock().unwrap_or_else(PoisonError::into_inner);
            let span = Span { until: Instant::now(), stop: Stop::default() };
            write_batches(&conn, &lines, rows, &span, &mut histogram()?).map_err(failed).map(|_| ())
        })
        .await
    }
}

/// At least one batch, and batches as long as it goes on.
fn write_batches(
    conn: &Connection,
    lines: &Lines,
    batch: usize,
    span: &Span,
    taken: &mut Histogram<u64>,
) -> rusqlite::Result<f64> {
    let mut begin = conn.prepare("BEGIN IMMEDIATE")?;
    let mut insert = conn.prepare(INSERT)?;
    let mut commit = conn.prepare("COMMIT")?;
    let (begun, mut writes) = (Instant::now(), 0);
    while writes == 0 || span.goes_on() {
        let sent = Instant::now();
        if batch > 1 {
            begin.execute([])?;
        }
        for _ in 0..batch {
            let (message, line) = lines.next();
            let Line { channel, sender, content, platform, latency_ms } = line;
            insert.execute((message, channel, content, sender, platform, latency_ms))?;
        }
        if batch > 1 {
            commit.execute([])?;
        }
        taken.saturating_record(micros(sent.elapsed()));
        writes += batch;
    }
    Ok(rate(writes, begun.elapsed()))
}

/// Inserts from so many callers. How many there were, and how long it took.
pub(super) async fn writes(
    database: &Database,
    callers: usize,
    lines: &Arc<Lines>,
    taken: &Latencies,
    span: Span,
) -> Result<(usize, Duration), Failure> {
    let (door, lines) = (database.clone(), Arc::clone(lines));
    let write = move || {
        let (message, line) = lines.next();
        let Line { channel, sender, content, platform, latency_ms } = line;
        let values = params![message, &**channel, &**content, &**sender, *platform, *latency_ms];
        let door = door.clone();
        async move { Ok(door.execute((INSERT, values)).await.map(|_| ())?) }
    };
    closed_loop(callers, span, taken, write).await
}

/// Reads by key from so many callers.
pub(super) async fn reads(
    database: &Database,
    callers: usize,
    rows: usize,
    taken: &Latencies,
    span: Span,
) -> Result<(usize, Duration), Failure> {
    let (door, next) = (database.clone(), Cell::new(0));
    let read = move || {
        let id = key(&next, rows);
        let door = door.clone();
        async move { Ok(door.query((SELECT, params![id])).await.map(|_| ())?) }
    };
    closed_loop(callers, span, taken, read).await
}

/// The keys of a file of so many rows, each once and in no order that a cache could like.
fn key(next: &Cell<usize>, rows: usize) -> i64 {
    /// A prime that is no factor of any number of rows here.
    const STRIDE: usize = 7_919;
    let key = next.replace((next.get() + STRIDE) % rows.max(1));
    i64::try_from(key + 1).unwrap_or(1)
}

/// Reads a second of so many plain connections, on a thread each.
pub(super) async fn plain_reads(
    path: PathBuf,
    threads: usize,
    rows: usize,
    span: Span,
) -> Result<f64, Failure> {
    blocking(move || {
        let loops: Vec<_> = (0..threads)
            .map(|_| {
                let (path, span) = (path.clone(), span.clone());
                std::thread::spawn(move || plain_read_loop(&path, rows, &span))
            })
            .collect();
        let rate = |thread: std::thread::JoinHandle<rusqlite::Result<f64>>| match thread.join() {
            Ok(rate) => rate.map_err(failed),
            Err(_) => Err(failed("a thread panicked")),
        };
        loops.into_iter().map(rate).sum()
    })
    .await
}

fn plain_read_loop(path: &Path, rows: usize, span: &Span) -> rusqlite::Result<f64> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let mut select = conn.prepare(SELECT)?;
    let (begun, mut reads, next) = (Instant::now(), 0, Cell::new(0));
    while span.goes_on() {
        let id = key(&next, rows);
        let _row: (String, String, String, String, i64) = select.query_row([id], |row| row.try_into())?;
        reads += 1;
    }
    Ok(rate(reads, begun.elapsed()))
}

/// Each caller, a task on this thread, does it again when it has its answer.
async fn closed_loop<F: Future<Output = Result<(), Failure>> + 'static>(
    callers: usize,
    span: Span,
    taken: &Latencies,
    deed: impl Fn() -> F + 'static,
) -> Result<(usize, Duration), Failure> {
    let (begun, done, deed) = (Instant::now(), Rc::new(Cell::new(0)), Rc::new(deed));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (span, taken) = (span.clone(), Rc::clone(taken));
            let (done, deed) = (Rc::clone(&done), Rc::clone(&deed));
            actix_rt::spawn(async move {
                while span.goes_on() {
                    let sent = Instant::now();
                    deed().await?;
                    taken.borrow_mut().saturating_record(micros(sent.elapsed()));
                    done.set(done.get() + 1);
                }
                Ok(())
            })
        })
        .collect();
    let mut ended = Ok(());
    for task in tasks {
        let end = task.await.unwrap_or_else(|error| Err(failed(error)));
        // All are waited for: nobody may use the database any more when it is closed.
        ended = ended.and(end);
    }
    ended.map(|()| (done.get(), begun.elapsed()))
}
