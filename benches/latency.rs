//! How long a write takes to be acknowledged when it does not wait for the one before, and how late an event loop comes to
//! its other work while writes run at full speed.
//!
//! 1. An open loop: writes are due on a schedule, whether or not those before are answered, and the time of each counts from
//!    when it was due. At `BENCH_RATE` (100) a second, beside a plain thread that commits one row at a time on the same
//!    schedule (a disk that rests between commits is slower than one that is kept busy): what a COMMIT costs. And beside
//!    such a thread behind a channel, for the event loop has to wake it up, and it the event loop; it commits together what
//!    has come meanwhile. Then at half of the capacity, which is measured before, with 256 callers, beside such a thread.
//!    Each with `linger = "auto"` and with `"0ms"`.
//! 2. A ticker of 1 ms on the callers' event loop, with 64, 256 and 1024 callers that write without a pause; beside it the
//!    same with a loop that is idle, and with callers who make the same messages and hand them to another thread that
//!    answers them in groups at the same rate, without any database: so late the loop is for the callers' own work and for
//!    the machine's. The loop's timer is no finer than a millisecond, so the ticker is late by about one in any case; a
//!    ping from a thread of its own, every millisecond, is answered without a timer, and shows the loop alone.
//!
//! A virtual machine's host may stop all its processors at once, for 10 ms and more where they have used up what they may
//! have: whatever is due then is late. How long that was, in ms of each second and of all processors together, is in the
//! last column.
//!
//! `cargo bench --bench latency`; `BENCH_ROUNDS` (3), `BENCH_SECONDS` (5, for each part), `BENCH_RATE`, `BENCH_ONLY` (`open`
//! or `ticker`), `BENCH_CALLERS` (64,256,1024, of the second part), `BENCH_SYNCHRONOUS` (full,normal), `BENCH_DIR`,
//! `ACTIX_SQLITE_CHAT`.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]

#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "support/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with benches that need more of it")]
mod support;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::rusqlite::params_from_iter;
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Linger, Params};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use load::{INSERT, Lines};
use support::{Length, Spread};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

type Times = Rc<RefCell<Histogram<u64>>>;

fn main() {
    let length = Length::from_environment(3, 5.0);
    let lines = support::chat_lines();
    let directory = support::scratch_directory().unwrap();
    let only = support::variable("BENCH_ONLY", String::new());
    println!("{} rounds of {:?}; times in us, of all rounds together", length.rounds, length.part);
    actix_rt::System::new().block_on(async {
        for (name, synchronous) in load::levels() {
            if "open".contains(&only) {
                println!("\nopen loop, synchronous={name}");
                open_loops(synchronous, length, &lines, directory.path()).await;
            }
            if "ticker".contains(&only) {
                println!("\nhow late a ticker of 1 ms is on the callers' event loop, synchronous={name}");
                tickers(synchronous, length, &lines, directory.path()).await;
            }
        }
    });
}

fn times() -> Times {
    Rc::new(RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()))
}

fn record(times: &RefCell<Histogram<u64>>, time: Duration) {
    times.borrow_mut().saturating_record(u64::try_from(time.as_micros()).unwrap());
}

/// Half, 99 of 100, 999 of 1000, and the longest.
fn shown(times: &Times) -> String {
    let times = times.borrow();
    let at = |quantile| times.value_at_quantile(quantile);
    format!("{} | {} | {} | {}", at(0.5), at(0.99), at(0.999), times.max())
}

/// The times of some rounds, and what the machine did meanwhile.
struct Account {
    times: Times,
    /// Of each round, for the ratio within it.
    p99s: Vec<f64>,
    stopped: Stopped,
}

impl Account {
    fn new() -> Self {
        Self { times: times(), p99s: Vec::new(), stopped: Stopped::default() }
    }

    fn add(&mut self, round: &RefCell<Histogram<u64>>, stopped: Stopped) {
        self.times.borrow_mut().add(&*round.borrow()).unwrap();
        self.p99s.push(round.borrow().value_at_quantile(0.99) as f64);
        self.stopped.add(stopped);
    }
}

/// For how long the machine was stopped, in how long a time.
#[derive(Clone, Copy, Default)]
struct Stopped {
    stopped: Duration,
    time: Duration,
}

impl Stopped {
    /// During this future.
    async fn during<F: Future>(future: F) -> (F::Output, Self) {
        let (begun, before) = (Instant::now(), support::stopped());
        let output = future.await;
        (output, Self { stopped: support::stopped().saturating_sub(before), time: begun.elapsed() })
    }

    fn add(&mut self, more: Self) {
        self.stopped += more.stopped;
        self.time += more.time;
    }
}

impl std::fmt::Display for Stopped {
    /// In ms of each second.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.0}", self.stopped.as_secs_f64() / self.time.as_secs_f64() * 1000.0)
    }
}

