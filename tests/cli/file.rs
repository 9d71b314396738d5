//! What only a file can be: in use, missing, something else.

use actix_sqlite::{Database, Settings};

use crate::on::Place;

#[test]
fn a_file_that_another_process_has_open_is_refused_and_the_process_named() {
    let place = Place::new();
    let file = place.path("data.db");
    actix_rt::System::new().block_on(async {
        let database = Database::open(Settings::for_file(&file)).await.unwrap();
        for arguments in
            [&["query", "SELECT 1"][..], &["execute", "SELECT 1"], &["status"], &["check"], &["import", "-"]]
        {
            let stderr = place.run(&[arguments, &["--database", "data.db"]].concat()).fails(1);
            assert!(stderr.contains("(code locked)"), "{stderr}");
            assert!(stderr.contains(&format!("process {}", std::process::id())), "{stderr}");
        }
        database.shutdown().await;
    });
    place.run(&["query", "SELECT 1", "--database", "data.db"]).ok();
}

#[test]
fn a_missing_file_is_created_by_writes_only() {
    let place = Place::new();
    for arguments in [&["query", "SELECT 1"][..], &["status"], &["check"]] {
        place.run(&[arguments, &["--database", "none.db"]].concat()).fails_with(1, "none.db does not exist");
        assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "something was created");
    }
    place.run(&["execute", "CREATE TABLE t (a)", "--database", "none.db"]).ok();
    assert!(place.path("none.db").is_file());
}

#[test]
fn a_missing_directory_and_a_directory_are_told() {
    let place = Place::new();
    for arguments in
        [&["query", "SELECT 1"][..], &["execute", "SELECT 1"], &["status"], &["check"], &["serve"]]
    {
        let run = place.run(&[arguments, &["--database", "none/data.db"]].concat());
        run.fails_with(1, "none does not exist; create it first");
    }
    std::fs::create_dir(place.path("directory")).unwrap();
    place.run(&["query", "SELECT 1", "--database", "directory"]).fails_with(1, "it is a directory");
}

#[test]
fn another_kind_of_file_is_told_and_left_as_it_was() {
    let place = Place::new();
    let text = "this is no database\n".repeat(500);
    let file = place.write("notes.txt", &text);
    for arguments in [&["query", "SELECT 1"][..], &["execute", "CREATE TABLE t (a)"], &["status"], &["serve"]]
    {
        place
            .run(&[arguments, &["--database", "notes.txt"]].concat())
            .fails_with(1, "is not an SQLite database");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn a_file_needs_no_flag_if_the_settings_name_it() {
    let place = Place::new();
    place.write("settings.toml", "[database]\npath = \"named.db\"\n");
    place.run(&["execute", "CREATE TABLE t (a)"]).ok();
    assert!(place.path("named.db").is_file());
    place.run(&["--database", "flag.db", "execute", "CREATE TABLE t (a)"]).ok();
    assert!(place.path("flag.db").is_file());
}

#[test]
fn a_time_limit_on_a_file_may_be_longer_than_the_settings_one() {
    let place = Place::new();
    place.write("settings.toml", "[readers]\nquery_timeout = \"20ms\"\n");
    place.run(&["execute", "CREATE TABLE t (a)"]).ok();
    let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) AS c FROM n";
    let stderr = place.run(&["query", long]).fails(1);
    // The time may be up before the query's turn comes.
    assert!(["statement_timeout", "deadline_passed"].iter().any(|code| stderr.contains(code)), "{stderr}");
    assert_eq!(place.run(&["query", long, "--timeout", "1m"]).ok(), "{\"c\":3000000}\n");
}
