//! Writes per second: callers that each wait for their receipt, against a plain loop over the same SQLite.
//!
//! Four tables, in Markdown:
//!
//! 1. `logs`: rows of `message_logs`, with its six indexes. `Database::execute` with 1 to 1024 callers (tasks on the
//!    System's one thread, each awaiting its receipt before it sends the next write) against one thread that runs a
//!    prepared INSERT between BEGIN IMMEDIATE and COMMIT, in batches of as many rows as there are callers, and answers
//!    nobody. Same rows, same schema, same pragmas; with `synchronous=FULL`, and with `NORMAL`.
//! 2. `narrow`: the same on a table without an index, where what is ours weighs most.
//! 3. `linger`: `writer.linger` of `auto` and `1ms` as a ratio to `0ms`, on `message_logs`.
//! 4. `relay`: `AddMessageLog`, a typed write of two statements.
//!
//! What is compared is measured in turns, round after round, so that a busy machine is busy for all of it alike. A ratio
//! is taken within a round; shown are its median and its extremes.
//!
//! `BENCH_ROUNDS` (5), `BENCH_SECONDS` (1, for each part of a round), `BENCH_CALLERS` (1,16,64,256,1024), `BENCH_ONLY` (a
//! part of the name of a table), `BENCH_SYNCHRONOUS` (full,normal), `BENCH_DIR` (where the files go), `ACTIX_SQLITE_CHAT`
//! (NDJSON).

#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "support/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with benches that need more of it")]
mod support;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::rusqlite::{self, Connection};
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Linger, WriteError, WriterTime, params};
use hdrhistogram::Histogram;
use load::Lines;
use support::{Length, Spread};

/// What is inserted, and where.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// `message_logs`, as the relay's migrations make it.
    Logs,
    /// A table of few columns and no index.
    Narrow,
}

impl Shape {
    fn insert(self) -> &'static str {
        match self {
            Self::Logs => {
                "INSERT INTO message_logs (kook_message_id, kook_channel_id, content, message_type, sender_name,
                     target_platform, target_channel, status, latency_ms, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
            }
            Self::Narrow => load::INSERT,
        }
    }
}

type Failure = Box<dyn Error>;

/// What is measured, and how durable it is.
#[derive(Clone, Copy)]
struct Terms {
    shape: Shape,
    synchronous: Synchronous,
}

/// What the callers of one database got done in one part of a round.
struct Run {
    rate: f64,
    batch: f64,
    /// What the writer's time went into: statements, COMMITs, checkpoints, waiting; each as a part of the whole.
    parts: [f64; 4],
}

fn main() -> Result<(), Failure> {
    actix_rt::System::new().block_on(async {
        let length = Length::from_environment(5, 1.0);
        let directory = support::scratch_directory()?;
        let lines = support::chat_lines();
        let callers = support::variable("BENCH_CALLERS", "1,16,64,256,1024".to_owned());
        let callers = callers.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        let only = support::variable("BENCH_ONLY", String::new());
        println!("{} rounds of {:?} for each figure; median (least to most)", length.rounds, length.part);
        println!("one fsync of a written page takes {} us here\n", fsync_micros(directory.path())?);
        let levels = load::levels();
        for (name, shape) in [("logs", Shape::Logs), ("narrow", Shape::Narrow)] {
            for &(_, synchronous) in &levels {
                if !name.contains(&only) {
                    continue;
                }
                println!("{name}, synchronous={}", synchronous.name());
                let terms = Terms { shape, synchronous };
                against_plain(terms, &callers, length, &lines, directory.path()).await?;
            }
        }
        for &(_, synchronous) in &levels {
            if "linger".contains(&only) {
                println!("linger, synchronous={}", synchronous.name());
                lingers(synchronous, &callers, length, &lines, directory.path()).await?;
            }
        }
        if "relay".contains(&only) {
            message_logs(length, &lines, directory.path()).await?;
        }
        Ok(())
    })
}

