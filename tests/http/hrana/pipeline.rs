//! Pipelines: each kind of request, in each version that has it.

use serde_json::{Value, json};

use super::*;

#[test]
fn both_versions_say_that_they_are_there_and_protobuf_is_not() {
    let daemon = Daemon::start();
    assert_eq!(daemon.client.get("/v2").status, 200);
    assert_eq!(daemon.client.get("/v3").status, 200);
    for path in ["/v3-protobuf", "/v3-protobuf/pipeline", "/v3/other", "/v2/cursor"] {
        assert_eq!(refused(&daemon.client.get(path), 404), "UNKNOWN_ROUTE", "{path}");
    }
    assert_eq!(refused(&daemon.client.post("/v3-protobuf/pipeline", &json!({})), 404), "UNKNOWN_ROUTE");
    assert_eq!(refused(&daemon.client.get("/v2/pipeline"), 405), "METHOD_NOT_ALLOWED");
}

#[test]
fn a_pipeline_writes_and_reads_and_closes_its_stream() {
    let daemon = Daemon::start();
    for version in [2, 3] {
        let mut stream = Stream::open(&daemon, version);
        let results = stream.pipeline(&[
            execute(&format!("CREATE TABLE t{version} (a INTEGER PRIMARY KEY, b TEXT)")),
            with_args(&format!("INSERT INTO t{version} VALUES (?, ?)"), &[integer(7), text("x")]),
            execute(&format!("SELECT a, b FROM t{version}")),
            close(),
        ]);
        assert_eq!(stream.baton, Value::Null);
        let inserted = &ok(&results[1])["result"];
        assert_eq!(
            (&inserted["affected_row_count"], &inserted["last_insert_rowid"]),
            (&json!(1), &json!("7"))
        );
        assert_eq!(inserted["replication_index"], Value::Null);
        let read = &ok(&results[2])["result"];
        assert_eq!(read["cols"][1]["name"], "b");
        assert_eq!(read["rows"], json!([[integer(7), text("x")]]));
        assert_eq!(ok(&results[3]), json!({"type": "close"}));
    }
}

#[test]
fn what_fails_is_told_in_its_place_and_the_rest_is_run() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    let results = stream.pipeline(&[
        execute("CREATE TABLE t (a UNIQUE)"),
        execute("INSERT INTO t VALUES (1)"),
        execute("INSERT INTO t VALUES (1)"),
        execute("SELEC 1"),
        execute("SELECT * FROM missing"),
        execute("INSERT INTO t VALUES (2)"),
    ]);
    assert_eq!(code(&results[2]), "SQLITE_CONSTRAINT_UNIQUE");
    assert_eq!(code(&results[3]), "SQL_PARSE_ERROR");
    assert_eq!(code(&results[4]), "SQLITE_ERROR");
    ok(&results[5]);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 2);
    assert!(stream.baton.is_string());
}

#[test]
fn each_kind_of_request_is_answered_in_each_version_that_has_it() {
    let daemon = Daemon::start();
    for version in [2, 3] {
        let mut stream = Stream::open(&daemon, version);
        stream.ask(json!({"type": "sequence", "sql": format!("-- nothing\n; CREATE TABLE s{version} (a); INSERT INTO s{version} VALUES (1);")}));
        stream.ask(json!({"type": "sequence", "sql": " -- only this\n"}));
        stream.ask(json!({"type": "store_sql", "sql_id": 3, "sql": format!("INSERT INTO s{version} VALUES (2); INSERT INTO s{version} VALUES (3)")}));
        stream.ask(json!({"type": "sequence", "sql_id": 3}));
        assert_eq!(stream.fail(json!({"type": "execute", "stmt": {"sql_id": 3}})), "SQL_MANY_STATEMENTS");
        assert_eq!(stream.fail(execute("  -- nothing")), "SQL_NO_STATEMENT");
        let stopped = format!(
            "INSERT INTO s{version} VALUES (4); SELECT * FROM missing; INSERT INTO s{version} VALUES (5)"
        );
        assert_eq!(stream.fail(json!({"type": "sequence", "sql": stopped})), "SQLITE_ERROR");
        assert_eq!(stream.scalar(&format!("SELECT group_concat(a) FROM s{version}")), "1,2,3,4");
        let described =
            stream.ask(json!({"type": "describe", "sql": "SELECT ?, ?3, :one, $two, @three"}))["result"]
                .take();
        let names: Vec<_> =
            described["params"].as_array().unwrap().iter().map(|param| param["name"].clone()).collect();
        assert_eq!(
            names,
            [Value::Null, Value::Null, json!("?3"), json!(":one"), json!("$two"), json!("@three")]
        );
        assert_eq!((&described["is_explain"], &described["is_readonly"]), (&json!(false), &json!(true)));
        let described =
            stream.ask(json!({"type": "describe", "sql": format!("EXPLAIN DELETE FROM s{version}")}));
        assert_eq!(described["result"]["is_explain"], true);
        let described = stream.ask(json!({"type": "describe", "sql": format!("DELETE FROM s{version}")}));
        assert_eq!(described["result"]["is_readonly"], false);
        assert_eq!(stream.fail(json!({"type": "describe", "sql": "SELEC"})), "SQL_PARSE_ERROR");
        stream.ask(json!({"type": "close_sql", "sql_id": 3}));
        if version == 3 {
            assert_eq!(stream.ask(json!({"type": "get_autocommit"}))["is_autocommit"], true);
            stream.execute("BEGIN");
            assert_eq!(stream.ask(json!({"type": "get_autocommit"}))["is_autocommit"], false);
        } else {
            let answer = stream.try_pipeline(&[json!({"type": "get_autocommit"})]);
            assert_eq!(refused(&answer, 400), "NOT_SUPPORTED");
        }
    }
}

