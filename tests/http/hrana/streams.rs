//! Streams over HTTP: batons, what is kept between requests, and when it is let go of.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::client::{one_at_a_time, wait_until};
use crate::support::memory;

fn get_autocommit() -> Value {
    json!({"type": "get_autocommit"})
}

#[test]
fn a_stream_is_found_again_by_its_baton_and_each_is_new() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 3);
    let mut seen = std::collections::BTreeSet::new();
    stream.execute("BEGIN");
    for number in 0..10 {
        assert!(seen.insert(stream.baton.as_str().unwrap().to_owned()));
        stream.execute(&format!("INSERT INTO t VALUES ({number})"));
    }
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 0);
    stream.execute("COMMIT");
    stream.pipeline(&[close()]);
    assert_eq!(stream.baton, Value::Null);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 10);
}

#[test]
fn a_baton_that_is_not_the_last_one_is_refused_and_the_stream_goes_on() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 3);
    stream.execute("BEGIN");
    let old = stream.baton.clone();
    stream.execute("SELECT 1");
    let good = std::mem::replace(&mut stream.baton, old);
    assert_eq!(refused(&stream.try_pipeline(&[execute("SELECT 2")]), 400), "BATON_REUSED");
    stream.baton = good.clone();
    assert_eq!(stream.ask(get_autocommit())["is_autocommit"], false);
    let last = stream.baton.clone();
    stream.pipeline(&[close()]);
    for gone in [good, last] {
        stream.baton = gone;
        assert_eq!(refused(&stream.try_pipeline(&[execute("SELECT 2")]), 400), "BATON_INVALID");
    }
}

#[test]
fn a_forged_baton_finds_nothing() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    stream.execute("SELECT 1");
    let good = stream.baton.as_str().unwrap().to_owned();
    let mut forged = vec![
        String::new(),
        "x".into(),
        "AAAA".into(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{good}="),
        format!("A{}", &good[1..]),
        good.to_ascii_lowercase(),
        "ü".into(),
        "\0".into(),
        "A".repeat(43),
        "A".repeat(100_000),
    ];
    // Each character of it counts.
    forged.extend((0..good.len()).map(|place| {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }));
    for baton in forged.into_iter().filter(|forged| *forged != good) {
        stream.baton = json!(baton);
        let answer = stream.try_pipeline(&[execute("SELECT 1")]);
        let code = refused(&answer, 400);
        assert!(["BATON_INVALID", "BATON_REUSED"].contains(&code.as_str()), "{baton}: {code}");
    }
    stream.baton = json!(good);
    stream.execute("SELECT 1");
}

#[test]
fn two_requests_at_once_on_one_stream_are_one_too_many() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    stream.execute("SELECT 1");
    let body = json!({"baton": stream.baton, "requests": [execute(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT max(i) FROM n"
    )]});
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || daemon.client.another().post("/v2/pipeline", &body);
        let both = [scope.spawn(ask), scope.spawn(ask)];
        both.map(|one| one.join().unwrap()).into()
    });
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((good.len(), bad.len()), (1, 1));
    assert_eq!(refused(&bad[0], 400), "BATON_REUSED");
    stream.baton = good[0].json()["baton"].clone();
    stream.execute("SELECT 1");
}

#[test]
fn nothing_follows_a_close() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let stream = Stream::open(&daemon, 2);
    let requests = [execute("INSERT INTO t VALUES (1)"), close(), execute("INSERT INTO t VALUES (2)")];
    assert_eq!(refused(&stream.try_pipeline(&requests), 400), "STREAM_CLOSED");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 0);
}

