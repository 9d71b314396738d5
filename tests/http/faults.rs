//! What is wrong with a request is said: one row a mistake, each with its own code.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use actix_sqlite::Overflow;
use serde_json::json;

use crate::client::{Client, Daemon, one_at_a_time, wait_until};

#[test]
fn a_body_that_is_none_is_refused_for_what_it_is() {
    let daemon = Daemon::with(|settings| settings.server.max_body = bytesize::ByteSize::kib(64));
    let large = format!(r#"{{"sql": "{}"}}"#, "x".repeat(70_000));
    let rows: &[(&str, &[u8], u16, &str)] = &[
        ("/v1/execute", b"", 400, "empty_body"),
        ("/v1/execute", b" \n", 400, "empty_body"),
        ("/v1/execute", b"{", 400, "invalid_json"),
        ("/v1/execute", b"{\"sql\": \"SELECT 1\"} x", 400, "invalid_json"),
        ("/v1/execute", b"nonsense", 400, "invalid_json"),
        ("/v1/execute", b"{\"sql\": \"caf\xe9\"}", 400, "invalid_utf8"),
        ("/v1/execute", b"[\"SELECT 1\", null, null]", 400, "invalid_request"),
        ("/v1/execute", b"7", 400, "invalid_request"),
        ("/v1/execute", b"{}", 400, "invalid_request"),
        ("/v1/execute", b"{\"sql\": 7}", 400, "invalid_request"),
        ("/v1/execute", b"{\"sql\": \"SELECT 1\", \"parms\": []}", 400, "invalid_request"),
        ("/v1/execute", b"{\"sql\": \"SELECT 1\", \"sql\": \"SELECT 2\"}", 400, "invalid_request"),
        ("/v1/execute", b"{\"sql\": \"SELECT 1\", \"timeout_ms\": 0}", 400, "invalid_request"),
        ("/v1/execute", b"{\"sql\": \"SELECT 1\", \"timeout_ms\": -5}", 400, "invalid_request"),
        ("/v1/execute", large.as_bytes(), 413, "body_too_large"),
        ("/v1/transaction", b"{\"statements\": []}", 400, "invalid_request"),
        (
            "/v1/transaction",
            b"{\"statements\": [{\"sql\": \"SELECT 1\", \"timeout_ms\": 5}]}",
            400,
            "invalid_request",
        ),
        ("/v1/query", b"{\"sql\": \"SELECT 1\", \"min_commit\": \"x\"}", 400, "invalid_request"),
        ("/v1/message-logs", b"{\"kook_message_id\": \"m\"}", 400, "invalid_request"),
        ("/v1/accounts", b"null", 400, "invalid_request"),
    ];
    for (path, body, status, code) in rows {
        let answer = daemon.client.send("POST", path, body.to_vec());
        assert_eq!(answer.problem(*status), *code, "{path} {}", String::from_utf8_lossy(body));
        assert_eq!(answer.json()["outcome"], "not_executed");
    }
    let chunked = daemon.client.another().send(
        "POST",
        "/v1/execute",
        ureq::SendBody::from_reader(&mut large.as_bytes()),
    );
    assert_eq!(chunked.problem(413), "body_too_large");
    let packed = daemon.client.header("Content-Encoding", "gzip").send("POST", "/v1/execute", "{}");
    assert_eq!(packed.problem(415), "unsupported_encoding");
}

#[test]
fn any_content_type_means_json() {
    let daemon = Daemon::start();
    for content_type in ["application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"]
    {
        let client = daemon.client.header("Content-Type", content_type);
        assert_eq!(client.post("/v1/query", &json!({"sql": "SELECT 1"})).status, 200);
    }
    let body = r#"{"sql": "SELECT 1"}"#;
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    assert!(raw(&daemon, &format!("{head}\r\n\r\n{body}")).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let daemon = Daemon::start();
    for params in [
        "[9223372036854775808]",
        "[-9223372036854775809]",
        "[1e999]",
        "[]",
        "[1, 2]",
        "7",
        "\"x\"",
        "[[1]]",
        "[{\"base64\": \"!\"}]",
        "{\"b\": 1}",
    ] {
        let body = format!(r#"{{"sql": "SELECT :a", "params": {params}}}"#);
        assert_eq!(
            daemon.client.send("POST", "/v1/query", body.clone()).problem(400),
            "invalid_params",
            "{params}"
        );
        assert_eq!(
            daemon.client.send("POST", "/v1/execute", body).problem(400),
            "invalid_params",
            "{params}"
        );
    }
    let second =
        r#"{"statements": [{"sql": "SELECT 1"}, {"sql": "SELECT ?", "params": [9223372036854775808]}]}"#;
    let answer = daemon.client.send("POST", "/v1/transaction", second);
    assert_eq!(answer.problem(400), "invalid_params");
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .starts_with("statement 2: parameter 1: integer 9223372036854775808")
    );
}

#[test]
fn sql_that_is_wrong_or_refused_is_a_mistake_of_the_caller() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a INTEGER NOT NULL CHECK (a > 0)) STRICT");
    for (path, sql, status, code) in [
        ("/v1/execute", "SELEC 1", 400, "invalid_sql"),
        ("/v1/execute", "INSERT INTO missing VALUES (1)", 400, "invalid_sql"),
        ("/v1/execute", "SELECT 1; SELECT 2", 400, "multiple_statements"),
        ("/v1/execute", " -- nothing", 400, "empty_statement"),
        ("/v1/execute", "", 400, "empty_statement"),
        ("/v1/execute", "BEGIN", 403, "forbidden_sql"),
        ("/v1/execute", "ATTACH 'x.db' AS x", 403, "forbidden_sql"),
        ("/v1/execute", "PRAGMA synchronous = OFF", 403, "forbidden_sql"),
        ("/v1/query", "SELECT * FROM _actix_sqlite_idempotency", 403, "forbidden_sql"),
        ("/v1/execute", "INSERT INTO t VALUES (NULL)", 409, "constraint_violation"),
        ("/v1/execute", "INSERT INTO t VALUES (-1)", 409, "constraint_violation"),
        ("/v1/query", "INSERT INTO t VALUES (1)", 400, "not_read_only"),
        ("/v1/query", "SELECT CAST(x'ff' AS TEXT)", 422, "invalid_text"),
        ("/v1/query", "SELECT zeroblob(2000000000)", 413, "too_large"),
    ] {
        let answer = daemon.client.post(path, &json!({ "sql": sql }));
        assert_eq!(answer.problem(status), code, "{sql}");
        assert_eq!(answer.json()["outcome"], "not_executed");
    }
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 0);
}

