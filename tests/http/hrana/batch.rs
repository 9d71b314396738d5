//! Batches: conditions, transactions in them, and what each version says of the results.

use serde_json::{Value, json};

use super::*;

fn step(sql: &str, condition: &Value) -> Value {
    json!({"stmt": {"sql": sql}, "condition": condition})
}

fn batch(steps: &[Value]) -> Value {
    json!({"type": "batch", "batch": {"steps": steps}})
}

/// Of each step: `ok`, `error` or `skipped`.
fn outcomes(result: &Value) -> Vec<&'static str> {
    let (results, errors) =
        (result["step_results"].as_array().unwrap(), result["step_errors"].as_array().unwrap());
    assert_eq!(results.len(), errors.len());
    let both = results.iter().zip(errors);
    both.map(|(result, error)| match (result.is_null(), error.is_null()) {
        (false, true) => "ok",
        (true, false) => "error",
        (true, true) => "skipped",
        (false, false) => panic!("{result} and {error}"),
    })
    .collect()
}

#[test]
fn conditions_hold_as_their_table_says() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 3);
    // Step 0 succeeds, step 1 fails, step 2 is passed over.
    let (ok, error) =
        (|step: u32| json!({"type": "ok", "step": step}), |step: u32| json!({"type": "error", "step": step}));
    let not = |cond: Value| json!({"type": "not", "cond": cond});
    let all = |conds: Vec<Value>| json!({"type": "and", "conds": conds});
    let any = |conds: Vec<Value>| json!({"type": "or", "conds": conds});
    let is_autocommit = json!({"type": "is_autocommit"});
    let table = [
        (Value::Null, true),
        (ok(0), true),
        (ok(1), false),
        (ok(2), false),
        (error(0), false),
        (error(1), true),
        (error(2), false),
        (not(ok(0)), false),
        (not(ok(2)), true),
        (not(not(error(1))), true),
        (all(vec![]), true),
        (all(vec![ok(0)]), true),
        (all(vec![ok(0), error(1)]), true),
        (all(vec![ok(0), ok(1)]), false),
        (any(vec![]), false),
        (any(vec![ok(1)]), false),
        (any(vec![ok(1), error(1)]), true),
        (all(vec![any(vec![ok(1), ok(0)]), not(error(2))]), true),
        (is_autocommit.clone(), true),
        (not(is_autocommit), false),
    ];
    for (condition, holds) in table {
        let steps = [
            step("SELECT 1", &Value::Null),
            step("SELECT * FROM missing", &Value::Null),
            step("SELECT 2", &json!({"type": "ok", "step": 1})),
            step("SELECT 3", &condition),
        ];
        let expected = ["ok", "error", "skipped", if holds { "ok" } else { "skipped" }];
        assert_eq!(outcomes(&stream.ask(batch(&steps))["result"]), expected, "{condition}");
        // The same on the writer, which runs all of it as one write.
        let mut writing = steps.to_vec();
        writing.insert(0, step("CREATE TABLE IF NOT EXISTS t (a)", &Value::Null));
        let moved: Value = serde_json::from_str(&shifted(&json!(writing).to_string())).unwrap();
        let result = stream.ask(batch(moved.as_array().unwrap()));
        assert_eq!(outcomes(&result["result"])[1..], expected, "{condition}, on the writer");
    }
}

/// Each step a place later.
fn shifted(steps: &str) -> String {
    (0..3_u32).rev().fold(steps.to_owned(), |steps, place| {
        steps.replace(&format!("\"step\":{place}"), &format!("\"step\":{}", place + 1))
    })
}

#[test]
fn a_condition_on_a_step_that_does_not_come_before_is_refused() {
    let daemon = Daemon::start();
    for place in [1, 2, 99, u32::MAX] {
        for kind in ["ok", "error"] {
            let condition = json!({"type": "not", "cond": {"type": kind, "step": place}});
            let steps = [step("SELECT 1", &Value::Null), step("SELECT 2", &condition)];
            let stream = Stream::open(&daemon, 2);
            assert_eq!(refused(&stream.try_pipeline(&[batch(&steps)]), 400), "BATCH_COND_BAD_STEP");
        }
    }
}

#[test]
fn is_autocommit_is_no_condition_of_version_2() {
    let daemon = Daemon::start();
    let steps = [step("SELECT 1", &json!({"type": "is_autocommit"}))];
    assert_eq!(refused(&Stream::open(&daemon, 2).try_pipeline(&[batch(&steps)]), 400), "NOT_SUPPORTED");
    Stream::open(&daemon, 3).ask(batch(&steps));
    let whole = json!({"batch": {"steps": steps}});
    assert_eq!(refused(&daemon.client.post("/v1/batch", &whole), 400), "NOT_SUPPORTED");
}

