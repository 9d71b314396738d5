//! Reads through the pool, beside plain read-only connections, one on each of as many threads as the pool has.
//!
//! Ours: tasks on the System's one thread, each of which awaits its rows before it asks again. Plain: threads that run a
//! prepared SELECT again and again. Both copy every value out. Selected are one row by its key, or 50 rows from a key on,
//! at random among `BENCH_ROWS`.
//!
//! With nothing else going on, and while writes run: beside the plain readers a plain writer, at full speed, in batches of
//! `BENCH_WRITERS`; ours from as many callers, each awaiting its receipt, and no faster than the plain one was in the same
//! round, so that both compete with the same writes. That they kept up shows in their rate.
//!
//! `cargo bench --bench reads`; `BENCH_ROUNDS` (5), `BENCH_SECONDS` (1), `BENCH_ROWS` (100000), `BENCH_READERS` (1,64),
//! `BENCH_WRITERS` (64), `BENCH_ONLY` (a part of the line's name, such as `key`), `BENCH_DIR`.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "support/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with benches that need more of it")]
mod support;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::rusqlite::types::Value as Plain;
use actix_sqlite::rusqlite::{Connection, OpenFlags, Statement};
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Linger, params};
use hdrhistogram::Histogram;
use load::{INSERT, Lines, Run};
use support::{Length, Spread};

/// What is selected.
#[derive(Clone, Copy, Debug)]
enum Select {
    Key,
    Range,
}

impl Select {
    fn sql(self) -> &'static str {
        match self {
            Self::Key => {
                "SELECT id, message, channel, sender, content, platform, latency_ms FROM chat WHERE id = ?1"
            }
            Self::Range => {
                "SELECT id, message, channel, sender, content, platform, latency_ms FROM chat WHERE id >= ?1 LIMIT 50"
            }
        }
    }

    fn rows(self) -> usize {
        match self {
            Self::Key => 1,
            Self::Range => 50,
        }
    }
}

/// One line of the table: what is measured, and what for.
#[derive(Clone, Copy)]
struct Setup {
    select: Select,
    readers: usize,
    /// How they are synced, if there are any writes.
    writes: Option<Synchronous>,
    rows: usize,
}

impl Setup {
    fn name(&self) -> String {
        let what = match self.select {
            Select::Key => "one row by key",
            Select::Range => "50 rows",
        };
        let beside = match self.writes {
            None => "nothing else".to_owned(),
            Some(synchronous) => format!("writes, {}", format!("{synchronous:?}").to_uppercase()),
        };
        format!("{what} | {} | {beside}", self.readers)
    }
}

fn main() {
    let length = Length::from_environment(5, 1.0);
    let lines = support::chat_lines();
    let directory = support::scratch_directory().unwrap();
    let rows = support::variable("BENCH_ROWS", 100_000_usize).max(51);
    let readers = support::variable("BENCH_READERS", "1,64".to_owned());
    let only = support::variable("BENCH_ONLY", String::new());
    println!(
        "{rows} rows; {} rounds of {:?} for each figure; median (least to most)",
        length.rounds, length.part
    );
    println!(
        "| select | tasks | beside | ours, a second | plain, a second | ours / plain | p50, us | p99, us | writes/s: ours, plain | writes a batch |"
    );
    println!("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|");
    actix_rt::System::new().block_on(async {
        for readers in readers.split(',').map(|readers| readers.parse().unwrap()) {
            for select in [Select::Key, Select::Range] {
                for writes in [None, Some(Synchronous::Full), Some(Synchronous::Normal)] {
                    let setup = Setup { select, readers, writes, rows };
                    if setup.name().contains(&only) {
                        line(&setup, length, &lines, directory.path()).await;
                    }
                }
            }
        }
    });
}

async fn line(setup: &Setup, length: Length, lines: &Lines, directory: &Path) {
    let synchronous = setup.writes.unwrap_or(Synchronous::Full);
    let [our_file, plain_file] = ["ours", "plain"].map(|name| directory.join(format!("{name}.db")));
    for file in [&our_file, &plain_file] {
        fill(file, setup.rows, lines);
    }
    let ours = load::open(our_file.clone(), synchronous, Linger::Auto).await;
    let threads = ours.status().readers.threads;
    let latencies = Rc::new(RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()));
    let (mut ratios, mut our_rates, mut plain_rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut our_writes, mut plain_writes, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    through_the_pool(&ours, setup, length.part / 5, lines, &latencies, None).await;
    latencies.borrow_mut().reset();
    for _ in 0..length.rounds {
        let (plain, plainly) = plain(&plain_file, threads, setup, length.part, lines);
        let (rate, written) = through_the_pool(&ours, setup, length.part, lines, &latencies, plainly).await;
        ratios.push(rate / plain);
        our_rates.push(rate);
        plain_rates.push(plain);
        our_writes.push(written.map_or(0.0, |run| run.rate));
        plain_writes.push(plainly.map_or(0.0, |run| run.rate));
        batches.push(written.map_or(0.0, |run| run.batch));
    }
    ours.shutdown().await;
    let latencies = latencies.borrow();
    println!(
        "| {} | {:.0} | {:.0} | {:.2} | {} | {} | {:.0}, {:.0} | {:.0} |",
        setup.name(),
        Spread::of(our_rates),
        Spread::of(plain_rates),
        Spread::of(ratios),
        latencies.value_at_quantile(0.5),
        latencies.value_at_quantile(0.99),
        Spread::of(our_writes).median,
        Spread::of(plain_writes).median,
        Spread::of(batches).median,
    );
    for file in [our_file, plain_file] {
        for end in ["", "-wal", "-shm"] {
            let mut file = file.clone().into_os_string();
            file.push(end);
            let _ = std::fs::remove_file(PathBuf::from(file));
        }
    }
}