#[test]
fn an_empty_pipeline_opens_a_stream() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    assert!(stream.pipeline(&[]).is_empty());
    stream.execute("SELECT 1");
}

#[test]
fn errors_of_a_transaction_leave_it_open() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a UNIQUE)");
    let mut stream = Stream::open(&daemon, 3);
    stream.execute("BEGIN");
    assert_eq!(stream.fail(execute("SELECT foo")), "SQLITE_ERROR");
    stream.execute("INSERT INTO t VALUES (1)");
    assert_eq!(stream.fail(execute("INSERT INTO t VALUES (1)")), "SQLITE_CONSTRAINT_UNIQUE");
    assert_eq!(stream.fail(execute("BEGIN")), "SQLITE_ERROR");
    stream.execute("COMMIT");
    assert_eq!(stream.fail(execute("COMMIT")), "SQLITE_ERROR");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 1);
    let mut reading = Stream::open(&daemon, 2);
    reading.execute("BEGIN TRANSACTION READONLY");
    assert_eq!(reading.scalar("SELECT count(*) FROM t"), "1");
    assert_eq!(reading.fail(execute("INSERT INTO t VALUES (2)")), "SQLITE_READONLY");
}

#[test]
fn what_is_not_for_callers_is_refused_here_too() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 2);
    for sql in
        ["ATTACH 'x' AS y", "PRAGMA writable_schema = 1", "SELECT load_extension('x')", "VACUUM INTO 'x'"]
    {
        let code = stream.fail(execute(sql));
        assert!(["SQLITE_AUTH", "SQLITE_ERROR"].contains(&code.as_str()), "{sql}: {code}");
    }
}

#[test]
fn every_route_wants_the_token_and_says_so_in_its_protocol() {
    let daemon = Daemon::with(|settings| settings.auth.admin_token = "sesame".to_owned().into());
    let admin = daemon.client.header("Authorization", "Bearer sesame");
    let body = json!({"requests": [execute("SELECT 1"), close()]}).to_string();
    for (method, path) in [
        ("GET", "/v2"),
        ("GET", "/v3"),
        ("GET", "/v3-protobuf"),
        ("POST", "/v2/pipeline"),
        ("POST", "/v3/pipeline"),
        ("POST", "/v3/cursor"),
        ("POST", "/v1/batch"),
    ] {
        for wrong in [daemon.client.clone(), daemon.client.header("Authorization", "Bearer sesam")] {
            let answer =
                if method == "GET" { wrong.get(path) } else { wrong.send(method, path, body.as_str()) };
            assert_eq!(refused(&answer, 401), "UNAUTHORIZED", "{path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
        let answer = if method == "GET" { admin.get(path) } else { admin.send(method, path, body.as_str()) };
        assert_ne!(answer.status, 401, "{path}");
    }
    let open = Daemon::start();
    let foreign = open.client.header("Origin", "https://evil.example");
    assert_eq!(refused(&foreign.send("POST", "/v2/pipeline", body.as_str()), 403), "FOREIGN_ORIGIN");
    // Clients without a token send one all the same.
    for empty in ["Bearer ", "Bearer None", "Bearer null"] {
        let client = open.client.header("Authorization", empty);
        assert_eq!(client.send("POST", "/v2/pipeline", body.as_str()).status, 200);
    }
}
