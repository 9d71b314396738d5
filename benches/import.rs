//! An import of NDJSON beside inserts batched by hand: the same lines into the same table with the same indexes.
//!
//! Imports: `POST /v1/message-logs/import` to the daemon, the command line's `import` on a daemon and on a file (the whole
//! process, from its start to its end), and `relay::Import` in this process. Each line is a write of its own for them: it is
//! checked, and rejected alone if it is wrong.
//!
//! By hand: one thread with a plain connection, a prepared INSERT, transactions of 1000 rows, that checks nothing. Once with
//! the same JSON parsed into the same struct, line by line; and once with the structs ready, so that it does nothing but
//! insert.
//!
//! Every part has a new file. `cargo bench --bench import`; `BENCH_ROUNDS` (5), `BENCH_ROWS` (50000), `BENCH_ONLY` (a part
//! of a way's name; the plain ones always run), `BENCH_DIR`, `ACTIX_SQLITE_CHAT`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench says what is wrong by failing")]
#![allow(clippy::cast_precision_loss, reason = "far fewer rows than 2^52")]

#[path = "support/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "shared with benches that need more of it")]
#[path = "support/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with benches that need more of it")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use actix_sqlite::Linger;
use actix_sqlite::relay::{AddMessageLog, Import};
use actix_sqlite::rusqlite::Connection;
use actix_sqlite::settings::Synchronous;
use daemon::Server;
use support::{Length, Spread};

const BINARY: &str = env!("CARGO_BIN_EXE_actix-sqlite");
const BY_HAND: usize = 1_000;

/// What is imported: in a file, as bytes, and ready to be inserted.
struct Input {
    file: std::path::PathBuf,
    bytes: Vec<u8>,
    messages: Vec<AddMessageLog>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Parsed,
    Ready,
    Http,
    CommandOnDaemon,
    CommandOnFile,
    InProcess,
}

impl Way {
    const ALL: [Self; 6] =
        [Self::Parsed, Self::Ready, Self::Http, Self::CommandOnDaemon, Self::CommandOnFile, Self::InProcess];

    fn name(self) -> &'static str {
        match self {
            Self::Parsed => "by hand, parsing included",
            Self::Ready => "by hand, without parsing",
            Self::Http => "daemon, `POST /v1/message-logs/import`",
            Self::CommandOnDaemon => "`import --url`",
            Self::CommandOnFile => "`import --database`",
            Self::InProcess => "`relay::Import` in the process",
        }
    }

    /// Rows a second, all of them committed.
    async fn run(self, synchronous: Synchronous, input: &Input, directory: &Path) -> f64 {
        let path = directory.join("import.db");
        let begun = match self {
            Self::Parsed | Self::Ready => {
                let conn = empty(&path, synchronous).await;
                let begun = Instant::now();
                if self == Self::Ready {
                    by_hand(&conn, input.messages.iter());
                } else {
                    let lines = input.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                    by_hand(&conn, lines.map(|line| serde_json::from_slice::<AddMessageLog>(line).unwrap()));
                }
                begun
            }
            Self::Http | Self::CommandOnDaemon => {
                let daemon = Server::daemon(&path, synchronous.name());
                let begun = Instant::now();
                if self == Self::Http {
                    post(&daemon.address, &input.bytes);
                } else {
                    let url = format!("http://{}", daemon.address);
                    command(&["--url", &url], synchronous, &input.file);
                }
                begun
            }
            Self::CommandOnFile => {
                let begun = Instant::now();
                command(&["--database", path.to_str().unwrap()], synchronous, &input.file);
                begun
            }
            Self::InProcess => {
                let database = load::open(path.clone(), synchronous, Linger::Auto).await;
                let begun = Instant::now();
                let mut import = Import::new(database.clone(), 1 << 20);
                for piece in input.bytes.chunks(64 * 1024) {
                    import.feed(piece).await.unwrap();
                }
                let report = import.finish().await.unwrap();
                let rate = report.inserted as f64 / begun.elapsed().as_secs_f64();
                database.shutdown().await;
                check(&path, input.messages.len());
                return rate;
            }
        };
        let rate = input.messages.len() as f64 / begun.elapsed().as_secs_f64();
        check(&path, input.messages.len());
        rate
    }
}

