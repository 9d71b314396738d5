//! The load of the benches that write to an embedded `Database`: one table, one row for each chat line, callers that each
//! wait for their receipt, and the same rows written by a plain connection with the same pragmas.

use std::cell::Cell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::rusqlite::{self, Connection, Statement};
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Linger, Params, Settings, WriteError, params};

pub(crate) const TABLE: &str = "CREATE TABLE IF NOT EXISTS chat (
    id INTEGER PRIMARY KEY, message TEXT NOT NULL, channel TEXT NOT NULL, sender TEXT NOT NULL, content TEXT NOT NULL,
    platform TEXT NOT NULL, latency_ms INTEGER
) STRICT";
pub(crate) const INSERT: &str = "INSERT INTO chat (message, channel, sender, content, platform, latency_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// The text with which the library adds a message log, without an id in return.
pub(crate) const INSERT_MESSAGE_LOG: &str =
    "INSERT INTO message_logs (kook_message_id, kook_channel_id, content, message_type,
    sender_name, target_platform, target_channel, status, error_message, latency_ms, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    ON CONFLICT (kook_message_id, target_platform, target_channel) DO NOTHING";

pub(crate) fn insert_message(insert: &mut Statement<'_>, message: &AddMessageLog) {
    insert
        .execute((
            &message.kook_message_id,
            &message.kook_channel_id,
            &message.content,
            &message.message_type,
            &message.sender_name,
            &message.target_platform,
            &message.target_channel,
            &message.status,
            &message.error_message,
            message.latency_ms,
        ))
        .unwrap();
}

pub(crate) type Lines = Rc<Vec<AddMessageLog>>;

/// What callers, or a plain loop, got done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) writes: f64,
    pub(crate) rate: f64,
    pub(crate) batch: f64,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts and sizes of batches")]
pub(crate) fn whole(count: f64) -> usize {
    count.round() as usize
}

/// How a COMMIT may be synced.
pub(crate) const BOTH: [(&str, Synchronous); 2] =
    [("FULL", Synchronous::Full), ("NORMAL", Synchronous::Normal)];

/// Those of them that `BENCH_SYNCHRONOUS` (full,normal) names.
pub(crate) fn levels() -> Vec<(&'static str, Synchronous)> {
    let wanted = super::support::variable("BENCH_SYNCHRONOUS", "full,normal".to_owned());
    let named = |name: &str| BOTH.into_iter().find(|(_, level)| level.name() == name);
    let levels: Option<Vec<_>> = wanted.split(',').map(named).collect();
    levels.unwrap_or_else(|| {
        eprintln!("BENCH_SYNCHRONOUS is {wanted:?}; it may be full, normal, or full,normal");
        std::process::exit(2)
    })
}

/// The six values of a chat line.
pub(crate) fn values(line: &AddMessageLog) -> Params {
    params![
        &*line.kook_message_id,
        &*line.kook_channel_id,
        &*line.sender_name,
        &*line.content,
        &*line.target_platform,
        line.latency_ms,
    ]
}

/// The same by a plain connection.
pub(crate) fn insert_line(insert: &mut Statement<'_>, line: &AddMessageLog) -> rusqlite::Result<usize> {
    insert.execute((
        &line.kook_message_id,
        &line.kook_channel_id,
        &line.sender_name,
        &line.content,
        &line.target_platform,
        line.latency_ms,
    ))
}

/// The n-th message; the lines come round again, and a message is logged once.
pub(crate) fn message(lines: &[AddMessageLog], n: usize) -> AddMessageLog {
    let mut message = lines[n % lines.len()].clone();
    message.kook_message_id.push_str(&n.to_string());
    message
}

pub(crate) async fn open(path: PathBuf, synchronous: Synchronous, linger: Linger) -> Database {
    let mut settings = Settings::for_file(path);
    settings.writer.linger = linger;
    settings.database.synchronous = synchronous;
    let database = Database::open(settings).await.unwrap();
    database.execute(TABLE).await.unwrap();
    database
}

/// The same file format and pragmas as ours; checkpoints from the same size of the log on.
pub(crate) fn plain_connection(path: &std::path::Path, synchronous: Synchronous) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    for (pragma, value) in [
        ("synchronous", synchronous.name()),
        ("cache_size", "-8192"),
        ("mmap_size", "0"),
        ("foreign_keys", "on"),
        ("cell_size_check", "on"),
        ("wal_autocheckpoint", "1024"),
    ] {
        conn.pragma_update(None, pragma, value).unwrap();
    }
    conn.execute_batch(TABLE).unwrap();
    conn
}

/// Every caller sends its next write when it has the receipt of the one before, until the time is up.
pub(crate) async fn closed_loop<W: Future<Output = Result<(), WriteError>> + 'static>(
    database: &Database,
    callers: usize,
    time: Duration,
    write: impl Fn(usize) -> W + 'static,
) -> Run {
    let before = database.status().writer;
    let begun = Instant::now();
    let (write, next) = (Rc::new(write), Rc::new(Cell::new(0)));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (write, next) = (Rc::clone(&write), Rc::clone(&next));
            actix_rt::spawn(async move {
                while begun.elapsed() < time {
                    write(next.replace(next.get() + 1)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = begun.elapsed().as_secs_f64();
    let after = database.status().writer;
    let (writes, commits) = (after.committed - before.committed, after.commits - before.commits);
    Run { writes: writes as f64, rate: writes as f64 / seconds, batch: writes as f64 / commits.max(1) as f64 }
}

/// Inserts chat lines, one an `execute`.
pub(crate) async fn insert_lines(database: &Database, callers: usize, time: Duration, lines: &Lines) -> Run {
    let (lines, door) = (Rc::clone(lines), database.clone());
    closed_loop(database, callers, time, move |n| {
        let (values, door) = (values(&lines[n % lines.len()]), door.clone());
        async move { door.execute((INSERT, values)).await.map(|_| ()) }
    })
    .await
}

/// The same rows by one thread that does nothing else, in batches of this size, until it is told to stop.
pub(crate) fn plain_batches(
    conn: &Connection,
    batch: usize,
    lines: &[AddMessageLog],
    goes_on: impl Fn() -> bool,
) -> rusqlite::Result<Run> {
    let mut begin = conn.prepare("BEGIN IMMEDIATE")?;
    let mut insert = conn.prepare(INSERT)?;
    let mut commit = conn.prepare("COMMIT")?;
    let (begun, mut writes) = (Instant::now(), 0.0);
    let mut next = lines.iter().cycle();
    while goes_on() {
        begin.execute([])?;
        for line in next.by_ref().take(batch) {
            insert_line(&mut insert, line)?;
        }
        commit.execute([])?;
        writes += batch as f64;
    }
    Ok(Run { writes, rate: writes / begun.elapsed().as_secs_f64(), batch: batch as f64 })
}
