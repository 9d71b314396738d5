//! What a write costs when the file has grown: message logs added to a file of `BENCH_ROWS` rows beside one of
//! `BENCH_FEW_ROWS`, through the library and by a plain loop with batches of the size ours had.
//!
//! Both files are made once, outside of the measured time, and copied: the same one for ours and for plain. Keys are spread
//! evenly, so a new row's place in the unique index is anywhere in it; of the five other indexes only those by time and by
//! few distinct values grow at their ends.
//!
//! Then the reasons: how deep the trees are and how large; and for a row of the plain loop, with the same cache as ours
//! (8 MiB), how many pages it looked at, how many of them were not in the cache, how many it wrote to the log, and how much
//! of the time went into checkpoints. What ours reads and writes is counted by the system, for both alike.
//!
//! `BENCH_ROWS=10000000 cargo bench --bench growth` (it takes 10 GiB in `BENCH_DIR`); `BENCH_ROWS` (1000000),
//! `BENCH_FEW_ROWS` (100000), `BENCH_ROUNDS` (5), `BENCH_SECONDS` (2), `BENCH_CALLERS` (256), `BENCH_DIR`.
#![allow(clippy::unwrap_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "support/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with benches that need more of it")]
mod support;

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::rusqlite::{Connection, ffi};
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{Database, Linger};
use load::Lines;
use support::{Length, Spread};

/// A size of the file, with what was measured on it.
struct Size {
    rows: usize,
    ours: Database,
    plain: Connection,
    our_rates: Vec<f64>,
    plain_rates: Vec<f64>,
    batches: Vec<f64>,
    our_bytes: Vec<(f64, f64)>,
    plain_bytes: Vec<(f64, f64)>,
    costs: Costs,
    /// Numbers the messages, so that none comes twice.
    next: usize,
}

/// What rows of the plain loop cost, all together.
#[derive(Clone, Copy, Default)]
struct Costs {
    rows: f64,
    hits: f64,
    misses: f64,
    written: f64,
    seconds: f64,
    in_checkpoints: f64,
    checkpoints: f64,
}

fn main() {
    let length = Length::from_environment(5, 2.0);
    let serious = std::env::args().any(|argument| argument == "--bench");
    let many = support::variable("BENCH_ROWS", if serious { 1_000_000 } else { 5_000 });
    let few = support::variable("BENCH_FEW_ROWS", if serious { 100_000 } else { 1_000 });
    let callers = support::variable("BENCH_CALLERS", 256);
    let (lines, directory) = (support::chat_lines(), support::scratch_directory().unwrap());
    println!(
        "{callers} callers, synchronous=FULL; {} rounds of {:?} in turns; median (least to most)",
        length.rounds, length.part
    );
    actix_rt::System::new().block_on(async {
        let mut sizes = Vec::new();
        for rows in [few, many] {
            sizes.push(Size::made(rows, directory.path()).await);
        }
        for size in &mut sizes {
            size.round(callers, length.part / 4, &lines).await;
            size.forget();
        }
        for round in 0..length.rounds {
            for place in [round % 2, (round + 1) % 2] {
                sizes[place].round(callers, length.part, &lines).await;
            }
        }
        show(&sizes);
        for size in sizes {
            size.ours.shutdown().await;
        }
    });
}

fn show(sizes: &[Size]) {
    println!("\n| rows | ours, writes/s | plain, writes/s | ours / plain | writes a batch |");
    println!("|--:|--:|--:|--:|--:|");
    let ratio = |some: &[f64], others: &[f64]| Spread::of(some.iter().zip(others).map(|(a, b)| a / b));
    let spread = |all: &[f64]| Spread::of(all.iter().copied());
    for size in sizes {
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.0} |",
            size.rows,
            spread(&size.our_rates),
            spread(&size.plain_rates),
            ratio(&size.our_rates, &size.plain_rates),
            spread(&size.batches).median
        );
    }
    let [few, many] = sizes else { return };
    println!(
        "| {} / {} | {:.2} | {:.2} | | |",
        many.rows,
        few.rows,
        ratio(&many.our_rates, &few.our_rates),
        ratio(&many.plain_rates, &few.plain_rates)
    );
    println!("\n| rows | tree | depth | pages |");
    println!("|--:|---|--:|--:|");
    for size in sizes {
        trees(size);
    }
    println!(
        "\n| rows | pages looked at a row | not in the cache | written to the log | checkpoints, share of the time | time of one, ms | bytes written a row: ours, plain | bytes read a row: ours, plain |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    for size in sizes {
        let Costs { rows, hits, misses, written, seconds, in_checkpoints, checkpoints } = size.costs;
        let middle = |all: &[(f64, f64)], one: fn(&(f64, f64)) -> f64| Spread::of(all.iter().map(one)).median;
        println!(
            "| {} | {:.1} | {:.2} | {:.2} | {:.2} | {:.1} | {:.0}, {:.0} | {:.0}, {:.0} |",
            size.rows,
            (hits + misses) / rows,
            misses / rows,
            written / rows,
            in_checkpoints / seconds,
            in_checkpoints / checkpoints.max(1.0) * 1e3,
            middle(&size.our_bytes, |bytes| bytes.1),
            middle(&size.plain_bytes, |bytes| bytes.1),
            middle(&size.our_bytes, |bytes| bytes.0),
            middle(&size.plain_bytes, |bytes| bytes.0),
        );
    }
}

