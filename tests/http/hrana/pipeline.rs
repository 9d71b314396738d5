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