fn main() {
    let length = Length::from_environment(5, 1.0);
    let serious = std::env::args().any(|argument| argument == "--bench");
    let rows = support::variable("BENCH_ROWS", if serious { 50_000 } else { 2_000 });
    let only = support::variable("BENCH_ONLY", String::new());
    let place = support::scratch_directory().unwrap();
    let input = input(rows, place.path());
    println!(
        "{rows} lines, {} bytes; {} rounds in turns; median (least to most)",
        input.bytes.len(),
        length.rounds
    );
    let ways: Vec<Way> = Way::ALL
        .into_iter()
        .enumerate()
        .filter(|(n, way)| *n < 2 || way.name().contains(&only))
        .map(|(_, way)| way)
        .collect();
    actix_rt::System::new().block_on(async {
        for (name, synchronous) in load::BOTH {
            let mut rates = vec![Vec::new(); ways.len()];
            for round in 0..length.rounds {
                // Each begins in its turn.
                for one in (0..ways.len()).map(|one| (one + round) % ways.len()) {
                    let directory = tempfile::tempdir_in(place.path()).unwrap();
                    let rate = ways[one].run(synchronous, &input, directory.path()).await;
                    rates[one].push(rate);
                }
            }
            println!("\nsynchronous={name}");
            println!("| way | rows/s | / by hand, parsing included | / by hand, without parsing |");
            println!("|---|--:|--:|--:|");
            for (way, own) in ways.iter().zip(&rates) {
                let to = |other: &[f64]| Spread::of(own.iter().zip(other).map(|(own, other)| own / other));
                let all = Spread::of(own.iter().copied());
                println!("| {} | {all:.0} | {:.2} | {:.2} |", way.name(), to(&rates[0]), to(&rates[1]));
            }
        }
    });
}

fn input(rows: usize, directory: &Path) -> Input {
    let lines = support::chat_lines();
    let messages: Vec<_> = (0..rows).map(|n| load::message(&lines, n)).collect();
    let mut bytes = Vec::new();
    for message in &messages {
        serde_json::to_writer(&mut bytes, message).unwrap();
        bytes.push(b'\n');
    }
    let file = directory.join("import.ndjson");
    std::fs::write(&file, &bytes).unwrap();
    Input { file, bytes, messages }
}

/// A file with the tables, as the library makes them.
async fn empty(path: &Path, synchronous: Synchronous) -> Connection {
    let database = load::open(path.to_owned(), synchronous, Linger::Auto).await;
    database.shutdown().await;
    load::plain_connection(path, synchronous)
}

fn by_hand<M: std::borrow::Borrow<AddMessageLog>>(conn: &Connection, messages: impl Iterator<Item = M>) {
    let mut begin = conn.prepare("BEGIN IMMEDIATE").unwrap();
    let mut commit = conn.prepare("COMMIT").unwrap();
    let mut insert = conn.prepare(load::INSERT_MESSAGE_LOG).unwrap();
    for (number, message) in messages.enumerate() {
        if number % BY_HAND == 0 {
            if number > 0 {
                commit.execute([]).unwrap();
            }
            begin.execute([]).unwrap();
        }
        load::insert_message(&mut insert, message.borrow());
    }
    commit.execute([]).unwrap();
}

fn check(path: &Path, rows: usize) {
    let conn = Connection::open(path).unwrap();
    let count: i64 = conn.query_row("SELECT count(*) FROM message_logs", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(count).unwrap(), rows);
}

fn command(target: &[&str], synchronous: Synchronous, file: &Path) {
    let ended = Command::new(BINARY)
        .args(target)
        .arg("import")
        .arg(file)
        .env("ACTIX_SQLITE__DATABASE__SYNCHRONOUS", synchronous.name())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(ended.success());
}

fn post(address: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/message-logs/import HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"rejected\":0"), "{answer}");
}
