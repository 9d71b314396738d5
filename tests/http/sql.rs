//! `/v1/execute`, `/v1/transaction`, `/v1/query`.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::client::Daemon;

#[test]
fn a_statement_is_answered_with_its_own_receipt() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)");
    let sql = "INSERT INTO t (a, b) VALUES (?1, ?2) RETURNING id, a, b";
    let answer =
        daemon.client.post("/v1/execute", &json!({"sql": sql, "params": [i64::MAX, {"base64": "AP8="}]}));
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let receipt = answer.json();
    assert!(receipt["commit"].as_u64().unwrap() > 0);
    assert_eq!(
        receipt,
        json!({
            "rows_affected": 1, "last_insert_rowid": 1, "columns": ["id", "a", "b"],
            "rows": [[1, i64::MAX, {"base64": "AP8="}]], "commit": receipt["commit"]
        })
    );
    let named = json!({"sql": "UPDATE t SET a = :a WHERE id = :id", "params": {"a": "x", "id": 1}, "timeout_ms": 5000});
    assert_eq!(daemon.client.post("/v1/execute", &named).json()["rows_affected"], 1);
    assert_eq!(daemon.scalar("SELECT a FROM t"), "x");
}

#[test]
fn a_transaction_is_committed_all_or_none() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a UNIQUE)");
    let insert = |value: i64| json!({"sql": "INSERT INTO t VALUES (?)", "params": [value]});
    let both = json!({"statements": [insert(1), insert(2)], "timeout_ms": 5000});
    let answer = daemon.client.post("/v1/transaction", &both);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 2);
    assert_eq!(answer.json()["results"][1]["last_insert_rowid"], 2);
    let failing = daemon.client.post("/v1/transaction", &json!({"statements": [insert(3), insert(1)]}));
    assert_eq!(failing.problem(409), "constraint_violation");
    assert_eq!((&failing.json()["statement"], &failing.json()["sqlite_code"]), (&json!(1), &json!(2067)));
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 2);
}

#[test]
fn the_same_key_is_committed_once_and_another_write_under_it_is_a_conflict() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let client = daemon.client.header("Idempotency-Key", "order-7");
    let insert = json!({"sql": "INSERT INTO t VALUES (?)", "params": [1]});
    let first = client.post("/v1/execute", &insert).json();
    assert_eq!(client.post("/v1/execute", &insert).json(), first);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 1);
    let other = json!({"sql": "INSERT INTO t VALUES (?)", "params": [2]});
    assert_eq!(client.post("/v1/execute", &other).problem(409), "idempotency_conflict");
    let as_transaction = json!({"statements": [{"sql": "DELETE FROM t"}]});
    assert_eq!(client.post("/v1/transaction", &as_transaction).problem(409), "idempotency_conflict");
}

#[test]
fn a_query_sees_what_was_acknowledged_and_waits_for_a_commit_to_come() {
    let daemon = Daemon::start();
    let commit = daemon.execute("CREATE TABLE t (a)")["commit"].as_u64().unwrap();
    let query = |min_commit: u64| {
        let body =
            json!({"sql": "SELECT 1 AS one, NULL, 1.5 AS one", "min_commit": min_commit, "timeout_ms": 50});
        daemon.client.post("/v1/query", &body)
    };
    assert_eq!(query(commit).json(), json!({"columns": ["one", "NULL", "one"], "rows": [[1, null, 1.5]]}));
    assert_eq!(query(commit + 1).problem(408), "commit_not_reached");
}

/// As many as there are rows in a result that must not be held in memory.
const MANY: usize = 300_000;
const SERIES: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1)
                      SELECT i, 'row ' || i AS text, NULL AS nil FROM n";

#[test]
fn a_long_result_is_streamed_as_ndjson_and_as_csv() {
    let daemon = Daemon::start();
    let body = json!({"sql": SERIES, "params": [MANY]});
    assert_eq!(daemon.client.post("/v1/query", &body).problem(422), "result_too_large");

    let ndjson = daemon.client.header("Accept", "application/x-ndjson").post("/v1/query", &body);
    assert_eq!((ndjson.status, ndjson.header("content-type")), (200, "application/x-ndjson"));
    let text = ndjson.text();
    assert_eq!(text.lines().count(), MANY);
    for (line, number) in text.lines().zip(1..) {
        assert_eq!(line, format!(r#"{{"i":{number},"text":"row {number}","nil":null}}"#));
    }

    let csv = daemon.client.header("Accept", "text/csv").post("/v1/query", &body);
    assert_eq!((csv.status, csv.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
    let text = csv.text();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next(), Some("i,text,nil"));
    assert!((1..=MANY).all(|number| lines.next() == Some(format!("{number},row {number},").as_str())));
    assert_eq!((lines.next(), lines.next()), (Some(""), None));
}

#[test]
fn a_streamed_result_without_rows_has_its_head() {
    let daemon = Daemon::start();
    let body = json!({"sql": "SELECT 1 AS a, 2 AS b WHERE FALSE"});
    assert_eq!(daemon.client.header("Accept", "text/csv").post("/v1/query", &body).text(), "a,b\r\n");
    assert_eq!(daemon.client.header("Accept", "application/x-ndjson").post("/v1/query", &body).text(), "");
}

#[test]
fn a_stream_that_fails_early_is_a_problem_and_one_that_fails_late_breaks_off() {
    let daemon = Daemon::start();
    // abs() of the smallest integer is an error of SQLite's.
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000)
               SELECT CASE WHEN i = ?1 THEN abs(-9223372036854775808) ELSE i END AS i FROM n";
    for accept in ["application/x-ndjson", "text/csv"] {
        let client = daemon.client.header("Accept", accept);
        let early = client.post("/v1/query", &json!({"sql": sql, "params": [3]}));
        assert_eq!(early.problem(400), "invalid_sql");
        let late = client.try_send("POST", "/v1/query", json!({"sql": sql, "params": [50_000]}).to_string());
        assert!(late.is_err(), "{accept}: an incomplete body looked complete");
    }
    let twice = json!({"sql": "SELECT 1 AS a, 2 AS a"});
    let ndjson = daemon.client.header("Accept", "application/x-ndjson").post("/v1/query", &twice);
    assert_eq!(ndjson.problem(400), "duplicate_columns");
}

#[test]
fn a_stream_whose_reader_is_too_slow_does_not_look_complete() {
    let daemon = Daemon::with(|settings| {
        settings.readers.query_timeout = std::time::Duration::from_millis(300);
    });
    let body = json!({"sql": SERIES, "params": [10 * MANY]}).to_string();
    let mut connection = TcpStream::connect(daemon.address()).unwrap();
    write!(
        connection,
        "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    // Nothing is read until the query is given up; what the sockets hold is far less than the result.
    crate::client::wait_until("the query is given up", || daemon.database.status().readers.failed == 1);
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "the stream had begun");
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n"), "the last chunk says that all rows are there");
}

#[test]
fn a_client_that_takes_gzip_gets_it() {
    let daemon = Daemon::start();
    let body = json!({"sql": SERIES, "params": [1000]});
    let answer = daemon.client.header("Accept-Encoding", "gzip").post("/v1/query", &body);
    assert_eq!((answer.status, answer.header("content-encoding")), (200, "gzip"));
    assert!(answer.body.starts_with(&[0x1f, 0x8b]));
}