async fn against_plain(
    terms: Terms,
    callers: &[usize],
    length: Length,
    lines: &Lines,
    directory: &Path,
) -> Result<(), Failure> {
    println!(
        "| callers | ours, writes/s | plain loop, writes/s | ours / plain | writes a batch | p50, us | p99, us | statements, COMMIT, checkpoints, waiting |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    for &callers in callers {
        let name = format!("{:?}-{:?}-{callers}", terms.shape, terms.synchronous);
        let ours =
            load::open(directory.join(format!("ours-{name}.db")), terms.synchronous, Linger::Auto).await;
        let plain = plain_connection(&directory.join(format!("plain-{name}.db")), terms).await;
        let (next, latencies) = (Rc::default(), latencies()?);
        insert_lines(&ours, terms.shape, callers, length.part / 5, lines, &next, &self::latencies()?).await;
        let (mut our_rates, mut plain_rates, mut batches) = (Vec::new(), Vec::new(), Vec::new());
        let mut parts: [Vec<f64>; 4] = Default::default();
        let mut plain_next = 0;
        for round in 0..length.rounds {
            // Each begins every other round.
            for is_ours in [round % 2 == 0, round % 2 != 0] {
                if is_ours {
                    let run =
                        insert_lines(&ours, terms.shape, callers, length.part, lines, &next, &latencies)
                            .await;
                    our_rates.push(run.rate);
                    batches.push(run.batch);
                    parts.iter_mut().zip(run.parts).for_each(|(all, part)| all.push(part * 100.0));
                } else {
                    let rate = plain_loop(&plain, terms.shape, callers, length.part, lines, &mut plain_next)?;
                    plain_rates.push(rate);
                }
            }
        }
        let ratios = our_rates.iter().zip(&plain_rates).map(|(ours, plain)| ours / plain);
        let at = |quantile| latencies.borrow().value_at_quantile(quantile);
        let [statements, commits, checkpoints, waiting] = parts.map(|part| Spread::of(part).median);
        println!(
            "| {callers} | {:.0} | {:.0} | {:.2} | {:.0} | {} | {} | {statements:.0} %, {commits:.0} %, {checkpoints:.0} %, {waiting:.0} % |",
            Spread::of(our_rates.iter().copied()),
            Spread::of(plain_rates.iter().copied()),
            Spread::of(ratios),
            Spread::of(batches).median,
            at(0.5),
            at(0.99),
        );
        ours.shutdown().await;
    }
    println!();
    Ok(())
}

async fn lingers(
    synchronous: Synchronous,
    callers: &[usize],
    length: Length,
    lines: &Lines,
    directory: &Path,
) -> Result<(), Failure> {
    let terms = Terms { shape: Shape::Logs, synchronous };
    println!("| callers | 0ms, writes/s | auto / 0ms | 1ms / 0ms | writes a batch: 0ms, auto, 1ms |");
    println!("|--:|--:|--:|--:|--:|");
    for &callers in callers {
        let mut databases = Vec::new();
        for (name, linger) in [
            ("zero", Linger::Fixed(Duration::ZERO)),
            ("auto", Linger::Auto),
            ("one", Linger::Fixed(Duration::from_millis(1))),
        ] {
            let path = directory.join(format!("linger-{name}-{synchronous:?}-{callers}.db"));
            databases.push((load::open(path, terms.synchronous, linger).await, Rc::default()));
        }
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        let mut batches = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..length.rounds {
            // Each comes first in its turn: whatever runs after another inherits its mess in the disk's cache.
            for place in (0..3).map(|place| (place + round) % 3) {
                let (database, next) = &databases[place];
                let run =
                    insert_lines(database, terms.shape, callers, length.part, lines, next, &latencies()?)
                        .await;
                rates[place].push(run.rate);
                batches[place].push(run.batch);
            }
        }
        let to_zero =
            |place: usize| Spread::of(rates[place].iter().zip(&rates[0]).map(|(rate, zero)| rate / zero));
        let [zero, auto, one] = batches.map(|batches| Spread::of(batches).median);
        println!(
            "| {callers} | {:.0} | {:.2} | {:.2} | {zero:.0}, {auto:.0}, {one:.0} |",
            Spread::of(rates[0].iter().copied()),
            to_zero(1),
            to_zero(2),
        );
        for (database, _) in databases {
            database.shutdown().await;
        }
    }
    println!();
    Ok(())
}

async fn message_logs(length: Length, lines: &Lines, directory: &Path) -> Result<(), Failure> {
    let terms = Terms { shape: Shape::Logs, synchronous: Synchronous::Full };
    println!("| callers | AddMessageLog, writes/s | writes a batch | p50, us | p99, us |");
    println!("|--:|--:|--:|--:|--:|");
    for callers in [64, 1024] {
        let database =
            load::open(directory.join(format!("relay-{callers}.db")), terms.synchronous, Linger::Auto).await;
        let (latencies, lines) = (latencies()?, Rc::clone(lines));
        let next = Rc::new(Cell::new(0_usize));
        let (mut rates, mut batches) = (Vec::new(), Vec::new());
        for _ in 0..length.rounds {
            let (log, lines, next) = (database.clone(), Rc::clone(&lines), Rc::clone(&next));
            let run = closed_loop(&database, callers, length.part, &latencies, move || {
                let mut message = lines[next.get() % lines.len()].clone();
                // The lines come round again, and a message is logged once.
                message.kook_message_id.push_str(&next.replace(next.get() + 1).to_string());
                let log = log.clone();
                async move { log.add_message_log(message).await.map(|_| ()) }
            });
            let run = run.await;
            rates.push(run.rate);
            batches.push(run.batch);
        }
        let at = |quantile| latencies.borrow().value_at_quantile(quantile);
        let (rates, batch) = (Spread::of(rates), Spread::of(batches).median);
        println!("| {callers} | {rates:.0} | {batch:.0} | {} | {} |", at(0.5), at(0.99));
        database.shutdown().await;
    }
    Ok(())
}

