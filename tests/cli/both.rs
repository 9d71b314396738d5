//! What holds on a file as on a daemon.

use serde_json::{Value, json};

use crate::on::On;
use crate::support::memory;

on_both! {
    a_receipt_says_what_was_committed
    parameters_are_typed_by_value_by_json_and_by_name
    every_value_is_shown_in_every_form
    a_statement_is_read_from_stdin
    the_same_key_commits_once
    a_failed_statement_is_told_with_its_code
    two_columns_of_one_name_are_no_object
    a_commit_is_waited_for
    status_is_shown_as_json_and_as_a_table
    a_sound_file_passes_the_check
    a_closed_pipe_ends_quietly
    a_large_result_is_streamed_in_constant_memory
}

fn a_receipt_says_what_was_committed(on: &On) {
    let created = on.run(&["execute", "CREATE TABLE t (id INTEGER PRIMARY KEY, a)"]).json();
    assert_eq!((&created["rows_affected"], &created["last_insert_rowid"]), (&json!(0), &Value::Null));
    let receipt = on.run(&["execute", "INSERT INTO t (a) VALUES (1), (2) RETURNING id, a"]).json();
    let commit = created["commit"].as_u64().unwrap() + 1;
    let expected = json!({
        "rows_affected": 2, "last_insert_rowid": 2, "columns": ["id", "a"], "rows": [[1, 1], [2, 2]],
        "commit": commit,
    });
    assert_eq!(receipt, expected);
    let shown = on.run(&["execute", "UPDATE t SET a = 3 WHERE id = 1 RETURNING a", "--output", "table"]).ok();
    assert!(
        shown.contains("│ 3 │") && shown.ends_with(&format!("1 row affected, commit {}\n", commit + 1)),
        "{shown}"
    );
    let shown = on.run(&["execute", "DELETE FROM t", "--output", "table", "--timeout", "5s"]).ok();
    assert_eq!(shown, format!("2 rows affected, commit {}\n", commit + 2));
}

fn parameters_are_typed_by_value_by_json_and_by_name(on: &On) {
    let types = |arguments: &[&str]| {
        let sql = "SELECT typeof(?1), ?1, typeof(?2), ?2, typeof(?3), ?3";
        on.run(&[&["query", sql, "--output", "json"], arguments].concat()).json()["rows"][0].clone()
    };
    let seen = types(&["--param", "-9223372036854775808", "--param", "0.5", "--param", "null"]);
    assert_eq!(seen, json!(["integer", i64::MIN, "real", 0.5, "null", null]));
    let seen = types(&["--param", "\"7\"", "--param", "naïve, 7", "--param", "{\"base64\": \"AP8\"}"]);
    assert_eq!(seen, json!(["text", "7", "text", "naïve, 7", "blob", {"base64": "AP8="}]));
    let seen = types(&["--params", "[true, 1e300, \"x\"]"]);
    assert_eq!(seen, json!(["integer", 1, "real", 1e300, "text", "x"]));
    let named = on.run(&["query", "SELECT :a + $b AS sum", "--params", "{\"a\": 1, \":b\": 2}"]);
    named.fails_with(1, "(code invalid_params)");
    let named = on.run(&["query", "SELECT :a + $b AS sum", "--params", "{\"a\": 1, \"b\": 2}"]);
    assert_eq!(named.ok(), "{\"sum\":3}\n");
}

fn every_value_is_shown_in_every_form(on: &On) {
    let sql = "SELECT 9007199254740993 AS i, 1.0 AS r, 'a,\"b\"' || char(27) AS t, NULL AS n, x'00ff' AS b";
    let show = |form: &str| on.run(&["query", sql, "--output", form]).ok();
    assert_eq!(
        show("json"),
        "{\"columns\":[\"i\",\"r\",\"t\",\"n\",\"b\"],\
         \"rows\":[[9007199254740993,1.0,\"a,\\\"b\\\"\\u001b\",null,{\"base64\":\"AP8=\"}]]}\n"
    );
    let line = "{\"i\":9007199254740993,\"r\":1.0,\"t\":\"a,\\\"b\\\"\\u001b\",\"n\":null,\"b\":{\"base64\":\"AP8=\"}}\n";
    assert_eq!(show("ndjson"), line);
    assert_eq!(on.run(&["query", sql]).ok(), line, "a pipe gets ndjson");
    assert_eq!(show("csv"), "i,r,t,n,b\r\n9007199254740993,1.0,\"a,\"\"b\"\"\u{1b}\",,AP8=\r\n");
    let table = show("table");
    for shown in ["9007199254740993", "1.0", "a,\"b\"\\u{1b}", "NULL", "x'00ff'"] {
        assert!(table.contains(shown), "{table}");
    }
    let empty = "SELECT 1 AS a, 2 AS b WHERE FALSE";
    assert_eq!(on.run(&["query", empty]).ok(), "");
    assert_eq!(on.run(&["query", empty, "--output", "csv"]).ok(), "a,b\r\n");
}

fn a_statement_is_read_from_stdin(on: &On) {
    on.run_with_input(&["execute", "-"], b"CREATE TABLE t (\n  a -- a comment\n);\n").ok();
    on.run_with_input(&["execute", "-", "--param", "x"], b"INSERT INTO t VALUES (?)").ok();
    assert_eq!(on.run_with_input(&["query", "-"], b"SELECT * FROM t").ok(), "{\"a\":\"x\"}\n");
}