#[test]
fn a_stream_that_nobody_asks_for_expires_and_its_transaction_is_rolled_back() {
    let daemon = Daemon::with(|settings| {
        settings.server.hrana.stream_idle_timeout = Duration::from_secs(1);
        // Nothing else ends it within this test.
        settings.writer.lease_timeout = Duration::from_mins(10);
    });
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 3);
    stream.execute("BEGIN IMMEDIATE");
    // Whoever keeps asking keeps it. It is time itself that is tested, with room for a busy machine.
    for number in 0..5 {
        std::thread::sleep(Duration::from_millis(250));
        stream.execute(&format!("INSERT INTO t VALUES ({number})"));
    }
    assert_eq!(daemon.execute("INSERT INTO t VALUES (99)")["rows_affected"], 1);
    assert_eq!(daemon.scalar("SELECT group_concat(a) FROM t"), "99");
    assert_eq!(refused(&stream.try_pipeline(&[execute("COMMIT")]), 400), "STREAM_EXPIRED");
}

#[test]
fn what_closes_in_its_first_request_needs_no_place() {
    let daemon = Daemon::with(|settings| settings.server.hrana.max_streams = 1.try_into().unwrap());
    let mut kept = Stream::open(&daemon, 2);
    kept.execute("SELECT 1");
    let mut short = Stream::open(&daemon, 2);
    short.pipeline(&[execute("SELECT 1"), close()]);
    let answer = short.try_pipeline(&[execute("SELECT 1")]);
    assert_eq!(refused(&answer, 503), "STREAMS_TOO_MANY");
    assert_eq!(answer.header("retry-after"), "1");
    kept.pipeline(&[close()]);
    short.execute("SELECT 1");
}

#[test]
fn thousands_of_idle_streams_cost_little_and_keep_nobody_from_writing() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let before = memory(std::process::id(), "VmRSS");
    let mut streams: Vec<_> = (0..2_000).map(|_| Stream::open(&daemon, 3)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        let stored = json!({"type": "store_sql", "sql_id": 1, "sql": "INSERT INTO t VALUES (1)"});
        stream.pipeline(&[stored]);
        if number % 100 == 0 {
            daemon.execute("INSERT INTO t VALUES (2)");
        }
    }
    if let (Some(before), Some(after)) = (before, memory(std::process::id(), "VmRSS")) {
        assert!(after.saturating_sub(before) < 64 << 20, "{before} became {after}");
    }
    for stream in streams.iter_mut().step_by(97) {
        stream.ask(json!({"type": "execute", "stmt": {"sql_id": 1}}));
    }
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 20 + 21);
}

#[test]
fn streams_that_are_abandoned_make_room() {
    let daemon = Daemon::with(|settings| {
        settings.server.hrana.max_streams = 50.try_into().unwrap();
        settings.server.hrana.stream_idle_timeout = Duration::from_millis(50);
    });
    for _ in 0..4 {
        for _ in 0..50 {
            wait_until("there is room for a stream", || {
                daemon.client.post("/v3/pipeline", &json!({"requests": [execute("SELECT 1")]})).status == 200
            });
        }
    }
}

#[test]
fn texts_are_stored_within_limits() {
    let daemon = Daemon::with(|settings| {
        settings.server.hrana.max_stored_sql = 3.try_into().unwrap();
        settings.server.hrana.max_stored_sql_size = bytesize(30);
    });
    let store = |id: i32, sql: &str| json!({"type": "store_sql", "sql_id": id, "sql": sql});
    let forget = |id: i32| json!({"type": "close_sql", "sql_id": id});
    let mut stream = Stream::open(&daemon, 2);
    stream.ask(store(1, "SELECT 1"));
    assert_eq!(stream.fail(store(2, &"x".repeat(23))), "SQL_STORE_TOO_LARGE");
    stream.ask(store(2, "SELECT 2"));
    stream.ask(store(i32::MIN, "SELECT 3"));
    assert_eq!(stream.fail(store(4, "")), "SQL_STORE_TOO_MANY");
    stream.ask(forget(1));
    stream.ask(forget(1));
    stream.ask(store(4, "SELECT 4"));
    let stored = |id: i32| json!({"type": "execute", "stmt": {"sql_id": id}});
    assert_eq!(stream.ask(stored(4))["result"]["rows"][0][0], integer(4));
    assert_eq!(refused(&stream.try_pipeline(&[stored(1)]), 400), "SQL_NOT_FOUND");
    // That was against the rules, and ended the stream.
    assert_eq!(refused(&stream.try_pipeline(&[stored(4)]), 400), "BATON_INVALID");
    // Another stream knows nothing of it.
    assert_eq!(refused(&Stream::open(&daemon, 2).try_pipeline(&[stored(4)]), 400), "SQL_NOT_FOUND");
    let twice = [store(1, "SELECT 1"), store(1, "SELECT 1")];
    assert_eq!(refused(&Stream::open(&daemon, 2).try_pipeline(&twice), 400), "SQL_EXISTS");
}

