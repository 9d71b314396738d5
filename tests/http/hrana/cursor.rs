//! Cursors over HTTP: a batch told of as it goes, a line an entry.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::client::wait_until;

/// A table of a thousand numbers; joined with itself it has more rows than anybody would read.
const NUMBERS: &str = "CREATE TABLE n AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n";

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cursor(daemon: &Daemon, baton: &Value, steps: &Value) -> Answer {
    daemon.client.post("/v3/cursor", &json!({"baton": baton, "batch": {"steps": steps}}))
}

#[test]
fn a_cursor_tells_of_each_step_as_a_batch_would() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)");
    let answer = cursor(
        &daemon,
        &Value::Null,
        &json!([
            {"stmt": {"sql": "INSERT INTO t VALUES (7, 'x')"}},
            {"stmt": {"sql": "SELECT a, b FROM t"}},
            {"stmt": {"sql": "INSERT INTO t VALUES (8, 'x')"}},
            {"stmt": {"sql": "SELECT 1"}, "condition": {"type": "ok", "step": 2}},
            {"stmt": {"sql": "SELECT 2"}, "condition": {"type": "error", "step": 2}},
        ]),
    );
    let mut lines = lines(&answer);
    assert!(lines[0]["baton"].is_string() && lines[0]["base_url"].is_null());
    // Of statements that insert nothing it says nothing in particular.
    for reading in [5, 9] {
        lines[reading]["last_insert_rowid"] = Value::Null;
    }
    let expected = [
        json!({"type": "step_begin", "step": 0, "cols": []}),
        json!({"type": "step_end", "affected_row_count": 1, "last_insert_rowid": "7"}),
        json!({"type": "step_begin", "step": 1, "cols": [{"name": "a", "decltype": "INTEGER"}, {"name": "b", "decltype": "TEXT"}]}),
        json!({"type": "row", "row": [integer(7), text("x")]}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": null}),
        json!({"type": "step_error", "step": 2, "error": {
            "message": "SQLite error: UNIQUE constraint failed: t.b", "code": "SQLITE_CONSTRAINT_UNIQUE"
        }}),
        json!({"type": "step_begin", "step": 4, "cols": [{"name": "2", "decltype": null}]}),
        json!({"type": "row", "row": [integer(2)]}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": null}),
    ];
    assert_eq!(lines[1..], expected);
}

#[test]
fn the_client_in_rust_is_given_row_ids_as_the_numbers_it_reads() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)");
    for (version, expected) in [
        (None, json!("9")),
        (Some("libsql-remote-ts-0.5.0"), json!("9")),
        (Some("libsql-remote-0.9.30"), json!(9)),
        (Some("libsql-remote-python-0.1"), json!(9)),
    ] {
        let client = daemon.client.clone();
        let client =
            version.map_or(client.clone(), |version| client.header("x-libsql-client-version", version));
        let steps = json!([{"stmt": {"sql": "INSERT INTO t VALUES (9)"}}]);
        let answer = client.post("/v3/cursor", &json!({"batch": {"steps": steps}}));
        assert_eq!(lines(&answer).last().unwrap()["last_insert_rowid"], expected, "{version:?}");
        daemon.execute("DELETE FROM t");
    }
}

#[test]
fn the_stream_goes_on_after_a_cursor() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 3);
    stream.execute("BEGIN IMMEDIATE");
    stream.ask(json!({"type": "store_sql", "sql_id": 1, "sql": "INSERT INTO t VALUES (1) RETURNING a"}));
    for _ in 0..20 {
        let answer = cursor(&daemon, &stream.baton, &json!([{"stmt": {"sql_id": 1}}]));
        let lines = lines(&answer);
        assert_eq!(lines[2], json!({"type": "row", "row": [integer(1)]}));
        assert_ne!(stream.baton, lines[0]["baton"]);
        stream.baton = lines[0]["baton"].clone();
    }
    stream.execute("COMMIT");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 20);
    let old = stream.baton.clone();
    stream.pipeline(&[close()]);
    assert_eq!(refused(&cursor(&daemon, &old, &json!([])), 400), "BATON_INVALID");
}

#[test]
fn what_cannot_begin_is_the_only_entry() {
    let daemon = Daemon::start();
    let both = json!([{"stmt": {"sql": "SELECT ?", "args": [integer(1)], "named_args": [{"name": "a", "value": integer(1)}]}}]);
    let lines = lines(&cursor(&daemon, &Value::Null, &both));
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["baton"].is_string());
    assert_eq!(
        (&lines[1]["type"], &lines[1]["error"]["code"]),
        (&json!("error"), &json!("ARGS_BOTH_POSITIONAL_AND_NAMED"))
    );
    assert_eq!(
        refused(&cursor(&daemon, &Value::Null, &json!([{"stmt": {"sql_id": 1}}])), 400),
        "SQL_NOT_FOUND"
    );
}

#[test]
fn a_cursor_that_is_not_read_to_its_end_lets_go_of_its_stream() {
    let daemon = Daemon::start();
    daemon.execute(NUMBERS);
    let body = json!({"batch": {"steps": [{"stmt": {"sql": "SELECT a.i FROM n a, n b, n c"}}]}}).to_string();
    let mut connection = TcpStream::connect(daemon.address()).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    write!(
        connection,
        "POST /v3/cursor HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    // The first line comes before the rows are there.
    let mut read = Vec::new();
    while !read.windows(8).any(|bytes| bytes == b"base_url") {
        let mut some = [0; 512];
        let count = connection.read(&mut some).unwrap();
        assert!(count > 0);
        read.extend_from_slice(&some[..count]);
    }
    let read = String::from_utf8_lossy(&read).into_owned();
    let baton = read.split("\"baton\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    drop(connection);
    let mut stream = Stream::open(&daemon, 3);
    stream.baton = json!(baton);
    // It waits for the cursor to see that nobody reads.
    stream.execute("SELECT 1");
}

#[test]
fn rows_come_before_the_last_is_there() {
    let daemon = Daemon::start();
    daemon.execute(NUMBERS);
    let answer =
        cursor(&daemon, &Value::Null, &json!([{"stmt": {"sql": "SELECT a.i FROM n a, n b LIMIT 150000"}}]));
    let lines = lines(&answer);
    // More than a result that is held in memory may have.
    assert_eq!(lines.len(), 150_003);
    wait_until("nothing of it is left", || daemon.client.get("/v1/status").status == 200);
}