#[test]
fn time_limits_and_full_queues_say_that_nothing_was_done() {
    let daemon = Daemon::with(|settings| {
        settings.queue.max_writes = 1.try_into().unwrap();
        one_at_a_time(settings);
        settings.queue.overflow = Overflow::Reject;
    });
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let slow = daemon.client.post("/v1/query", &json!({"sql": endless, "timeout_ms": 50}));
    assert_eq!(slow.problem(408), "statement_timeout");

    // Room for one in the writer's hand and one in the queue: one of three is refused.
    let held = daemon.hold_the_file();
    let (tell, answers) = mpsc::channel();
    for number in 0..3 {
        let (client, tell) = (daemon.client.another(), tell.clone());
        let body = json!({"sql": format!("CREATE TABLE t{number} (x)")});
        std::thread::spawn(move || tell.send(client.post("/v1/execute", &body)).is_ok());
    }
    drop(tell);
    let refused = answers.recv().unwrap();
    assert_eq!(refused.problem(503), "queue_full");
    assert_eq!(refused.json()["outcome"], "not_executed");
    drop(held);
    let mut rest: Vec<_> = answers.iter().collect();
    // The second one was refused too if it came before the writer took the first.
    rest.retain(|answer| answer.status != 503 || answer.problem(503) != "queue_full");
    assert!(!rest.is_empty() && rest.iter().all(|answer| answer.status == 200));
    assert_eq!(daemon.scalar("SELECT count(*) FROM sqlite_schema WHERE name LIKE 't_'"), rest.len());
}

#[test]
fn writes_that_find_the_log_full_are_told_when_to_come_back_and_reads_go_on() {
    let daemon = Daemon::with(|settings| {
        settings.database.wal_checkpoint_size = bytesize::ByteSize::kib(16);
        settings.database.wal_truncate_size = bytesize::ByteSize::kib(32);
        settings.database.wal_max_size = bytesize::ByteSize::kib(128);
    });
    daemon.execute("CREATE TABLE t (a)");
    let reader = daemon.hold_a_snapshot();
    let insert = json!({"sql": "INSERT INTO t VALUES (1)"});
    let answers: Vec<_> = (0..200).map(|_| daemon.client.post("/v1/execute", &insert)).collect();
    let committed = answers.iter().take_while(|answer| answer.status == 200).count();
    assert!(committed > 0 && committed < 200, "{committed}");
    for answer in &answers[committed..] {
        assert_eq!((answer.problem(503).as_str(), answer.header("retry-after")), ("wal_full", "1"));
        let problem = answer.json();
        assert_eq!((&problem["outcome"], &problem["retryable"]), (&json!("not_executed"), &json!(true)));
        assert!(problem["detail"].as_str().unwrap().contains("database.wal_max_size"));
    }
    let import = daemon.client.post("/v1/message-logs/import", &crate::client::log("m1"));
    assert_eq!(import.problem(503), "wal_full");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), committed);
    let status = daemon.client.get("/v1/status").json();
    assert_eq!(status["database"]["wal_max_bytes"], 128 << 10);
    assert_eq!(status["writer"]["refused_for_log"], 200 - committed + 1);
    drop(reader);
    daemon.execute("INSERT INTO t VALUES (1)");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), committed + 1);
}