fn the_same_key_commits_once(on: &On) {
    on.run(&["execute", "CREATE TABLE t (a)"]).ok();
    let insert = ["execute", "INSERT INTO t VALUES (1)", "--key", "k-1"];
    let first = on.run(&insert).ok();
    assert_eq!(on.run(&insert).ok(), first);
    assert_eq!(on.value("SELECT count(*) FROM t"), 1);
    on.run(&["execute", "INSERT INTO t VALUES (2)", "--key", "k-1"])
        .fails_with(1, "(code idempotency_conflict)");
    on.run(&["execute", "INSERT INTO t VALUES (2)", "--key", ""]).fails_with(2, "1 to 255 bytes");
}

fn a_failed_statement_is_told_with_its_code(on: &On) {
    on.run(&["execute", "CREATE TABLE t (a UNIQUE)"]).ok();
    on.run(&["execute", "INSERT INTO t VALUES (1)"]).ok();
    for (arguments, error) in [
        (
            ["execute", "INSERT INTO t VALUES (1)"],
            "error: UNIQUE constraint failed: t.a (code constraint_violation)\n",
        ),
        (["execute", "INSERT INTO"], "(code invalid_sql)"),
        (["execute", "BEGIN"], "(code forbidden_sql)"),
        (["execute", "SELECT 1; SELECT 2"], "(code multiple_statements)"),
        (["query", "DELETE FROM t"], "(code not_read_only)"),
        (["query", "SELECT ?1"], "(code invalid_params)"),
        (["query", "SELECT * FROM missing"], "no such table: missing"),
    ] {
        on.run(&arguments).fails_with(1, error);
    }
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n";
    for form in ["json", "csv"] {
        let run = on.run(&["query", endless, "--timeout", "300ms", "--output", form]);
        run.fails_with(1, "(code statement_timeout)");
    }
    assert_eq!(on.value("SELECT count(*) FROM t"), 1);
}

fn two_columns_of_one_name_are_no_object(on: &On) {
    let ask = |form: &str| on.run(&["query", "SELECT 1 AS a, 2 AS a", "--output", form]);
    ask("ndjson").fails_with(1, "(code duplicate_columns)");
    assert_eq!(ask("csv").ok(), "a,a\r\n1,2\r\n");
    assert_eq!(ask("json").json()["rows"], json!([[1, 2]]));
}

fn a_commit_is_waited_for(on: &On) {
    let commit = on.run(&["execute", "CREATE TABLE t (a)"]).json()["commit"].as_u64().unwrap();
    on.run(&["query", "SELECT * FROM t", "--min-commit", &commit.to_string()]).ok();
    let later = (commit + 1).to_string();
    let run = on.run(&["query", "SELECT * FROM t", "--min-commit", &later, "--timeout", "20ms"]);
    run.fails_with(1, "(code commit_not_reached)");
}

fn status_is_shown_as_json_and_as_a_table(on: &On) {
    on.run(&["execute", "CREATE TABLE t (a)"]).ok();
    let status = on.run(&["status"]).json();
    assert_eq!((&status["state"], &status["writer"]["last_commit"]), (&json!("running"), &json!(1)));
    assert_eq!((&status["database"]["format"], &status["database"]["relay_schema"]), (&json!(1), &json!(1)));
    let table = on.run(&["status", "--output", "table"]).ok();
    let line = table.lines().find(|line| line.contains("writer.last_commit")).unwrap();
    assert!(line.contains("┆ 1"), "{table}");
}

fn a_sound_file_passes_the_check(on: &On) {
    on.run(&["execute", "CREATE TABLE t (a)"]).ok();
    let report = on.run(&["check"]).json();
    assert_eq!(report["ok"], true);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["integrity", "foreign_keys", "schema"]);
    let table = on.run(&["check", "--output", "table"]).ok();
    assert!(table.contains("accounts and message logs at version 1"), "{table}");
}

/// So many rows of 1000 bytes that a result held in memory would be seen.
const ROWS: usize = 60_000;
const LARGE: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) \
                     SELECT printf('%.*c', 1000, 'x') AS x FROM n";

fn a_closed_pipe_ends_quietly(on: &On) {
    for form in ["ndjson", "csv", "json", "table"] {
        // More than a pipe holds, and no more than that: a table takes its time.
        let sql = LARGE.replace("60000", "1000");
        let mut command = on.command(&["query", &sql, "--output", form]);
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 8];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), String::from_utf8(ended.stderr).unwrap()),
            (Some(0), String::new()),
            "{form}"
        );
    }
}

fn a_large_result_is_streamed_in_constant_memory(on: &On) {
    for form in ["ndjson", "csv"] {
        let mut command = on.command(&["query", LARGE, "--output", form]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let mut count = 0;
        for line in lines {
            count += usize::from(line.unwrap().len() >= 1000);
            // Near the end, but before it: the process still lives, and would hold nearly all of it.
            if count == ROWS - 1_000
                && let Some(peak) = memory(child.id(), "VmHWM")
            {
                assert!(peak < 40 << 20, "{form}: {peak} bytes");
            }
        }
        assert_eq!((child.wait().unwrap().code(), count), (Some(0), ROWS), "{form}");
    }
}
