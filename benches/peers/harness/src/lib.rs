//! What all peers share: the arguments, the rows, the callers who each wait for their answer, and the report.
//!
//! A peer is a program that opens its database in `--dir` with the table [`SCHEMA`] and passes to [`measure`] how it
//! inserts one row. What it prints is one line of JSON ([`Report`]), which `../run` reads. Every run has a new file.
//!
//! The callers insert for a fifth of `--seconds` before anything counts, so that files and caches are there. Then an insert
//! counts if it is answered within `--seconds`.

mod options;
#[cfg(feature = "rusqlite")]
pub mod sqlite;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use options::Options;
use serde::Deserialize;

/// The tables as the daemon makes them, indexes and all.
pub const SCHEMA: &str = include_str!("../../../../src/relay/migrations/V1__accounts_and_message_logs.sql");

/// The one statement that is measured. Each peer has it prepared once, where it can.
pub const INSERT: &str = "INSERT INTO message_logs (kook_message_id, kook_channel_id, content, message_type, sender_name, \
                          target_platform, target_channel, status, error_message, latency_ms, created_at) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// Given, as not every peer lets SQLite look at the clock.
pub const CREATED_AT: &str = "2026-01-01T00:00:00.000Z";

/// The page cache of a connection, for all who can set it: the default of actix-sqlite.
pub const CACHE_SIZE: &str = "-8192";

pub type Failure = Box<dyn Error + Send + Sync>;

/// A line of chat.
#[derive(Debug, Deserialize)]
pub struct Line {
    pub kook_message_id: String,
    pub kook_channel_id: String,
    pub content: String,
    pub message_type: String,
    pub sender_name: String,
    pub target_platform: String,
    pub target_channel: String,
    pub status: String,
    pub error_message: Option<String>,
    pub latency_ms: Option<i64>,
}

/// A row to insert: a line, under an id of its own as the lines come round again.
#[derive(Debug)]
pub struct Row {
    pub id: String,
    pub line: &'static Line,
}

/// The rows of one run, in order, without an end.
pub struct Rows {
    lines: &'static [Line],
    next: AtomicUsize,
}

impl Rows {
    /// Reads the lines of the file `--rows`.
    pub fn read(options: &Options) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(&options.rows)?;
        let lines: Vec<Line> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        if lines.is_empty() {
            return Err("no rows".into());
        }
        // They are wanted until the process ends, and so nobody has to copy them.
        Ok(Self { lines: lines.leak(), next: AtomicUsize::new(0) })
    }

    pub fn next(&self) -> Row {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let line = &self.lines[number % self.lines.len()];
        Row { id: format!("{}-{number}", line.kook_message_id), line }
    }
}

/// What came of a run.
#[derive(Default)]
pub struct Report {
    /// Inserts answered in the time that counts.
    pub inserts: usize,
    /// Inserts answered at all: so many rows the file must have.
    pub acknowledged: usize,
    /// How long each of the inserts that count took, in microseconds. Empty if nobody was answered.
    pub latencies: Vec<u32>,
    /// Inserts a commit, where the peer can say.
    pub batch: Option<f64>,
    pub errors: usize,
    pub first_error: Option<String>,
}

impl Report {
    /// Prints the report as a line of JSON. `file` is where SQLite finds the rows.
    pub fn print(mut self, options: &Options, file: &Path) {
        self.latencies.sort_unstable();
        let at = |hundredth: usize| {
            let place = (self.latencies.len() * hundredth / 100).min(self.latencies.len().saturating_sub(1));
            self.latencies.get(place)
        };
        let report = serde_json::json!({
            "seconds": options.seconds,
            "inserts": self.inserts,
            "acknowledged": self.acknowledged,
            "p50_us": at(50),
            "p99_us": at(99),
            "batch": self.batch,
            "errors": self.errors,
            "error": self.first_error,
            "file": file,
        });
        println!("{report}");
    }
}

/// When counting begins, and when it ends.
#[derive(Clone, Copy)]
pub struct Span {
    pub from: Instant,
    pub to: Instant,
}

impl Span {
    /// Begins after the warm-up.
    pub fn new(options: &Options) -> Self {
        let length = Duration::from_secs_f64(options.seconds);
        let from = Instant::now() + length / 5;
        Self { from, to: from + length }
    }

    pub fn contains(self, instant: Instant) -> bool {
        (self.from..=self.to).contains(&instant)
    }
}

/// `--callers` tasks that each insert a row, wait for the answer, and insert the next.
pub async fn measure<W, F, E>(options: &Options, write: W) -> Result<Report, Failure>
where
    W: Fn(Row) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    let rows = Arc::new(Rows::read(options)?);
    let write = Arc::new(write);
    let span = Span::new(options);
    let callers: Vec<_> = (0..options.callers)
        .map(|_| tokio::spawn(call(Arc::clone(&rows), Arc::clone(&write), span)))
        .collect();
    let mut report = Report::default();
    for caller in callers {
        let one = caller.await?;
        report.acknowledged += one.acknowledged;
        report.errors += one.errors;
        report.latencies.extend(one.latencies);
        report.first_error = report.first_error.or(one.first_error);
    }
    report.inserts = report.latencies.len();
    Ok(report)
}

async fn call<W, F, E>(rows: Arc<Rows>, write: Arc<W>, span: Span) -> Report
where
    W: Fn(Row) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Failure>,
{
    let mut report = Report::default();
    let mut sent = Instant::now();
    while sent < span.to {
        let outcome = write(rows.next()).await;
        let answered = Instant::now();
        match outcome {
            Ok(()) => {
                report.acknowledged += 1;
                if span.contains(answered) {
                    report.latencies.push(u32::try_from((answered - sent).as_micros()).unwrap_or(u32::MAX));
                }
            }
            Err(error) => {
                report.errors += 1;
                report.first_error.get_or_insert_with(|| error.into().to_string());
                // One that fails at once would keep the others from the processor.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        sent = answered;
    }
    report
}