/// One way to write at a rate, with all its rounds.
struct Way {
    name: &'static str,
    database: Database,
    account: Account,
    batches: Vec<f64>,
    /// Its p99 beside a COMMIT's median and p99, and beside the p99 of a thread behind a channel.
    ratios: [Vec<f64>; 3],
}

impl Way {
    fn print(&mut self, rate: f64) {
        let Account { times, p99s, stopped } = std::mem::replace(&mut self.account, Account::new());
        let ratios = self.ratios.each_mut().map(|all| match all.as_slice() {
            [] => "-".to_owned(),
            _ => format!("{:.2}", Spread::of(std::mem::take(all))),
        });
        println!(
            "| {rate:.0} | {} | {} | {:.0} | {} | {:.1} | {stopped} |",
            self.name,
            shown(&times),
            Spread::of(p99s),
            ratios.join(" | "),
            Spread::of(std::mem::take(&mut self.batches)).median
        );
    }
}

async fn open_loops(synchronous: Synchronous, length: Length, lines: &Lines, directory: &Path) {
    let plain = load::plain_connection(&directory.join(format!("plain-{synchronous:?}.db")), synchronous);
    let behind = load::plain_connection(&directory.join(format!("behind-{synchronous:?}.db")), synchronous);
    let channel = PlainThread::start(behind);
    let mut ways = Vec::new();
    for (name, linger) in [("auto", Linger::Auto), ("0ms", Linger::Fixed(Duration::ZERO))] {
        let path = directory.join(format!("{name}-{synchronous:?}.db"));
        let database = load::open(path, synchronous, linger).await;
        let ratios = std::array::from_fn(|_| Vec::new());
        ways.push(Way { name, database, account: Account::new(), batches: Vec::new(), ratios });
    }
    println!(
        "| writes/s | linger | p50 | p99 | p99.9 | max | p99 of the rounds | p99 / a COMMIT's p50 | p99 / its p99 | p99 / that behind a channel | writes a batch | stopped, ms/s |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let rate: f64 = support::variable("BENCH_RATE", 100.0);
    let commits = times();
    let mut all = All { ways, channel, behind: Account::new(), part: length.part, lines };
    for round in 0..length.rounds {
        let commit = paced_commits(&plain, rate, length.part, lines);
        commits.borrow_mut().add(&commit).unwrap();
        all.round(round, rate).await;
        let beside = [0.5, 0.99].map(|quantile| commit.value_at_quantile(quantile).max(1) as f64);
        for way in &mut all.ways {
            let p99 = way.account.p99s[round];
            for (ratios, beside) in way.ratios.iter_mut().zip(beside) {
                ratios.push(p99 / beside);
            }
        }
    }
    println!("| {rate:.0} | a COMMIT of a plain thread | {} | | | | | 1 | |", shown(&commits));
    all.print(rate);
    let mut half_rates = Vec::new();
    for round in 0..length.rounds {
        let half = load::insert_lines(&all.ways[0].database, 256, length.part / 3, lines).await.rate / 2.0;
        half_rates.push(half);
        // What is left of that in the log is not to be moved in somebody's round.
        actix_rt::time::sleep(Duration::from_secs(1)).await;
        all.round(round, half).await;
    }
    all.print(Spread::of(half_rates).median);
    for way in all.ways {
        way.database.shutdown().await;
    }
}

/// All that write at a rate, in turns.
struct All<'a> {
    ways: Vec<Way>,
    channel: PlainThread,
    behind: Account,
    part: Duration,
    lines: &'a Lines,
}

impl All<'_> {
    /// Each begins in its turn.
    async fn round(&mut self, number: usize, rate: f64) {
        let count = self.ways.len() + 1;
        for place in (0..count).map(|place| (place + number) % count) {
            if let Some(way) = self.ways.get_mut(place) {
                at_rate(way, rate, self.part, self.lines).await;
                continue;
            }
            let round = open_loop(rate, self.part, self.lines, |values| self.channel.insert(values));
            let (round, stopped) = Stopped::during(round).await;
            self.behind.add(&round, stopped);
        }
        for way in &mut self.ways {
            way.ratios[2].push(way.account.p99s[number] / self.behind.p99s[number]);
        }
    }

    fn print(&mut self, rate: f64) {
        let Account { times, p99s, stopped } = std::mem::replace(&mut self.behind, Account::new());
        println!(
            "| {rate:.0} | a plain thread behind a channel | {} | {:.0} | | | | | {stopped} |",
            shown(&times),
            Spread::of(p99s)
        );
        for way in &mut self.ways {
            way.print(rate);
        }
    }
}

