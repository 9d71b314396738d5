//! What can be seen only from outside of a process: signals, exit codes, memory. Each test starts this very binary
//! again, with only that test in it, as a daemon.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_sqlite::server::{ServeError, Server};
use serde_json::json;

use crate::client::{Answer, Client, log, one_at_a_time, settings_in, wait_until};
use crate::support::memory;

const DIRECTORY: &str = "ACTIX_SQLITE_TEST_DAEMON";

struct Process {
    child: Child,
    client: Client,
    directory: tempfile::TempDir,
}

/// In the child: the daemon, until it ends. In the parent: nothing.
fn be_the_daemon_if_told(before: impl FnOnce(&mut actix_sqlite::Settings)) {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut settings = settings_in(Path::new(&directory));
    one_at_a_time(&mut settings);
    before(&mut settings);
    let ended = actix_rt::System::new().block_on(async {
        let server = Server::bind(settings).await?;
        println!("\nlistening {}", server.addresses()[0]);
        server.run().await
    });
    println!("{ended:?}");
    std::process::exit(ended.map_or_else(|error: ServeError| error.exit_code(), |_| 0).into());
}

impl Process {
    fn start(test: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let url = output
            .by_ref()
            .lines()
            .find_map(|line| line.unwrap().strip_prefix("listening ").map(str::to_owned));
        // Read to the end, so that the child never waits for us.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { client: Client::new(&url.expect("the child listens")), child, directory }
    }

