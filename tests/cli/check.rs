//! `check` on files with something wrong in them.

use actix_sqlite::rusqlite::Connection;
use serde_json::Value;

use crate::on::Place;

/// What is wrong, by the name of the check.
fn findings(place: &Place) -> Vec<(String, String)> {
    let run = place.run(&["check", "--database", "data.db", "--output", "json"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let wrong = report["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
    wrong.map(|check| (check["name"].as_str().unwrap().to_owned(), check["findings"].to_string())).collect()
}

#[track_caller]
fn finds(place: &Place, name: &str, text: &str) {
    let found = findings(place);
    assert!(found.iter().any(|(check, findings)| check == name && findings.contains(text)), "{found:?}");
}

/// A file with rows, closed again.
fn with_rows() -> Place {
    let place = Place::new();
    place.run(&["execute", "CREATE TABLE t (a TEXT)", "--database", "data.db"]).ok();
    let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
                  INSERT INTO t SELECT printf('%.*c', 500, 'x') FROM n";
    place.run(&["execute", insert, "--database", "data.db"]).ok();
    place
}

#[test]
fn a_damaged_page_is_found() {
    let place = with_rows();
    let file = place.path("data.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let (page, middle) = (4096, bytes.len() / 4096 / 2 * 4096);
    bytes[middle..middle + page].fill(0xa5);
    std::fs::write(&file, &bytes).unwrap();
    let found = findings(&place);
    assert!(found.iter().any(|(check, _)| check == "integrity"), "{found:?}");
}

#[test]
fn a_file_that_does_not_even_open_is_a_finding() {
    let place = Place::new();
    let text = "this is no database\n".repeat(500);
    let file = place.write("data.db", &text);
    finds(&place, "open", "is not an SQLite database");
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}

#[test]
fn a_cut_file_is_found() {
    let place = with_rows();
    let file = place.path("data.db");
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
    assert!(!findings(&place).is_empty());
}

#[test]
fn a_row_without_its_parent_is_named() {
    let place = with_rows();
    let conn = Connection::open(place.path("data.db")).unwrap();
    let orphan = "PRAGMA foreign_keys = OFF; CREATE TABLE p (id INTEGER PRIMARY KEY);
                  CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p); INSERT INTO c VALUES (7, 1);";
    conn.execute_batch(orphan).unwrap();
    drop(conn);
    finds(&place, "foreign_keys", "row 7 of c refers to a row of p that is not there");
}

#[test]
fn tables_of_a_later_version_are_found() {
    let place = with_rows();
    let change = |sql: &str| Connection::open(place.path("data.db")).unwrap().execute_batch(sql).unwrap();
    change(
        "INSERT INTO _actix_sqlite_relay_migrations SELECT 99, 'later', applied_on, checksum
            FROM _actix_sqlite_relay_migrations LIMIT 1",
    );
    finds(&place, "schema", "version 99, this program knows 1");
    place.run(&["query", "SELECT 1", "--database", "data.db"]).fails_with(1, "(code newer_schema)");
    change("UPDATE _actix_sqlite_commit SET format = 99");
    finds(&place, "open", "format 99");
}

#[test]
fn a_check_migrates_nothing() {
    let place = Place::new();
    let conn = Connection::open(place.path("data.db")).unwrap();
    conn.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(conn);
    place.run(&["check", "--database", "data.db"]).ok();
    let conn = Connection::open(place.path("data.db")).unwrap();
    assert!(!conn.table_exists(None, "accounts").unwrap());
}