/// One round of it.
async fn at_rate(way: &mut Way, rate: f64, time: Duration, lines: &Lines) {
    let before = way.database.status().writer;
    let database = &way.database;
    let round = open_loop(rate, time, lines, |values| {
        let database = database.clone();
        async move { drop(database.execute((INSERT, values)).await.unwrap()) }
    });
    let (round, stopped) = Stopped::during(round).await;
    let after = way.database.status().writer;
    let (writes, commits) = (after.committed - before.committed, after.commits - before.commits);
    way.batches.push(writes as f64 / commits.max(1) as f64);
    way.account.add(&round, stopped);
}

/// The least that is between an event loop and a COMMIT: a thread that commits what has come through a channel meanwhile, a
/// single row without a BEGIN of its own, and answers. What it costs to wake both up is in it.
struct PlainThread(mpsc::Sender<(Params, oneshot::Sender<Params>)>);

impl PlainThread {
    fn start(conn: actix_sqlite::rusqlite::Connection) -> Self {
        /// As `writer.max_batch_writes` says.
        const MOST: usize = 1000;
        let (sender, rows) = mpsc::channel::<(Params, oneshot::Sender<Params>)>();
        std::thread::spawn(move || {
            let [mut begin, mut insert, mut commit] =
                ["BEGIN IMMEDIATE", INSERT, "COMMIT"].map(|sql| conn.prepare(sql).unwrap());
            let mut batch = Vec::new();
            while let Ok(first) = rows.recv() {
                batch.push(first);
                batch.extend(rows.try_iter().take(MOST - 1));
                let is_group = batch.len() > 1;
                if is_group {
                    begin.execute([]).unwrap();
                }
                for (values, _) in &batch {
                    let Params::Positional(values) = values else {
                        unreachable!("they are made by position")
                    };
                    insert.execute(params_from_iter(values)).unwrap();
                }
                if is_group {
                    commit.execute([]).unwrap();
                }
                for (values, answer) in batch.drain(..) {
                    // Freed where they were made, as those of a write are.
                    let _ = answer.send(values);
                }
            }
        });
        Self(sender)
    }

    async fn insert(&self, values: Params) {
        let (answer, answered) = oneshot::channel();
        self.0.send((values, answer)).unwrap();
        drop(answered.await.unwrap());
    }
}

/// What an INSERT with its COMMIT costs a thread that does nothing else, and rests in between.
fn paced_commits(
    conn: &actix_sqlite::rusqlite::Connection,
    rate: f64,
    time: Duration,
    lines: &[AddMessageLog],
) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
    let mut insert = conn.prepare(INSERT).unwrap();
    let begun = Instant::now();
    let mut due = begun;
    let mut number = 0_u32;
    while due < begun + time {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let line = &lines[number as usize % lines.len()];
        // From when it begins: a thread that wakes up late is no part of a COMMIT.
        let woken = Instant::now();
        load::insert_line(&mut insert, line).unwrap();
        histogram.saturating_record(u64::try_from(woken.elapsed().as_micros()).unwrap());
        number += 1;
        due = begun + Duration::from_secs_f64(f64::from(number) / rate);
    }
    histogram
}

/// Tells what is due, when it is due, by its number and its time. From a thread of its own: the event loop's timer is no
/// finer than a millisecond. At a high rate it tells of several at once, each of which is late by a part of the pause: a
/// thread that wakes up for each would take a core for itself.
fn schedule(begun: Instant, rate: f64, time: Duration) -> UnboundedReceiver<Vec<(usize, Instant)>> {
    const PAUSE: Duration = Duration::from_micros(250);
    let (sender, schedule) = unbounded_channel();
    std::thread::spawn(move || {
        let dues = (0_u32..).map(|number| begun + Duration::from_secs_f64(f64::from(number) / rate));
        let mut dues = dues.take_while(|due| *due < begun + time).enumerate().peekable();
        let mut next = begun;
        while let Some((_, due)) = dues.peek() {
            std::thread::sleep(next.max(*due).saturating_duration_since(Instant::now()));
            let now = Instant::now();
            next = now + PAUSE;
            let group = std::iter::from_fn(|| dues.next_if(|(_, due)| *due <= now)).collect();
            if sender.send(group).is_err() {
                return;
            }
        }
    });
    schedule
}

/// Sends the rows that are due when they are due, whether or not those before are answered. How long each took.
///
/// All in one task: a task for each costs the event loop about as much as the write does.
async fn open_loop<W: Future<Output = ()>>(
    rate: f64,
    time: Duration,
    lines: &Lines,
    write: impl Fn(Params) -> W,
) -> Times {
    let times = times();
    let mut schedule = schedule(Instant::now(), rate, time);
    let mut under_way = FuturesUnordered::new();
    let mut is_over = false;
    while !is_over || !under_way.is_empty() {
        tokio::select! {
            group = schedule.recv(), if !is_over => {
                is_over = group.is_none();
                for (number, due) in group.into_iter().flatten() {
                    let answered = write(load::values(&lines[number % lines.len()]));
                    under_way.push(async move {
                        answered.await;
                        due.elapsed()
                    });
                }
            }
            Some(took) = under_way.next() => record(&times, took),
        }
    }
    times
}