/// A row for each write; `next` counts them, for their ids, as long as there is the file.
async fn insert_lines(
    database: &Database,
    shape: Shape,
    callers: usize,
    time: Duration,
    lines: &Lines,
    next: &Rc<Cell<usize>>,
    latencies: &Rc<RefCell<Histogram<u64>>>,
) -> Run {
    let (lines, next, door) = (Rc::clone(lines), Rc::clone(next), database.clone());
    let write = move || {
        let number = next.replace(next.get() + 1);
        let line = &lines[number % lines.len()];
        let values = match shape {
            Shape::Logs => params![
                id(line, number),
                &*line.kook_channel_id,
                &*line.content,
                &*line.message_type,
                &*line.sender_name,
                &*line.target_platform,
                &*line.target_channel,
                &*line.status,
                line.latency_ms,
                TIME,
            ],
            Shape::Narrow => load::values(line),
        };
        let door = door.clone();
        async move { door.execute((shape.insert(), values)).await.map(|_| ()) }
    };
    closed_loop(database, callers, time, latencies, write).await
}

const TIME: &str = "2026-01-02T03:04:05.678Z";

/// The lines come round again, and a message is logged once.
fn id(line: &AddMessageLog, number: usize) -> String {
    format!("{}-{number}", line.kook_message_id)
}

/// The same as the closed loop of all benches, with the latencies and what the writer's time went into.
async fn closed_loop<W: Future<Output = Result<(), WriteError>> + 'static>(
    database: &Database,
    callers: usize,
    time: Duration,
    latencies: &Rc<RefCell<Histogram<u64>>>,
    write: impl Fn() -> W + 'static,
) -> Run {
    // Ends the wait of the writer since the round before, which is counted when it ends.
    database.flush().await.unwrap();
    let before = database.status().writer.time;
    let (begun, latencies) = (Instant::now(), Rc::clone(latencies));
    let run = load::closed_loop(database, callers, time, move |_| {
        let (write, latencies, sent) = (write(), Rc::clone(&latencies), Instant::now());
        async move {
            write.await?;
            latencies.borrow_mut().saturating_record(micros(sent.elapsed()));
            Ok(())
        }
    });
    let load::Run { rate, batch, .. } = run.await;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), database.status().writer.time);
    let part = |time: fn(&WriterTime) -> u64| (time(&after) - time(&before)) as f64 / 1e6 / seconds;
    let parts = [
        part(|time| time.statements_us),
        part(|time| time.commit_us),
        part(|time| time.maintenance_us),
        part(|time| time.waiting_us),
    ];
    Run { rate, batch, parts }
}

/// The same schema as ours.
async fn plain_connection(path: &Path, terms: Terms) -> Connection {
    load::open(path.to_owned(), terms.synchronous, Linger::Auto).await.shutdown().await;
    load::plain_connection(path, terms.synchronous)
}

/// Writes a second of one thread that does nothing else.
fn plain_loop(
    conn: &Connection,
    shape: Shape,
    batch: usize,
    time: Duration,
    lines: &Lines,
    next: &mut usize,
) -> rusqlite::Result<f64> {
    let mut begin = conn.prepare("BEGIN IMMEDIATE")?;
    let mut insert = conn.prepare(shape.insert())?;
    let mut commit = conn.prepare("COMMIT")?;
    let (begun, first) = (Instant::now(), *next);
    while begun.elapsed() < time {
        if batch > 1 {
            begin.execute([])?;
        }
        for _ in 0..batch {
            let line = &lines[*next % lines.len()];
            let number = *next;
            *next += 1;
            match shape {
                Shape::Logs => insert.execute((
                    id(line, number),
                    &line.kook_channel_id,
                    &line.content,
                    &line.message_type,
                    &line.sender_name,
                    &line.target_platform,
                    &line.target_channel,
                    &line.status,
                    line.latency_ms,
                    TIME,
                ))?,
                Shape::Narrow => load::insert_line(&mut insert, line)?,
            };
        }
        if batch > 1 {
            commit.execute([])?;
        }
    }
    Ok((*next - first) as f64 / begun.elapsed().as_secs_f64())
}

/// The median of what makes a write durable, which decides most figures here.
fn fsync_micros(directory: &Path) -> std::io::Result<u64> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(directory.join("fsync"))?;
    let mut taken = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(std::io::Error::other)?;
    for _ in 0..200 {
        file.write_all(&[1; 4096])?;
        let begun = Instant::now();
        file.sync_all()?;
        taken.saturating_record(micros(begun.elapsed()));
    }
    Ok(taken.value_at_quantile(0.5))
}

fn latencies() -> Result<Rc<RefCell<Histogram<u64>>>, Failure> {
    Ok(Rc::new(RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?)))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
