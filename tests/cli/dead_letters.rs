//! `dead-letters` on a file as on a daemon, and `execute --queued`, which makes them.

use serde_json::{Value, json};

use crate::on::{Daemon, On, Place, finish};

on_both! {
    dead_letters_are_listed_in_every_form
    a_list_goes_on_where_the_last_one_ended
    dead_letters_are_tried_again_by_number_and_all_of_them
    dead_letters_are_thrown_away_by_number_by_age_and_all_of_them
}

fn list(on: &On) -> Vec<Value> {
    let lines = on.run(&["dead-letters", "list"]).ok();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(on: &On) -> Vec<i64> {
    list(on).iter().map(|letter| letter["id"].as_i64().unwrap()).collect()
}

fn dead_letters_are_listed_in_every_form(on: &On) {
    on.bury(7, "order-7");
    let letters = list(on);
    let expected = json!({
        "id": 1, "statements": [{"sql": "INSERT INTO nowhere VALUES (?)"}], "key": "order-7", "code": "invalid_sql",
        "message": letters[0]["message"], "failed_at": letters[0]["failed_at"], "attempts": 1,
    });
    assert_eq!((letters.len(), &letters[0]), (1, &expected), "a pipe gets ndjson");
    assert!(letters[0]["message"].as_str().unwrap().contains("no such table: nowhere"));
    // The form itself is the daemon's, and tested there.
    assert_eq!(letters[0]["failed_at"].as_str().map(str::len), Some("2026-01-31T12:00:00.000Z".len()));
    let ndjson = on.run(&["dead-letters", "list", "--output", "ndjson"]).ok();
    assert_eq!(ndjson.lines().count(), 1, "{ndjson}");
    let document = on.run(&["dead-letters", "list", "--output", "json"]).json();
    assert_eq!(document, json!({"dead_letters": [expected], "next_after_id": null}));
    let table = on.run(&["dead-letters", "list", "--output", "table"]).ok();
    for shown in ["failed_at", "invalid_sql", "order-7", "INSERT INTO nowhere VALUES (?)"] {
        assert!(table.contains(shown), "{table}");
    }
}

fn a_list_goes_on_where_the_last_one_ended(on: &On) {
    for number in [7, 8, 9] {
        on.bury(number, &format!("order-{number}"));
    }
    let first = on.run(&["dead-letters", "list", "--limit", "2", "--output", "json"]);
    assert_eq!(first.stderr, "there are more: --after-id 2\n");
    assert_eq!(first.json()["next_after_id"], 2);
    let rest = on.run(&["dead-letters", "list", "--limit", "2", "--after-id", "2"]);
    assert_eq!(rest.stderr, "");
    assert_eq!(rest.json()["id"], 3, "one line");
}

fn dead_letters_are_tried_again_by_number_and_all_of_them(on: &On) {
    for number in [7, 8, 9] {
        on.bury(number, &format!("order-{number}"));
    }
    on.run(&["execute", "CREATE TABLE nowhere (n CHECK (n < 9))"]).ok();
    let retried = on.run(&["dead-letters", "retry", "--id", "1"]).json();
    assert_eq!(retried, json!({"committed": 1, "failed": 0, "missing": 0}));
    // What failed again, and what is not there, is told in the counts and in the exit code.
    let run = on.run(&["dead-letters", "retry", "--id", "1", "--id", "3", "--output", "json"]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""), "{run:?}");
    let retried: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(retried, json!({"committed": 0, "failed": 1, "missing": 1}));
    let run = on.run(&["dead-letters", "retry", "--all", "--output", "table"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.lines().any(|line| line.contains("committed") && line.contains('1')), "{run:?}");
    assert_eq!(on.value("SELECT group_concat(n) FROM nowhere"), "7,8");
    let left = list(on);
    assert_eq!(
        (left.len(), &left[0]["id"], &left[0]["code"]),
        (1, &json!(3), &json!("constraint_violation"))
    );
}

fn dead_letters_are_thrown_away_by_number_by_age_and_all_of_them(on: &On) {
    for number in [7, 8, 9] {
        on.bury(number, &format!("order-{number}"));
    }
    let expire = |arguments: &[&str]| {
        on.run(&[&["dead-letters", "expire"], arguments].concat()).json()["expired"].as_i64().unwrap()
    };
    assert_eq!(expire(&["--older-than", "30days"]), 0, "they are young");
    assert_eq!(expire(&["--id", "1", "--older-than", "1h"]), 0);
    assert_eq!(expire(&["--id", "1", "--id", "99"]), 1);
    assert_eq!(ids(on), [2, 3]);
    let table = on.run(&["dead-letters", "expire", "--all", "--output", "table"]).ok();
    assert!(table.lines().any(|line| line.contains("expired") && line.contains('2')), "{table}");
    assert_eq!(ids(on), [0; 0]);
}

#[test]
fn what_would_mean_all_is_said_or_refused() {
    let on = On::empty_file();
    on.bury(7, "order-7");
    for arguments in [
        &["retry"][..],
        &["expire"],
        &["retry", "--id", "1", "--all"],
        &["expire", "--id", "1", "--all"],
        &["expire", "--older-than", "1h", "--all"],
        &["expire", "--older-than", "30"],
        &["retry", "--older-than", "1h"],
        &["list", "--limit", "0"],
        &["list", "--limit", "1001"],
        &["list", "--output", "csv"],
        &["retry", "--all", "--output", "ndjson"],
        &[],
    ] {
        let stderr = on.run(&[&["dead-letters"], arguments].concat()).fails(2);
        assert!(stderr.contains("Usage:") || stderr.contains("--help"), "{arguments:?}: {stderr}");
    }
    assert_eq!(ids(&on), [1]);
}

#[test]
fn a_statement_is_queued_by_a_daemon_and_not_on_a_file() {
    let on = On::daemon();
    on.run(&["execute", "CREATE TABLE t (a)"]).ok();
    let queued = on.run(&["execute", "INSERT INTO t VALUES (1)", "--queued", "--output", "table"]);
    assert_eq!(queued.ok(), "queued\n");
    // Behind it in the queue, so it is committed now.
    let receipt = on.run(&["execute", "INSERT INTO t VALUES (2)"]).json();
    assert_eq!(receipt["last_insert_rowid"], 2);
    on.run(&["execute", "INSERT INTO t VALUES (3)", "--queued", "--key", ""]).fails(2);

    let file = On::empty_file();
    let refused = file.run(&["execute", "CREATE TABLE t (a)", "--queued"]);
    refused.fails_with(2, "`execute --queued` needs --url");
    assert_eq!(file.value("SELECT count(*) FROM sqlite_schema WHERE name = 't'"), 0);
}

#[test]
fn parameters_are_shown_from_a_file_and_by_a_daemon_that_has_a_token() {
    let on = On::empty_file();
    on.bury(i64::MAX, "order-7");
    assert!(!on.run(&["dead-letters", "list"]).ok().contains("9223372036854775807"));
    let shown = on.run(&["dead-letters", "list", "--params"]).ok();
    assert!(shown.contains(r#""params":[9223372036854775807]"#), "{shown}");
    let table = on.run(&["dead-letters", "list", "--params", "--output", "table"]).ok();
    assert!(table.contains("INSERT INTO nowhere VALUES (?) [9223372036854775807]"), "{table}");

    let open = Daemon::start(&on.place);
    let asked = ["dead-letters", "list", "--params", "--url", &open.url];
    on.place.run(&asked).fails_with(1, "(code secrets_forbidden)");
    drop(open);
    let guarded = Daemon::start_with(&on.place, |command| {
        command.env("ACTIX_SQLITE__AUTH__ADMIN_TOKEN", "hunter2");
    });
    let mut command = on.place.command(&["dead-letters", "list", "--params", "--url", &guarded.url]);
    command.env("ACTIX_SQLITE_TOKEN", "hunter2");
    assert_eq!(finish(command, b"").ok(), shown);
}

#[test]
fn a_missing_file_has_no_dead_letters_and_is_not_created() {
    let place = Place::new();
    for arguments in [&["list"][..], &["retry", "--all"], &["expire", "--all"]] {
        let run = place.run(&[&["dead-letters"], arguments, &["--database", "none.db"]].concat());
        run.fails_with(1, "none.db does not exist");
    }
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "something was created");
}