#[test]
fn an_answer_grows_only_so_far() {
    let daemon = Daemon::with(|settings| settings.server.hrana.max_response_size = bytesize(10_000));
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 2);
    let long = execute("SELECT hex(zeroblob(3000))");
    let insert = execute("INSERT INTO t VALUES (1)");
    let results = stream.pipeline(&[insert.clone(), long.clone(), long.clone(), insert, long, close()]);
    ok(&results[2]);
    assert_eq!(
        (code(&results[3]), code(&results[4])),
        ("RESPONSE_TOO_LARGE".into(), "RESPONSE_TOO_LARGE".into())
    );
    ok(&results[5]);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 1);
}

#[test]
fn a_transaction_that_is_left_open_does_not_keep_the_daemon_from_ending() {
    let daemon = Daemon::with(|settings| settings.writer.lease_timeout = Duration::from_mins(10));
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 2);
    stream.execute("BEGIN IMMEDIATE");
    stream.execute("INSERT INTO t VALUES (1)");
    let begun = std::time::Instant::now();
    assert!(daemon.stop().shutdown.closed);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_daemon_that_is_ending_takes_no_stream_and_says_when_to_come_back() {
    let mut daemon = Daemon::with(one_at_a_time);
    daemon.execute("CREATE TABLE t (a)");
    // After its first commit the writer tidies up, which needs the file. Once another is acknowledged, that is over.
    daemon.execute("CREATE INDEX t_by_a ON t (a)");
    let mut stream = Stream::open(&daemon, 3);
    stream.execute("SELECT 1");
    let held = daemon.hold_the_file();
    let writes: Vec<_> = (0..2)
        .map(|value| {
            let client = daemon.client.another();
            let insert = json!({"sql": "INSERT INTO t VALUES (?)", "params": [value]});
            std::thread::spawn(move || client.post("/v1/execute", &insert))
        })
        .collect();
    let status = || daemon.client.get("/v1/status").json();
    wait_until("one write is under way and one waits", || status()["queue"]["length"] == 1);
    daemon.stopper.stop();
    wait_until("it is ending", || daemon.client.get("/readyz").status == 503);
    for stream in [stream, Stream::open(&daemon, 2)] {
        let answer = stream.try_pipeline(&[execute("SELECT 1")]);
        assert_eq!(refused(&answer, 503), "SHUTTING_DOWN");
        assert_eq!(answer.header("retry-after"), "1");
    }
    drop(held);
    for write in writes {
        assert_eq!(write.join().unwrap().status, 200);
    }
    assert!(daemon.ended().unwrap().shutdown.closed);
}

#[test]
fn a_client_that_hangs_up_before_its_answer_lets_go_of_its_transaction() {
    let daemon = Daemon::with(|settings| settings.writer.lease_timeout = Duration::from_mins(10));
    daemon.execute("CREATE TABLE t (a)");
    let body = json!({"requests": [
        execute("BEGIN IMMEDIATE"),
        execute("INSERT INTO t VALUES (1)"),
        execute("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 5000000) SELECT max(i) FROM n"),
        execute("COMMIT"),
    ]});
    let hasty = daemon.client.no_longer_than(Duration::from_millis(300));
    assert!(hasty.try_send("POST", "/v3/pipeline", body.to_string()).is_err(), "it was answered too soon");
    assert_eq!(daemon.execute("INSERT INTO t VALUES (2)")["rows_affected"], 1);
    assert_eq!(daemon.scalar("SELECT group_concat(a) FROM t"), "2");
}
