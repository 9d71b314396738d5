//! The complaint this library was made for: 100 single messages a second, and what they do to the event loop of who sends
//! them.
//!
//! Three ways of logging each message durably (`synchronous=FULL`), one after the other in one run: through the daemon over
//! HTTP, through a `Database` in the process, and by a synchronous call on the event loop. Messages are sent on a schedule,
//! whether or not the ones before are answered, and the time of an acknowledgement counts from the schedule. Beside them a
//! ticker of 1 ms runs on the same loop; its largest delay is how long the loop was kept from its work. The first row logs
//! nothing: so late is the ticker on this machine anyway.
//!
//! On a fast disk no way of logging shows. So the last two ways run again on a disk that is made slower, by a VFS that waits
//! at each sync.
//!
//! `cargo bench --bench relay_rate`; `BENCH_SECONDS` (30), `BENCH_RATE` (100) and `BENCH_FSYNC_MS` (20) change it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what is wrong by failing")]

#[path = "support/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "shared with a bench that needs more of it")]
mod support;
#[allow(dead_code, reason = "a bench needs only its name and its delay")]
#[path = "../tests/storage/vfs/mod.rs"]
mod vfs;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_rt::net::TcpStream;
use actix_sqlite::relay::AddMessageLog;
use actix_sqlite::rusqlite::{Connection, OpenFlags, params};
use actix_sqlite::{Database, Settings};
use daemon::Server;
use futures_util::future::join_all;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One way to log a message; the future ends with the acknowledgement.
trait Way {
    fn log(&self, message: AddMessageLog) -> impl Future<Output = ()>;
}

fn main() {
    let part = support::Length::from_environment(1, 30.0).part;
    let rate: u32 = support::variable("BENCH_RATE", 100);
    let lines = support::chat_lines();
    let messages: Vec<_> = lines
        .iter()
        .take(usize::try_from(part.as_millis() * u128::from(rate) / 1000).unwrap())
        .cloned()
        .collect();
    let directory = support::scratch_directory().unwrap();
    println!("{} messages, {rate} a second, synchronous=FULL; in ms", messages.len());
    println!("| way | median | p99 | max | largest delay of a 1 ms ticker |");
    println!("|---|---|---|---|---|");
    actix_rt::System::new().block_on(async {
        let daemon = Server::daemon(&directory.path().join("daemon.db"), "full");
        let pool = Pool::new(&daemon.address);
        row("nothing is logged", measure(Rc::new(Nothing), &messages, rate).await);
        row("daemon over HTTP", measure(Rc::new(pool), &messages, rate).await);
        drop(daemon);
        for delay in [0, support::variable("BENCH_FSYNC_MS", 20)] {
            vfs::delay_syncs(Duration::from_millis(delay));
            let disk = if delay == 0 { String::new() } else { format!(", each fsync {delay} ms longer") };
            let path = |name: &str| directory.path().join(format!("{name}-{delay}.db"));
            let builder = Database::builder(Settings::for_file(path("embedded"))).vfs(vfs::NAME);
            let database = builder.open().await.unwrap();
            let measured = measure(Rc::new(database.clone()), &messages, rate).await;
            row(&format!("`Database` in the process{disk}"), measured);
            database.shutdown().await;
            let synchronous = Synchronous::open(&path("synchronous"));
            let measured = measure(Rc::new(synchronous), &messages, rate).await;
            row(&format!("synchronous call on the loop{disk}"), measured);
        }
    });
}

fn row(way: &str, (latencies, ticker): (Histogram<u64>, Duration)) {
    let ms = |micros: u64| format!("{:.2}", Duration::from_micros(micros).as_secs_f64() * 1e3);
    println!(
        "| {way} | {} | {} | {} | {:.1} |",
        ms(latencies.value_at_quantile(0.5)),
        ms(latencies.value_at_quantile(0.99)),
        ms(latencies.max()),
        ticker.as_secs_f64() * 1e3
    );
}

async fn measure<W: Way + 'static>(
    way: Rc<W>,
    messages: &[AddMessageLog],
    rate: u32,
) -> (Histogram<u64>, Duration) {
    let latencies = Rc::new(RefCell::new(Histogram::<u64>::new(3).unwrap()));
    let largest = Rc::new(Cell::new(Duration::ZERO));
    let ticker = actix_rt::spawn(tick(Rc::clone(&largest)));
    let begun = Instant::now();
    let mut under_way = Vec::new();
    for (number, message) in (0_u32..).zip(messages) {
        let scheduled = begun + Duration::from_secs(1) * number / rate;
        actix_rt::time::sleep_until(scheduled.into()).await;
        let (way, latencies, message) = (Rc::clone(&way), Rc::clone(&latencies), message.clone());
        under_way.push(actix_rt::spawn(async move {
            way.log(message).await;
            let micros = u64::try_from(scheduled.elapsed().as_micros()).unwrap();
            latencies.borrow_mut().record(micros).unwrap();
        }));
    }
    for ended in join_all(under_way).await {
        ended.unwrap();
    }
    ticker.abort();
    let latencies = latencies.borrow().clone();
    (latencies, largest.get())
}

/// How late the loop comes to what is due every millisecond.
async fn tick(largest: Rc<Cell<Duration>>) {
    loop {
        let due = Instant::now() + Duration::from_millis(1);
        actix_rt::time::sleep_until(due.into()).await;
        largest.set(largest.get().max(due.elapsed()));
    }
}

impl Way for Database {
    async fn log(&self, message: AddMessageLog) {
        assert!(self.add_message_log(message).await.unwrap().inserted);
    }
}

/// What the ticker shows by itself.
struct Nothing;

impl Way for Nothing {
    async fn log(&self, _: AddMessageLog) {}
}

/// What the relay did before: SQLite on the event loop.
struct Synchronous(Connection);

impl Synchronous {
    fn open(path: &Path) -> Self {
        let conn = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs::NAME).unwrap();
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
        conn.pragma_update(None, "synchronous", "full").unwrap();
        conn.execute_batch(
            "CREATE TABLE message_logs (id INTEGER PRIMARY KEY, message TEXT UNIQUE, content TEXT)",
        )
        .unwrap();
        Self(conn)
    }
}

impl Way for Synchronous {
    async fn log(&self, message: AddMessageLog) {
        let sql = "INSERT INTO message_logs (message, content) VALUES (?1, ?2)";
        let mut insert = self.0.prepare_cached(sql).unwrap();
        insert.execute(params![message.kook_message_id, message.content]).unwrap();
    }
}

/// Kept-alive connections; each message takes the free one that was used longest ago, or a new one.
struct Pool {
    address: String,
    free: RefCell<VecDeque<TcpStream>>,
}

impl Pool {
    fn new(address: &str) -> Self {
        Self { address: address.trim().to_owned(), free: RefCell::default() }
    }

    async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Way for Pool {
    async fn log(&self, message: AddMessageLog) {
        let free = self.free.borrow_mut().pop_front();
        let mut stream = match free {
            Some(stream) => stream,
            None => self.connect().await,
        };
        let body = serde_json::to_string(&message).unwrap();
        let head = format!(
            "POST /v1/message-logs HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The answer is one small piece with its length in the head.
        while !is_whole(&answer) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the daemon closed the connection");
        }
        assert!(answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer));
        self.free.borrow_mut().push_back(stream);
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.trim().parse::<usize>().unwrap())
}