fn trees(size: &Size) {
    let sql = "SELECT name, max(length(path) - length(replace(path, '/', ''))), count(*)
               FROM dbstat WHERE name LIKE '%message_logs%' AND pagetype <> 'overflow' GROUP BY name ORDER BY name";
    let mut trees = size.plain.prepare(sql).unwrap();
    let mut trees = trees.query([]).unwrap();
    while let Some(tree) = trees.next().unwrap() {
        let (name, depth, pages): (String, i64, i64) =
            (tree.get(0).unwrap(), tree.get(1).unwrap(), tree.get(2).unwrap());
        println!("| {} | {name} | {depth} | {pages} |", size.rows);
    }
}

impl Size {
    async fn made(rows: usize, directory: &Path) -> Self {
        let [ours, plain] = ["ours", "plain"].map(|name| directory.join(format!("{name}-{rows}.db")));
        let begun = Instant::now();
        load::open(ours.clone(), Synchronous::Off, Linger::Auto).await.shutdown().await;
        fill(&ours, rows);
        std::fs::copy(&ours, &plain).unwrap();
        let bytes = std::fs::metadata(&ours).unwrap().len();
        println!("{rows} rows, {:.1} MiB, made in {:.0?}", bytes as f64 / 1_048_576.0, begun.elapsed());
        let conn = load::plain_connection(&plain, Synchronous::Full);
        // As the writer does it: when the log is long enough, after a COMMIT.
        conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        Self {
            rows,
            ours: load::open(ours, Synchronous::Full, Linger::Auto).await,
            plain: conn,
            our_rates: Vec::new(),
            plain_rates: Vec::new(),
            batches: Vec::new(),
            our_bytes: Vec::new(),
            plain_bytes: Vec::new(),
            costs: Costs::default(),
            next: 0,
        }
    }

    async fn round(&mut self, callers: usize, time: Duration, lines: &Lines) {
        let (door, messages, first) = (self.ours.clone(), Rc::clone(lines), self.next);
        let before = bytes_of_process();
        let run = load::closed_loop(&self.ours, callers, time, move |n| {
            let (message, door) = (spread_out(&messages, first + n), door.clone());
            async move { door.add_message_log(message).await.map(|_| ()) }
        })
        .await;
        self.our_bytes.push(each(before, run.writes));
        self.our_rates.push(run.rate);
        self.batches.push(run.batch);
        let batch = load::whole(run.batch).max(1);
        let before = bytes_of_process();
        let rows = self.costs.rows;
        let rate = self.plain_loop(batch, time, lines);
        self.plain_rates.push(rate);
        self.plain_bytes.push(each(before, self.costs.rows - rows));
        self.next += load::whole(run.writes + self.costs.rows - rows);
    }