/// As clients write a transaction.
fn transaction(statements: &[&str]) -> Value {
    let after = |place: usize| json!({"type": "ok", "step": place});
    let mut steps = vec![step("BEGIN IMMEDIATE", &Value::Null)];
    steps.extend(statements.iter().enumerate().map(|(place, sql)| step(sql, &after(place))));
    steps.push(step("COMMIT", &after(statements.len())));
    steps.push(step("ROLLBACK", &json!({"type": "not", "cond": after(statements.len() + 1)})));
    batch(&steps)
}

#[test]
fn a_transaction_in_a_batch_is_kept_or_undone_as_a_whole() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a UNIQUE)");
    for version in [2, 3] {
        let mut stream = Stream::open(&daemon, version);
        let good = stream.ask(transaction(&[
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
            "DELETE FROM t",
        ]));
        assert_eq!(outcomes(&good["result"]), ["ok", "ok", "ok", "ok", "ok", "skipped"]);
        let bad = stream.ask(transaction(&[
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (1)",
            "DELETE FROM t",
        ]));
        assert_eq!(outcomes(&bad["result"]), ["ok", "ok", "error", "skipped", "skipped", "ok"]);
        assert_eq!(bad["result"]["step_errors"][2]["code"], "SQLITE_CONSTRAINT_UNIQUE");
        assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 0);
    }
}

#[test]
fn a_batch_may_leave_its_transaction_open() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 3);
    let steps = [step("BEGIN", &Value::Null), step("INSERT INTO t VALUES (1)", &Value::Null)];
    assert_eq!(outcomes(&stream.ask(batch(&steps))["result"]), ["ok", "ok"]);
    assert_eq!(stream.ask(json!({"type": "get_autocommit"}))["is_autocommit"], false);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 0);
    stream.execute("COMMIT");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 1);
}

#[test]
fn an_empty_batch_and_a_long_one_are_answered() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let mut stream = Stream::open(&daemon, 2);
    let empty = stream.ask(batch(&[]));
    assert_eq!((&empty["result"]["step_results"], &empty["result"]["step_errors"]), (&json!([]), &json!([])));
    let many = vec!["INSERT INTO t VALUES (1)"; 4_000];
    let outcome = stream.ask(transaction(&many));
    assert_eq!(outcomes(&outcome["result"]).iter().filter(|outcome| **outcome == "ok").count(), 4_002);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 4_000);
}

#[test]
fn version_1_runs_a_statement_or_a_batch_by_itself() {
    let daemon = Daemon::start();
    let execute = |stmt: Value| daemon.client.post("/v1/execute", &json!({"stmt": stmt}));
    assert_eq!(execute(json!({"sql": "CREATE TABLE t (a INT UNIQUE)"})).status, 200);
    let inserted = execute(
        json!({"sql": "INSERT INTO t VALUES (:a) RETURNING a", "named_args": [{"name": "a", "value": integer(5)}], "other": 1}),
    );
    assert_eq!((inserted.status, inserted.header("content-type")), (200, "application/json"));
    let inserted = inserted.json();
    assert_eq!(inserted["result"]["rows"], json!([[integer(5)]]));
    assert_eq!(inserted["result"]["cols"], json!([{"name": "a"}]));
    let again = execute(json!({"sql": "INSERT INTO t VALUES (5)"}));
    assert_eq!(refused(&again, 409), "SQLITE_CONSTRAINT_UNIQUE");
    assert_eq!(refused(&execute(json!({"sql": "SELEC"})), 400), "SQL_PARSE_ERROR");
    assert_eq!(refused(&execute(json!({"sql_id": 1})), 400), "NOT_SUPPORTED");
    assert_eq!(refused(&execute(json!({"sql": 1})), 400), "INVALID_REQUEST");
    assert_eq!(refused(&execute(json!(null)), 400), "INVALID_REQUEST");
    let keyed = daemon.client.header("Idempotency-Key", "k");
    let keyed = keyed.post("/v1/execute", &json!({"stmt": {"sql": "INSERT INTO t VALUES (6)"}}));
    assert_eq!(refused(&keyed, 400), "IDEMPOTENCY_KEY_NOT_SUPPORTED");
    let both = daemon.client.post(
        "/v1/batch",
        &json!({"batch": {"steps": [
            {"stmt": {"sql": "INSERT INTO t VALUES (7)"}},
            {"stmt": {"sql": "INSERT INTO t VALUES (7)"}},
            {"stmt": {"sql": "SELECT 1"}, "condition": {"type": "ok", "step": 1}},
        ]}}),
    );
    assert_eq!(outcomes(&both.json()["result"]), ["ok", "error", "skipped"]);
    // The daemon's own body is taken as before, and what is neither is told in the daemon's own words.
    assert_eq!(daemon.execute("SELECT count(*) FROM t")["rows"], json!([[2]]));
    assert_eq!(daemon.client.post("/v1/execute", &json!({"sq": 1})).problem(400), "invalid_request");
    assert_eq!(
        daemon.client.post("/v1/execute", &json!({"sql": "SELECT 1", "x": 1})).problem(400),
        "invalid_request"
    );
}
