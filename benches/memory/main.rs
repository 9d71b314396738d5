//! Memory: how much the process occupies under load, and whether that grows; and how often a write allocates, on the thread
//! of its caller and on the writer's.
//!
//! 1. Resident memory of the whole process with 256 callers, sampled all the time: the median of the first quarter of the
//!    time beside that of the last one, and the peak. The process is this bench, with its chat lines; `before` is what it
//!    occupies without a database. `SQLite` is its part of it, mostly page caches, which are full after a while.
//! 2. Allocations a write (what is made longer counts as one too), counted by an allocator that is this bench's own. The message that the caller makes is counted
//!    with them, and shown by itself too. SQLite's own memory is not: it does not come from Rust's allocator.
//!
//! `cargo bench --bench memory`; `BENCH_SECONDS` (10 for the first table, a tenth of it for each line of the second),
//! `BENCH_DIR`, `ACTIX_SQLITE_CHAT`.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

mod counting;
#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "../support/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Execute, Linger};
use counting::{Counting, Counts};
use load::{INSERT, Lines, Run};
use support::Spread;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Execute,
    MessageLog,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Execute, Self::MessageLog];

    fn name(self) -> &'static str {
        match self {
            Self::Execute => "`execute`, 6 parameters",
            Self::MessageLog => "`add_message_log`",
        }
    }

    async fn run(self, database: &Database, callers: usize, time: Duration, lines: &Lines) -> Run {
        match self {
            Self::Execute => load::insert_lines(database, callers, time, lines).await,
            Self::MessageLog => {
                let (door, lines) = (database.clone(), Rc::clone(lines));
                // The same message only once, in this run and those before it.
                let first = usize::try_from(database.status().writer.committed).unwrap();
                load::closed_loop(database, callers, time, move |n| {
                    let (message, door) = (load::message(&lines, first + n), door.clone());
                    async move { door.add_message_log(message).await.map(|_| ()) }
                })
                .await
            }
        }
    }

    /// What the caller makes for one write, without sending it.
    fn make(self, lines: &Lines, n: usize) {
        match self {
            Self::Execute => drop(Execute::from((INSERT, load::values(&lines[n % lines.len()])))),
            Self::MessageLog => drop(load::message(lines, n)),
        }
    }
}

fn main() {
    let length = support::Length::from_environment(1, 10.0);
    let directory = support::scratch_directory().unwrap();
    let lines = support::chat_lines();
    actix_rt::System::new().block_on(async {
        resident(length.part, &lines, directory.path()).await;
        println!();
        allocations(length.part / 10, &lines, directory.path()).await;
    });
}

async fn open(kind: Kind, name: &str, directory: &Path) -> Database {
    let path = directory.join(format!("{name}-{kind:?}.db"));
    load::open(path, Synchronous::Full, Linger::Auto).await
}

async fn resident(time: Duration, lines: &Lines, directory: &Path) {
    const CALLERS: usize = 256;
    println!("resident memory with {CALLERS} callers for {time:?}, synchronous=FULL, in MiB");
    println!("| write | before | first quarter | last quarter | growth | of it SQLite | peak | writes/s |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for kind in Kind::ALL {
        let before = status_of_process("VmRSS");
        // The peak so far is forgotten, where the system can do that.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let database = open(kind, "resident", directory).await;
        let begun = Instant::now();
        let sampler = std::thread::spawn(move || {
            let mut samples = Vec::with_capacity(1000);
            while begun.elapsed() < time {
                samples.push((status_of_process("VmRSS"), counting::of_sqlite()));
                std::thread::sleep(time / 400);
            }
            samples
        });
        let run = kind.run(&database, CALLERS, time, lines).await;
        let samples = sampler.join().unwrap();
        let quarter = samples.len().div_ceil(4);
        let (first, first_of_sqlite) = medians(&samples[..quarter]);
        let (last, last_of_sqlite) = medians(&samples[samples.len() - quarter..]);
        println!(
            "| {} | {before:.1} | {first:.1} | {last:.1} | {:+.1} | {:+.1} | {:.1} | {:.0} |",
            kind.name(),
            last - first,
            last_of_sqlite - first_of_sqlite,
            status_of_process("VmHWM"),
            run.rate
        );
        database.shutdown().await;
    }
}

fn medians(samples: &[(f64, f64)]) -> (f64, f64) {
    let median = |part: fn(&(f64, f64)) -> f64| Spread::of(samples.iter().map(part)).median;
    (median(|sample| sample.0), median(|sample| sample.1))
}

/// A line of what the system says of this process, in MiB.
fn status_of_process(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.map_or(f64::NAN, |kibibytes| kibibytes / 1024.0)
}

async fn allocations(time: Duration, lines: &Lines, directory: &Path) {
    println!("a write: allocations / bytes allocated / frees, on each thread");
    println!(
        "| write | callers | writes a batch | making the message | caller | writer | all other threads |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for kind in Kind::ALL {
        for callers in [1, 256] {
            let database = open(kind, &format!("allocations-{callers}"), directory).await;
            // Queues, caches and buffers have their size after that.
            kind.run(&database, callers, time / 4, lines).await;
            let caller = counting::own();
            let writer = database.transact(|_| Ok(counting::own())).await.unwrap().value;
            let made = per_write(|| (0..10_000).for_each(|n| kind.make(lines, n)), caller, 10_000.0);
            let (all, own, writers) = (counting::of_all(), counting::of(caller), counting::of(writer));
            let run = kind.run(&database, callers, time, lines).await;
            let (own, writers) = (counting::of(caller) - own, counting::of(writer) - writers);
            let others = counting::of_all() - all - own - writers;
            println!(
                "| {} | {callers} | {:.0} | {made} | {} | {} | {} |",
                kind.name(),
                run.batch,
                shown(own, run.writes),
                shown(writers, run.writes),
                shown(others, run.writes),
            );
            database.shutdown().await;
        }
    }
}

fn per_write(work: impl FnOnce(), slot: usize, writes: f64) -> String {
    let before = counting::of(slot);
    work();
    shown(counting::of(slot) - before, writes)
}

fn shown(counts: Counts, writes: f64) -> String {
    let each = |count: u64| count as f64 / writes;
    format!("{:.2} / {:.0} / {:.2}", each(counts.allocations), each(counts.bytes), each(counts.frees))
}