async fn tickers(synchronous: Synchronous, length: Length, lines: &Lines, directory: &Path) {
    println!(
        "| callers | what they do | p50 | p99 | p99.9 | max | p99.9 of the rounds | ping: p50 | p99 | p99.9 | max | writes/s | stopped, ms/s |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let all_callers = support::variable("BENCH_CALLERS", "64,256,1024".to_owned());
    for callers in all_callers.split(',').map(|callers| callers.parse().unwrap()) {
        let path = directory.join(format!("ticker-{callers}-{synchronous:?}.db"));
        let database = load::open(path, synchronous, Linger::Auto).await;
        let rows = ["nothing", "write", "the same without a database"];
        let mut all = rows.map(|_| (times(), times(), Vec::new(), Vec::new(), Stopped::default()));
        load::insert_lines(&database, callers, length.part / 5, lines).await;
        for _ in 0..length.rounds {
            let mut batch = (1, Duration::ZERO);
            for (row, (total, pings, p999s, rates, stopped)) in all.iter_mut().enumerate() {
                let late = times();
                let ticker = actix_rt::spawn(tick(Rc::clone(&late)));
                let pinged = actix_rt::spawn(answer_pings(Rc::clone(pings), length.part));
                let (rate, meanwhile) = Stopped::during(async {
                    match row {
                        0 => {
                            actix_rt::time::sleep(length.part).await;
                            0.0
                        }
                        1 => {
                            let run = load::insert_lines(&database, callers, length.part, lines).await;
                            batch.0 = load::whole(run.batch).clamp(1, callers);
                            batch.1 = Duration::from_secs_f64(run.batch / run.rate);
                            run.rate
                        }
                        _ => without_a_database(callers, batch, length.part, lines).await,
                    }
                })
                .await;
                stopped.add(meanwhile);
                ticker.abort();
                pinged.await.unwrap();
                p999s.push(late.borrow().value_at_quantile(0.999) as f64);
                rates.push(rate);
                total.borrow_mut().add(&*late.borrow()).unwrap();
            }
        }
        for (what, (total, pings, p999s, rates, stopped)) in rows.iter().zip(all) {
            let (p999s, rate) = (Spread::of(p999s), Spread::of(rates).median);
            println!(
                "| {callers} | {what} | {} | {p999s:.0} | {} | {rate:.0} | {stopped} |",
                shown(&total),
                shown(&pings)
            );
        }
        database.shutdown().await;
    }
}

async fn tick(late: Times) {
    loop {
        let due = Instant::now() + Duration::from_millis(1);
        actix_rt::time::sleep_until(due.into()).await;
        record(&late, due.elapsed());
    }
}

/// Another thread says every millisecond what time it is.
async fn answer_pings(late: Times, time: Duration) {
    let mut pings = schedule(Instant::now(), 1000.0, time);
    while let Some(group) = pings.recv().await {
        for (_, sent) in group {
            record(&late, sent.elapsed());
        }
    }
}

/// The control: callers make their messages and wait for an answer to each. A thread takes them, and answers as many at
/// once as a batch had, as often as there was a batch.
async fn without_a_database(
    callers: usize,
    (batch, pause): (usize, Duration),
    time: Duration,
    lines: &Lines,
) -> f64 {
    let (sender, taken) = mpsc::channel::<(Params, oneshot::Sender<Params>)>();
    let answering = std::thread::spawn(move || {
        let mut due = Instant::now();
        let mut hand = Vec::new();
        while let Ok(first) = taken.recv() {
            hand.push(first);
            while hand.len() < batch
                && let Ok(next) = taken.recv_timeout(Duration::from_millis(1))
            {
                hand.push(next);
            }
            due = (due + pause).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // The message goes back, to be freed where it was made, as a write's does.
            for (message, answer) in hand.drain(..) {
                let _ = answer.send(message);
            }
        }
    });
    let (begun, done) = (Instant::now(), Rc::new(Cell::new(0_u32)));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (sender, lines, done) = (sender.clone(), Rc::clone(lines), Rc::clone(&done));
            actix_rt::spawn(async move {
                while begun.elapsed() < time {
                    let number = done.replace(done.get() + 1) as usize;
                    let (answer, answered) = oneshot::channel();
                    sender.send((load::values(&lines[number % lines.len()]), answer)).unwrap();
                    drop(answered.await);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = f64::from(done.get()) / begun.elapsed().as_secs_f64();
    drop(sender);
    answering.join().unwrap();
    rate
}
