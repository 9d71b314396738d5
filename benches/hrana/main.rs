//! The daemon beside `sqld`, the libSQL server: the same small client, the same requests of the protocol Hrana 2 over HTTP,
//! the same machine, in one run, round by round in turns.
//!
//! The daemon is there twice: with `synchronous=FULL`, its default, by which what is acknowledged is on the disk; and with
//! `NORMAL`, which is what sqld has and cannot be set there: it answers before anything is synced (not one `fsync` in 100
//! inserts, seen with strace). Like is compared with like by the second one; the first one pays for its promise, the more the
//! slower the disk, and the time of an `fsync` is printed with the figures.
//!
//! `cargo bench --bench hrana`; `BENCH_ROUNDS` (5), `BENCH_SECONDS` (3) and `BENCH_ONLY` (a part of the name of the work)
//! change it, `BENCH_SQLD` names another sqld and `BENCH_SQLD_ARGS` gives it arguments. The client, on one core, shares the
//! machine with the server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what is wrong by failing")]

mod client;
#[path = "../support/daemon.rs"]
mod daemon;
mod server;
#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "../support/mod.rs"]
mod support;
mod work;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use server::{Kind, Server};
use support::Spread;
use work::{Done, Work};

/// All rounds of one server at one kind of work.
#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    done: Done,
}

fn main() {
    let length = support::Length::from_environment(5, 3.0);
    let serious = std::env::args().any(|argument| argument == "--bench");
    let only = support::variable("BENCH_ONLY", String::new());
    let directory = support::scratch_directory().unwrap();
    let kinds = [Some(Kind::Daemon("full")), Some(Kind::Daemon("normal")), Kind::sqld(serious)];
    let kinds: Vec<Kind> = kinds.into_iter().flatten().collect();
    if kinds.len() == 2 {
        println!("skipped: sqld cannot be had, the daemon runs alone");
    }
    println!("an fsync of 4 KiB takes {:.0} µs there", sync_micros(directory.path()));
    println!("{} rounds of {:?} in turns; a second, median (least to most)", length.rounds, length.part);
    println!(
        "| work | FULL | NORMAL | sqld (NORMAL) | FULL / sqld | NORMAL / sqld | goal | SQLITE_BUSY | time-outs | other errors |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|---|---|---|");
    actix_rt::System::new().block_on(async {
        for work in Work::ALL.into_iter().filter(|work| work.name().contains(&only)) {
            let mut figures: Vec<Figures> = kinds.iter().map(|_| Figures::default()).collect();
            for round in 0..length.rounds {
                // Each begins every other round.
                let mut turn: Vec<usize> = (0..kinds.len()).collect();
                turn.rotate_left(round % kinds.len());
                for one in turn {
                    let place = directory.path().join(format!("{work:?}-{round}-{}", kinds[one].name()));
                    let done = measure(&kinds[one], work, length.part, &place).await;
                    eprintln!("round {round}, {}: {:.0} {}", kinds[one].name(), done.rate(), work.name());
                    figures[one].rates.push(done.rate());
                    figures[one].done += done;
                }
            }
            row(work, &figures);
        }
    });
}

/// How long a sync takes where the files are, as it decides what a durable commit can cost: the median of 100.
fn sync_micros(directory: &Path) -> f64 {
    let path = directory.join("sync");
    let mut file = std::fs::File::create(&path).unwrap();
    let times = (0..100).map(|_| {
        file.write_all(&[7; 4096]).unwrap();
        let begun = Instant::now();
        file.sync_all().unwrap();
        begun.elapsed().as_secs_f64() * 1e6
    });
    Spread::of(times).median
}

/// A part on a server and a file of its own, so that no part inherits what the one before left behind.
async fn measure(kind: &Kind, work: Work, part: Duration, place: &Path) -> Done {
    let server = Server::start(kind, place).await;
    work.prepare(&server.address).await;
    let done = work.run(&server.address, part).await;
    work.verify(&server.address, &done).await;
    drop(server);
    // Not kept until the end: the files of all rounds would be many.
    let _ = std::fs::remove_dir_all(place);
    done
}

fn row(work: Work, figures: &[Figures]) {
    let rates: Vec<Spread> =
        figures.iter().map(|figures| Spread::of(figures.rates.iter().copied())).collect();
    let rate = |one: usize| rates.get(one).map_or_else(|| "-".to_owned(), |spread| format!("{spread:.0}"));
    let counts = |count: fn(&Done) -> usize| {
        figures.iter().map(|figures| count(&figures.done).to_string()).collect::<Vec<_>>().join(" / ")
    };
    // Of the parts of one round, which had the same machine.
    let times = |one: usize| {
        let theirs = figures.get(2)?;
        let pairs = figures[one].rates.iter().zip(&theirs.rates);
        Some(Spread::of(pairs.map(|(ours, theirs)| ours / theirs.max(1.0))))
    };
    let times = |one| times(one).map_or_else(|| "-".to_owned(), |spread| format!("{spread:.1}"));
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        work.name(),
        rate(0),
        rate(1),
        rate(2),
        times(0),
        times(1),
        work.goal(),
        counts(|done| done.busy),
        counts(|done| done.timed_out),
        counts(|done| done.other),
    );
}
