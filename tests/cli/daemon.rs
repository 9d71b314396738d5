//! `serve` from its first line to its last, and what a client says of a daemon that is not there or not its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_sqlite::rusqlite::Connection;

use crate::on::{Daemon, PATIENCE, Place, Run, finish};

/// A daemon whose writer cannot go on, because somebody else holds the file's write lock.
struct Stuck {
    place: Place,
    daemon: Daemon,
    holder: Connection,
    waiting: Vec<JoinHandle<Run>>,
}

/// Writes that wait: one in the writer's hands, the others in the queue.
const WAITING: i64 = 4;

impl Stuck {
    fn new() -> Self {
        let place = Place::new();
        // Each write is a batch of its own, so that one is under way and the others are queued.
        let settings = [
            ("ACTIX_SQLITE__DATABASE__BUSY_TIMEOUT", "1m"),
            ("ACTIX_SQLITE__WRITER__MAX_BATCH_WRITES", "1"),
            ("ACTIX_SQLITE__SUPERVISOR__SHUTDOWN_TIMEOUT", "1m"),
        ];
        let daemon = Daemon::start_with(&place, |command| {
            command.envs(settings);
        });
        place.run(&["execute", "CREATE TABLE t (a)", "--url", &daemon.url]).ok();
        let holder = Connection::open(place.path("data.db")).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let insert = |value: i64| {
            let sql = format!("INSERT INTO t VALUES ({value})");
            let command = place.command(&["execute", &sql, "--url", &daemon.url]);
            std::thread::spawn(move || finish(command, b""))
        };
        let waiting = (0..WAITING).map(insert).collect();
        let stuck = Self { place, daemon, holder, waiting };
        stuck.until(|status| status["queue"]["length"].as_i64() >= Some(WAITING - 1));
        stuck
    }

    fn until(&self, reached: impl Fn(&serde_json::Value) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.place.run(&["status", "--url", &self.daemon.url]).json();
            if reached(&status) {
                return;
            }
            assert!(Instant::now() < end, "{status}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn rows(&self) -> i64 {
        self.holder.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn a_signal_drains_and_the_report_says_what_was_done() {
    for signal in ["-TERM", "-INT"] {
        let mut stuck = Stuck::new();
        stuck.daemon.signal(signal);
        stuck.daemon.says("stopping");
        stuck.holder.execute_batch("ROLLBACK").unwrap();
        for waiting in stuck.waiting.drain(..) {
            waiting.join().unwrap().ok();
        }
        let rows = stuck.rows();
        let (status, stderr) = stuck.daemon.wait();
        assert_eq!(status.code(), Some(0), "{stderr}");
        let report = stderr.lines().last().unwrap();
        assert!(
            report.contains(&format!("{WAITING} queued writes committed, 0 failed, 0 refused; files closed")),
            "{report}"
        );
        assert_eq!(rows, WAITING);
        stuck.place.run(&["check", "--database", "data.db"]).ok();
    }
}

#[test]
fn a_second_signal_ends_at_once_and_leaves_whole_writes_or_none() {
    let mut stuck = Stuck::new();
    stuck.daemon.signal("-TERM");
    stuck.daemon.says("stopping");
    stuck.daemon.signal("-TERM");
    let (status, stderr) = stuck.daemon.wait();
    assert_eq!(status.code(), Some(143), "{status:?} {stderr}");
    assert!(stderr.contains("\nerror: stopped at once by a second SIGTERM"), "{stderr}");
    for waiting in stuck.waiting.drain(..) {
        waiting.join().unwrap().fails_with(69, "whether it was executed is unknown");
    }
    assert_eq!(stuck.rows(), 0);
    drop(stuck.holder);
    stuck.place.run(&["check", "--database", "data.db"]).ok();
}

#[test]
fn files_that_are_not_closed_in_time_are_a_failure() {
    let place = Place::new();
    let mut daemon = Daemon::start_with(&place, |command| {
        command.envs([
            ("ACTIX_SQLITE__READERS__THREADS", "1"),
            ("ACTIX_SQLITE__SUPERVISOR__SHUTDOWN_TIMEOUT", "50ms"),
        ]);
    });
    // SQLite looks up from a statement between its steps, and this is one step of many minutes. One of the two is begun,
    // the other waits for it.
    let endless = "SELECT instr(zeroblob(14000000), CAST(zeroblob(7000000) || x'01' AS BLOB))";
    let asking = [(); 2].map(|()| {
        let command = place.command(&["query", endless, "--url", &daemon.url]);
        std::thread::spawn(move || finish(command, b""))
    });
    let end = Instant::now() + PATIENCE;
    while place.run(&["status", "--url", &daemon.url]).json()["readers"]["queue"]["length"] != 1 {
        assert!(Instant::now() < end, "the query does not begin");
    }
    daemon.signal("-TERM");
    let (status, stderr) = daemon.wait();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("\nerror: the files were not closed in time (supervisor.shutdown_timeout): "),
        "{stderr}"
    );
    for asking in asking {
        assert_ne!(asking.join().unwrap().code, Some(0));
    }
    place.run(&["check", "--database", "data.db"]).ok();
}

#[test]
fn an_address_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = Place::new().run(&["serve", "--database", "data.db", "--listen", &address]);
    run.fails_with(1, &format!("http://{address} is in use"));
}

#[test]
fn a_file_in_use_is_told() {
    let place = Place::new();
    let _daemon = Daemon::start(&place);
    let second = place.run(&["serve", "--database", "data.db", "--listen", "127.0.0.1:0"]);
    second.fails_with(1, "(code locked)");
    place.run(&["query", "SELECT 1", "--database", "data.db"]).fails_with(1, "(code locked)");
}

#[test]
fn nobody_there_is_69() {
    // Taken and given back, so that nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let place = Place::new();
    place.write("logs.ndjson", "{}\n");
    for arguments in [
        &["query", "SELECT 1"][..],
        &["execute", "SELECT 1"],
        &["status"],
        &["check"],
        &["import", "logs.ndjson"],
        &["dead-letters", "list"],
        &["dead-letters", "retry", "--all"],
        &["dead-letters", "expire", "--all"],
    ] {
        let run = place.run(&[arguments, &["--url", &url]].concat());
        run.fails_with(69, &format!("error: cannot reach {url}: Connection refused"));
    }
    place
        .run(&["status", "--url", "http://nobody.invalid"])
        .fails_with(69, "cannot reach http://nobody.invalid");
}

/// Answers one request with this, and closes.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer);
    });
    url
}