fn fill(file: &Path, rows: usize, lines: &Lines) {
    let conn = load::plain_connection(file, Synchronous::Normal);
    let is_full = Cell::new(false);
    load::plain_batches(&conn, rows, lines, || !is_full.replace(true)).unwrap();
}

/// Reads a second, and what was written meanwhile, no faster than this.
async fn through_the_pool(
    database: &Database,
    setup: &Setup,
    time: Duration,
    lines: &Lines,
    latencies: &Rc<RefCell<Histogram<u64>>>,
    pace: Option<Run>,
) -> (f64, Option<Run>) {
    let writers = pace.map(|pace| {
        let (database, lines) = (database.clone(), Rc::clone(lines));
        actix_rt::spawn(async move { insert_at(pace.rate, &database, time, &lines).await })
    });
    let (begun, done) = (Instant::now(), Rc::new(Cell::new(0_u32)));
    let tasks: Vec<_> = (0..setup.readers)
        .map(|seed| {
            let (database, done) = (database.clone(), Rc::clone(&done));
            let (latencies, mut keys, select) = (Rc::clone(latencies), Keys::new(seed, setup), setup.select);
            actix_rt::spawn(async move {
                let mut asked = Instant::now();
                while begun.elapsed() < time {
                    let rows = database.query((select.sql(), params![keys.next()])).await.unwrap();
                    assert_eq!(rows.len(), select.rows());
                    done.set(done.get() + 1);
                    let answered = Instant::now();
                    let micros = u64::try_from((answered - asked).as_micros()).unwrap();
                    latencies.borrow_mut().saturating_record(micros);
                    asked = answered;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = f64::from(done.get()) / begun.elapsed().as_secs_f64();
    match writers {
        None => (rate, None),
        Some(writers) => (rate, Some(writers.await.unwrap())),
    }
}

fn writers() -> usize {
    support::variable("BENCH_WRITERS", 64)
}

/// From callers that each await a receipt, and then their turn.
async fn insert_at(rate: f64, database: &Database, time: Duration, lines: &Lines) -> Run {
    let (lines, door, begun) = (Rc::clone(lines), database.clone(), Instant::now());
    load::closed_loop(database, writers(), time, move |n| {
        let (values, door) = (load::values(&lines[n % lines.len()]), door.clone());
        let due = begun + Duration::from_secs_f64(n as f64 / rate);
        async move {
            if due > Instant::now() {
                actix_rt::time::sleep_until(due.into()).await;
            }
            door.execute((INSERT, values)).await.map(|_| ())
        }
    })
    .await
}

/// The same on plain connections, with writes at full speed.
fn plain(file: &Path, threads: usize, setup: &Setup, time: Duration, lines: &Lines) -> (f64, Option<Run>) {
    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lines: &[AddMessageLog] = lines;
    std::thread::scope(|scope| {
        let writer = setup.writes.map(|synchronous| {
            let over = &over;
            scope.spawn(move || {
                let conn = load::plain_connection(file, synchronous);
                load::plain_batches(&conn, writers(), lines, || !over.load(Relaxed)).unwrap()
            })
        });
        let begun = Instant::now();
        let readers: Vec<_> = (0..threads)
            .map(|seed| {
                let done = &done;
                scope.spawn(move || {
                    let conn = plain_reader(file);
                    let mut select = conn.prepare(setup.select.sql()).unwrap();
                    let (mut keys, mut asked) = (Keys::new(seed, setup), 0);
                    while begun.elapsed() < time {
                        assert_eq!(plain_rows(&mut select, keys.next()).len(), setup.select.rows());
                        asked += 1;
                    }
                    done.fetch_add(asked, Relaxed);
                })
            })
            .collect();
        for reader in readers {
            reader.join().unwrap();
        }
        let rate = done.load(Relaxed) as f64 / begun.elapsed().as_secs_f64();
        over.store(true, Relaxed);
        (rate, writer.map(|writer| writer.join().unwrap()))
    })
}

fn plain_reader(file: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).unwrap();
    for (pragma, value) in
        [("cache_size", "-8192"), ("mmap_size", "0"), ("cell_size_check", "on"), ("query_only", "on")]
    {
        conn.pragma_update(None, pragma, value).unwrap();
    }
    conn
}

fn plain_rows(select: &mut Statement<'_>, key: i64) -> Vec<Vec<Plain>> {
    let columns = select.column_count();
    let row = |row: &actix_sqlite::rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
    select.query_map([key], row).unwrap().map(Result::unwrap).collect()
}

/// Keys at random, the same ones in each run.
struct Keys {
    state: u64,
    below: u64,
}

impl Keys {
    fn new(seed: usize, setup: &Setup) -> Self {
        let below = (setup.rows - setup.select.rows()) as u64;
        Self { state: 0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1), below }
    }

    /// By xorshift: it costs next to nothing beside a query.
    fn next(&mut self) -> i64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        i64::try_from(self.state % self.below).unwrap() + 1
    }
}
