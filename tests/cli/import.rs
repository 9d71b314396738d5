//! `import` on a file and on a daemon: what goes in, what is rejected, and that every field of real data survives.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::on::On;
use crate::support::chat_file;

fn log(id: usize) -> String {
    json!({
        "kook_message_id": format!("m{id}"), "kook_channel_id": "lobby", "content": "hello \u{1F980}",
        "target_platform": "discord", "target_channel": "general", "status": "success",
    })
    .to_string()
}

#[test]
fn bad_lines_are_named_and_the_others_go_in_on_a_file() {
    bad_lines_are_named(&On::file());
}

#[test]
fn bad_lines_are_named_and_the_others_go_in_on_a_daemon() {
    bad_lines_are_named(&On::daemon());
}

fn bad_lines_are_named(on: &On) {
    let mut lines = [
        log(1),
        "{broken".into(),
        log(2).replace("status", "state"),
        String::new(),
        log(3).replace("lobby", ""),
        log(1),
        "\u{feff}".to_owned() + &log(4) + "\r",
    ]
    .join("\n")
    .into_bytes();
    lines.extend(b"\n\xff\xfe\n");
    lines.extend(log(5).bytes());
    on.place.write("logs.ndjson", &lines);
    let run = on.run(&["import", "logs.ndjson"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&report["inserted"], &report["duplicates"], &report["rejected"]),
        (&json!(3), &json!(1), &json!(4)),
        "{report}"
    );
    let told: Vec<_> = run.stderr.lines().collect();
    for (line, begin) in told.iter().zip([
        "line 2: invalid_json: ",
        "line 3: invalid_json: unknown field `state`",
        "line 5: invalid_message: kook_channel_id is empty",
        "line 8: invalid_utf8: ",
        "3 inserted, 1 duplicates, 4 rejected",
    ]) {
        assert!(line.starts_with(begin), "{line} does not begin with {begin}");
    }
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(on.value("SELECT group_concat(kook_message_id) FROM message_logs"), "m1,m4,m5");
}

#[test]
fn stdin_is_imported_and_the_report_may_be_a_table() {
    for on in [On::file(), On::daemon()] {
        let run =
            on.run_with_input(&["import", "-", "--output", "table"], (log(1) + "\n" + &log(2)).as_bytes());
        assert_eq!(run.stderr, "2 inserted, 0 duplicates, 0 rejected\n");
        let table = run.ok();
        assert!(table.contains("inserted") && table.contains('2'), "{table}");
        let nothing = on.run_with_input(&["import", "-"], b"");
        assert_eq!(nothing.json(), json!({"inserted": 0, "duplicates": 0, "rejected": 0, "errors": []}));
    }
}

#[test]
fn a_missing_file_is_told_before_anything_is_opened() {
    let on = On::file();
    on.run(&["import", "none.ndjson"]).fails_with(1, "none.ndjson: ");
    assert!(!on.place.path("data.db").exists());
}

#[test]
fn what_is_exported_can_be_imported() {
    let on = On::file();
    on.run_with_input(&["import", "-"], (log(1) + "\n" + &log(2)).as_bytes()).ok();
    let sql = "SELECT kook_message_id, kook_channel_id, content, message_type, sender_name, target_platform,
               target_channel, status, error_message, latency_ms, created_at FROM message_logs";
    let mut export = on.command(&["query", sql]);
    let export = export.stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap().stdout;
    let other = On::file();
    assert_eq!(other.run_with_input(&["import", "-"], &export).json()["inserted"], 2);
    assert_eq!(other.run(&["query", sql]).ok(), on.run(&["query", sql]).ok());
}

#[test]
fn real_messages_survive_in_every_field_on_a_file() {
    real_messages_survive(&On::file());
}

#[test]
fn real_messages_survive_in_every_field_on_a_daemon() {
    real_messages_survive(&On::daemon());
}

fn real_messages_survive(on: &On) {
    let Some(file) = chat_file() else { return };
    let path = file.to_str().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let sent: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = on.run(&["import", path]).json();
    assert_eq!((&first["inserted"], &first["duplicates"]), (&json!(sent.len()), &json!(0)));
    let again = on.run(&["import", path]).json();
    assert_eq!((&again["inserted"], &again["duplicates"]), (&json!(0), &json!(sent.len())));
    let stored = on.run(&["query", "SELECT * FROM message_logs ORDER BY id"]).ok();
    assert_eq!(stored.lines().count(), sent.len());
    let own_columns = ["id", "created_at"];
    for (line, (stored, sent)) in stored.lines().zip(&sent).enumerate() {
        let mut stored: Value = serde_json::from_str(stored).unwrap();
        let fields = stored.as_object_mut().unwrap();
        for column in own_columns {
            assert!(fields.remove(column).is_some());
        }
        assert_eq!(&stored, sent, "line {}", line + 1);
    }
}