    fn plain_loop(&mut self, batch: usize, time: Duration, lines: &[AddMessageLog]) -> f64 {
        /// In pages, as the library's setting has it.
        const LONG: f64 = 1016.0;
        let conn = &self.plain;
        let mut begin = conn.prepare("BEGIN IMMEDIATE").unwrap();
        let mut commit = conn.prepare("COMMIT").unwrap();
        let mut insert = conn.prepare(load::INSERT_MESSAGE_LOG).unwrap();
        let costs = &mut self.costs;
        let (begun, mut rows, mut in_log) = (Instant::now(), 0, 0.0);
        while begun.elapsed() < time {
            begin.execute([]).unwrap();
            for _ in 0..batch {
                load::insert_message(&mut insert, &spread_out(lines, self.next + rows));
                rows += 1;
            }
            commit.execute([]).unwrap();
            costs.hits += take(conn, ffi::SQLITE_DBSTATUS_CACHE_HIT);
            costs.misses += take(conn, ffi::SQLITE_DBSTATUS_CACHE_MISS);
            let written = take(conn, ffi::SQLITE_DBSTATUS_CACHE_WRITE);
            costs.written += written;
            in_log += written;
            if in_log >= LONG {
                let begun = Instant::now();
                conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
                costs.in_checkpoints += begun.elapsed().as_secs_f64();
                costs.checkpoints += 1.0;
                in_log = 0.0;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        costs.seconds += seconds;
        costs.rows += rows as f64;
        rows as f64 / seconds
    }

    /// After the first round: caches are filled by it.
    fn forget(&mut self) {
        self.costs = Costs::default();
        self.our_rates.clear();
        self.plain_rates.clear();
        self.batches.clear();
        self.our_bytes.clear();
        self.plain_bytes.clear();
    }
}

/// The n-th message, with a key whose place among all keys is anywhere.
fn spread_out(lines: &[AddMessageLog], n: usize) -> AddMessageLog {
    let mut message = lines[n % lines.len()].clone();
    message.kook_message_id = format!("{:016x}", (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1);
    message
}

/// Rows in order of their keys, which are evenly spread; the indexes are made afterwards, from sorted rows.
fn fill(path: &Path, rows: usize) {
    let conn = Connection::open(path).unwrap();
    // No journal at all: what goes wrong here is begun anew.
    conn.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF").unwrap();
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1048576").unwrap();
    let indexes: Vec<(String, String)> = conn
        .prepare("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'message_logs' AND type = 'index' AND sql IS NOT NULL")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    conn.execute_batch("BEGIN").unwrap();
    for (name, _) in &indexes {
        conn.execute_batch(&format!("DROP INDEX {name}")).unwrap();
    }
    // In the lower half, as integers have a sign; none of those to come ends like these.
    let apart = i64::MAX / i64::try_from(rows.max(1)).unwrap();
    conn.execute(
        "WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < ?1)
         INSERT INTO message_logs (kook_message_id, kook_channel_id, content, message_type, sender_name, target_platform,
             target_channel, status, latency_ms, created_at)
         SELECT printf('%016x-', n * ?2), 'channel-' || (n % 50),
             substr('the server is back again since this morning, and nobody knows why it went away', 1, 20 + n * 7 % 59),
             'text', 'sender' || (n * 31 % 997),
             CASE n % 3 WHEN 0 THEN 'discord' WHEN 1 THEN 'telegram' ELSE 'feishu' END, 'target-' || (n % 50),
             CASE n % 20 WHEN 0 THEN 'failed' ELSE 'success' END, n % 400,
             strftime('%Y-%m-%dT%H:%M:%fZ', 1700000000 + n / 10, 'unixepoch')
         FROM counted",
        (i64::try_from(rows).unwrap(), apart),
    )
    .unwrap();
    for (_, sql) in &indexes {
        conn.execute_batch(sql).unwrap();
    }
    conn.execute_batch("COMMIT").unwrap();
    conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
}

/// A count of the connection's, which begins anew.
#[allow(unsafe_code, reason = "rusqlite has no safe form of sqlite3_db_status")]
fn take(conn: &Connection, what: i32) -> f64 {
    let (mut now, mut most) = (0, 0);
    // SAFETY: the handle belongs to `conn`, which lives throughout the call and is used by this thread only.
    let code = unsafe { ffi::sqlite3_db_status(conn.handle(), what, &raw mut now, &raw mut most, 1) };
    assert_eq!(code, ffi::SQLITE_OK);
    f64::from(now)
}

/// What this process has read and written by system calls so far, in bytes.
fn bytes_of_process() -> (f64, f64) {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = |name| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    (field("rchar:").unwrap_or(f64::NAN), field("wchar:").unwrap_or(f64::NAN))
}

fn each(before: (f64, f64), writes: f64) -> (f64, f64) {
    let now = bytes_of_process();
    ((now.0 - before.0) / writes, (now.1 - before.1) / writes)
}