    fn signal(&self, name: &str) {
        // The shell has a kill of its own; a system may have no other.
        let sent =
            Command::new("sh").args(["-c", &format!("kill -s {name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn hold_the_file(&self) -> actix_sqlite::rusqlite::Connection {
        let conn = actix_sqlite::rusqlite::Connection::open(self.directory.path().join("test.db")).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn
    }

    /// Two writes: the writer has one in hand, the other waits for its turn.
    fn waiting_writes(&self) -> [JoinHandle<Result<Answer, ureq::Error>>; 2] {
        let writes = ["in hand", "queued"].map(|message| {
            let client = self.client.another();
            std::thread::spawn(move || client.try_send("POST", "/v1/message-logs", log(message).to_string()))
        });
        wait_until("one is in hand and one queued", || {
            let status = self.client.get("/v1/status").json();
            status["writer"]["in_hand"] == 1 && status["queue"]["length"] == 1
        });
        writes
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_ends_it_with_everything_answered() {
    be_the_daemon_if_told(|_| {});
    for signal in ["TERM", "INT"] {
        let mut process = Process::start("process::a_signal_ends_it_with_everything_answered");
        let held = process.hold_the_file();
        let writes = process.waiting_writes();
        process.signal(signal);
        wait_until("it is stopping", || process.client.get("/readyz").status == 503);
        drop(held);
        let begun = Instant::now();
        for write in writes {
            assert_eq!(write.join().unwrap().unwrap().status, 201);
        }
        assert_eq!(process.exit_code(), Some(0), "{signal}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    be_the_daemon_if_told(|_| {});
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut process = Process::start("process::a_second_signal_ends_it_at_once");
        let held = process.hold_the_file();
        let writes = process.waiting_writes();
        process.signal("TERM");
        wait_until("it is stopping", || process.client.get("/readyz").status == 503);
        process.signal(signal);
        assert_eq!(process.exit_code(), Some(code));
        for write in writes {
            assert!(write.join().unwrap().is_err(), "nobody said that it was committed");
        }
        drop(held);
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_database_that_failed_for_good_ends_it_with_an_error() {
    be_the_daemon_if_told(|settings| {
        settings.supervisor.max_restarts = 0;
        fail::cfg("query", "panic").unwrap();
    });
    let mut process = Process::start("process::a_database_that_failed_for_good_ends_it_with_an_error");
    let answer = process.client.try_send("POST", "/v1/query", json!({"sql": "SELECT 1"}).to_string());
    assert_ne!(answer.unwrap().status, 200);
    assert_eq!(process.exit_code(), Some(1));
}

#[cfg(target_os = "linux")]
#[test]
fn no_statement_takes_more_memory_than_sqlite_may() {
    const MIB: u64 = 1 << 20;
    be_the_daemon_if_told(|settings| settings.server.max_sqlite_memory = bytesize::ByteSize::mib(64));
    let process = Process::start("process::no_statement_takes_more_memory_than_sqlite_may");
    // Each value is within the bounds, and a row of them is built before its size is known.
    let wide = format!("SELECT {}", vec!["randomblob(15000000)"; 100].join(", "));
    let write = format!("INSERT INTO accounts (email, status) VALUES ('a', 'b') RETURNING {}", &wide[7..]);
    for (route, sql) in [("/v1/query", &wide), ("/v1/execute", &write)] {
        for _ in 0..12 {
            let answer = process.client.post(route, &json!({ "sql": sql }));
            assert_eq!(answer.problem(503), "storage");
            assert!(answer.text().contains("memory"), "{}", answer.text());
        }
    }
    let peak = memory(process.child.id(), "VmHWM").expect("Linux tells");
    assert!(peak < 256 * MIB, "{peak} bytes at its peak");
    // That was the statements' fault and no reason to restart anything.
    assert_eq!(process.client.post("/v1/message-logs", &log("goes on")).status, 201);
    let status = process.client.get("/v1/status").json();
    assert_eq!((&status["writer"]["restarts"], &status["readers"]["restarts"]), (&json!(0), &json!(0)));
    assert_eq!(
        process.client.post("/v1/query", &json!({"sql": "SELECT count(*) FROM accounts"})).json()["rows"],
        json!([[0]])
    );
}

#[test]
fn page_caches_leave_statements_the_memory_they_need() {
    be_the_daemon_if_told(|settings| {
        settings.server.max_sqlite_memory = bytesize::ByteSize::mib(32);
        settings.database.cache_size = bytesize::ByteSize::mib(64);
    });
    let process = Process::start("process::page_caches_leave_statements_the_memory_they_need");
    let post = |route: &str, sql: &str| process.client.post(route, &json!({ "sql": sql }));
    assert_eq!(post("/v1/execute", "CREATE TABLE pages (x)").status, 200);
    let fill = "INSERT INTO pages SELECT randomblob(3000) FROM
        (WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000) SELECT n FROM n)";
    let filled = post("/v1/execute", fill);
    assert_eq!(filled.status, 200, "{}", filled.text());
    // One cache after the other would have all of it.
    for _ in 0..8 {
        let all = post("/v1/query", "SELECT sum(length(x)) FROM pages");
        assert_eq!(all.status, 200, "{}", all.text());
        let one = post("/v1/query", "SELECT length(hex(randomblob(1000000)))");
        assert_eq!(one.status, 200, "{}", one.text());
    }
    let written = post("/v1/execute", "UPDATE pages SET x = hex(randomblob(500000)) WHERE rowid = 1");
    assert_eq!(written.status, 200, "{}", written.text());
}

/// As Linux counts it.
#[cfg(target_os = "linux")]
#[test]
fn long_imports_and_long_results_take_no_memory() {
    const MIB: u64 = 1 << 20;
    be_the_daemon_if_told(|_| {});
    let process = Process::start("process::long_imports_and_long_results_take_no_memory");
    let peak = || memory(process.child.id(), "VmHWM").expect("Linux tells");
    // The same long line again and again: a body of 96 MB of which one row stays.
    let mut line = log("long");
    line["content"] = json!("x".repeat(1_000_000));
    let (line, times) = (format!("{line}\n"), 96);
    assert_eq!(process.client.post("/v1/message-logs", &log("warm up")).status, 201);
    let before = peak();
    let body = ureq::SendBody::from_owned_reader(std::io::Cursor::new(line.repeat(times)));
    let report = process.client.send("POST", "/v1/message-logs/import", body).json();
    assert_eq!((&report["inserted"], &report["duplicates"]), (&json!(1), &json!(times - 1)));

    let series = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 60000)
                  SELECT i, printf('%01000d', i) AS padded FROM n";
    let csv = process.client.header("Accept", "text/csv").post("/v1/query", &json!({ "sql": series }));
    assert!(csv.body.len() as u64 > 57 * MIB);
    let grown = peak() - before;
    assert!(grown < 48 * MIB, "{grown} bytes more at its peak");
}