#[test]
fn a_write_whose_time_is_up_before_its_turn_is_not_executed() {
    let daemon = Daemon::with(one_at_a_time);
    let held = daemon.hold_the_file();
    let post = |body: serde_json::Value| {
        let client = daemon.client.another();
        std::thread::spawn(move || client.post("/v1/execute", &body))
    };
    let patient = [post(json!({"sql": "CREATE TABLE a (x)"})), post(json!({"sql": "CREATE TABLE b (x)"}))];
    wait_until("one is in hand and one behind it", || {
        let status = daemon.database.status();
        (status.writer.in_hand, status.queue.length) == (1, 1)
    });
    let hasty = post(json!({"sql": "CREATE TABLE c (x)", "timeout_ms": 1}));
    wait_until("it is queued", || daemon.database.status().queue.length == 2);
    let queued = std::time::Instant::now();
    wait_until("its time is up", || queued.elapsed() > Duration::from_millis(1));
    drop(held);
    assert!(patient.into_iter().all(|write| write.join().unwrap().status == 200));
    let hasty = hasty.join().unwrap();
    assert_eq!(hasty.problem(408), "deadline_passed");
    assert_eq!(
        (&hasty.json()["outcome"], &hasty.json()["retryable"]),
        (&json!("not_executed"), &json!(true))
    );
    assert_eq!(daemon.scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'c'"), 0);
}

#[test]
fn keys_ids_query_strings_routes_and_methods_are_checked() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let select = json!({"sql": "SELECT 1"});
    for key in ["", &"k".repeat(256)] {
        let answer = client.header("Idempotency-Key", key).post("/v1/execute", &select);
        assert_eq!(answer.problem(400), "invalid_idempotency_key", "{key:?}");
    }
    let twice =
        client.header("Idempotency-Key", "a").header("Idempotency-Key", "b").post("/v1/execute", &select);
    assert_eq!(twice.problem(400), "invalid_idempotency_key");
    for path in [
        "/v1/accounts/x",
        "/v1/message-logs/1.5",
        "/v1/message-logs/99999999999999999999",
        "/v1/accounts/%ff",
    ] {
        assert_eq!(client.get(path).problem(400), "invalid_id", "{path}");
    }
    for query in
        ["limit=x", "limit=-1", "limit=", "total=maybe", "limt=5", "limit=1&limit=2", "before_id=1.5"]
    {
        assert_eq!(
            client.get(&format!("/v1/message-logs?{query}")).problem(400),
            "invalid_query_string",
            "{query}"
        );
    }
    for query in ["limit=0", "limit=100001", "since=yesterday"] {
        assert_eq!(
            client.get(&format!("/v1/message-logs?{query}")).problem(400),
            "invalid_message",
            "{query}"
        );
    }
    assert_eq!(client.get("/v1/accounts?secrets=perhaps").problem(400), "invalid_query_string");
    for path in ["/v1", "/v1/execute/", "/v4/execute", "/v1/nothing", "/docs/no.such.file"] {
        assert_eq!(client.get(path).problem(404), "unknown_route", "{path}");
    }
    for (method, path, allow) in [
        ("GET", "/v1/execute", "POST"),
        ("PUT", "/v1/accounts", "GET, HEAD, POST"),
        ("POST", "/v1/accounts/1", "DELETE, GET, HEAD, PATCH"),
        ("DELETE", "/livez", "GET, HEAD"),
        ("OPTIONS", "/v1/query", "POST"),
    ] {
        let answer = match method {
            "PUT" | "POST" => client.send(method, path, "{}"),
            _ => client.send(method, path, ()),
        };
        assert_eq!(answer.problem(405), "method_not_allowed", "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[test]
fn a_body_that_breaks_off_is_not_executed() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let mut connection = TcpStream::connect(daemon.address()).unwrap();
    connection
        .write_all(b"POST /v1/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"sql\": \"INSERT INTO t VALUES (1)\"}")
        .unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 0);
}

/// Sends it as it is, and reads to the end of the connection.
fn raw(daemon: &Daemon, request: &str) -> String {
    let mut connection = TcpStream::connect(daemon.address()).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_connection_is_of_use_after_a_mistake() {
    let daemon = Daemon::start();
    let client: Client = daemon.client.another();
    for _ in 0..20 {
        assert_eq!(client.send("POST", "/v1/execute", "{").problem(400), "invalid_json");
        assert_eq!(client.post("/v1/query", &json!({"sql": "SELECT 1"})).status, 200);
    }
}