#[test]
fn a_broken_connection_says_what_to_do() {
    let place = Place::new();
    let cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"a\":1}\n\r\n";
    let run = place.run(&["query", "SELECT 1", "--url", &answering(cut)]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(69), "{\"a\":1}\n"));
    assert!(run.stderr.contains("lost the connection") && run.stderr.contains("try again"), "{run:?}");
    for half in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"rows_affected\":"] {
        let run = place.run(&["execute", "DELETE FROM t", "--url", &answering(half)]);
        run.fails_with(69, "whether it was executed is unknown");
    }
    for (order, advice) in [("retry", "list them"), ("expire", "run it again")] {
        let run = place.run(&["dead-letters", order, "--all", "--url", &answering(b"")]);
        run.fails_with(69, advice);
    }
    let run = place.run(&["execute", "DELETE FROM t", "--key", "k", "--url", &answering(b"")]);
    run.fails_with(69, "send it again under the same key");
}

#[test]
fn what_is_no_daemon_is_told() {
    let place = Place::new();
    for answer in [
        &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\n\r\noops!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\noops!",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        place.run(&["status", "--url", &answering(answer)]).fails_with(1, "is it an actix-sqlite daemon");
    }
}

#[test]
fn a_token_is_taken_from_the_environment_and_never_shown() {
    let place = Place::new();
    let mut daemon = Daemon::start_with(&place, |command| {
        command.env("ACTIX_SQLITE__AUTH__ADMIN_TOKEN", "hunter2");
    });
    place.write("logs.ndjson", format!("{}\n", "x".repeat(1 << 22)));
    let ask = |arguments: &[&str], token: &str| {
        let mut command = place.command(&[arguments, &["--url", &daemon.url]].concat());
        command.env("ACTIX_SQLITE_TOKEN", token);
        finish(command, b"")
    };
    ask(&["query", "SELECT 1 AS one"], "hunter2").ok();
    for token in ["", "hunter3"] {
        for arguments in [&["query", "SELECT 1"][..], &["execute", "SELECT 1"], &["status"], &["check"]] {
            ask(arguments, token).fails_with(1, "(code unauthorized)");
        }
        // A body that the daemon does not want to read must not hide its answer.
        ask(&["import", "logs.ndjson"], token).fails_with(1, "(code unauthorized)");
    }
    daemon.signal("-TERM");
    let (_, stderr) = daemon.wait();
    assert!(!stderr.contains("hunter"), "{stderr}");
}

#[test]
fn the_log_is_text_or_json_and_on_stderr() {
    let place = Place::new();
    let mut daemon = Daemon::start_with(&place, |command| {
        command.env("ACTIX_SQLITE__TELEMETRY__FORMAT", "json");
    });
    daemon.signal("-TERM");
    let (_, stderr) = daemon.wait();
    let events: Vec<serde_json::Value> =
        stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(events.iter().any(|event| event["fields"]["message"] == "stopped"), "{stderr}");
}

#[test]
fn what_strangers_send_is_not_logged_unless_asked_for() {
    for (filter, logged) in [("info", false), ("", false), ("info,actix_http=error", true)] {
        let place = Place::new();
        let mut daemon = Daemon::start_with(&place, |command| {
            command.env("ACTIX_SQLITE__TELEMETRY__FILTER", filter);
        });
        let mut stranger = TcpStream::connect(daemon.url.trim_start_matches("http://")).unwrap();
        stranger.write_all(b"no HTTP\r\n\r\n").unwrap();
        let mut answer = String::new();
        stranger.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        daemon.signal("-TERM");
        let (_, stderr) = daemon.wait();
        assert_eq!(stderr.contains("actix_http"), logged, "{filter}: {stderr}");
        assert_eq!(stderr.contains("stopping"), filter.contains("info"), "{filter}: {stderr}");
    }
}
