//! `/v1/message-logs/import`.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Daemon, chat, lines, log, wait_until};

#[test]
fn an_import_is_equal_to_its_file_line_by_line_and_changes_nothing_the_second_time() {
    let daemon = Daemon::start();
    let chat = chat();
    let mut body = lines(&chat);
    body.pop();
    let count = chat.len();
    let report =
        daemon.client.header("Content-Type", "text/plain").send("POST", "/v1/message-logs/import", &body);
    assert_eq!(report.status, 200, "{}", report.text());
    assert_eq!(report.json(), json!({"inserted": count, "duplicates": 0, "rejected": 0, "errors": []}));

    let mut found: HashMap<String, Value> = HashMap::new();
    let mut page = daemon.client.get("/v1/message-logs?limit=7000").json();
    while let Some(next) = page["next_before_id"].as_i64() {
        for log in page["message_logs"].as_array().unwrap() {
            found.insert(log["kook_message_id"].as_str().unwrap().to_owned(), log.clone());
        }
        page = daemon.client.get(&format!("/v1/message-logs?limit=7000&before_id={next}")).json();
    }
    assert_eq!(found.len(), count);
    for line in &chat {
        let row = &found[line["kook_message_id"].as_str().unwrap()];
        for (field, value) in line.as_object().unwrap() {
            assert_eq!(&row[field], value, "{field} of {line}");
        }
    }

    let report = daemon.client.send("POST", "/v1/message-logs/import", &body);
    assert_eq!(report.json(), json!({"inserted": 0, "duplicates": count, "rejected": 0, "errors": []}));
}

#[test]
fn bad_lines_are_rejected_with_their_numbers_and_the_rest_goes_in() {
    let daemon = Daemon::with(|settings| settings.server.max_line = bytesize::ByteSize::kib(4));
    let mut long = log("long");
    long["content"] = json!("x".repeat(5000));
    let mut negative = log("negative");
    negative["latency_ms"] = json!(-1);
    let mut body = b"\xef\xbb\xbf".to_vec();
    for line in [
        log("first").to_string().as_bytes(),
        b"{\"kook_message_id\": \"caf\xe9\"}",
        b"{\"kook_message_id\": ",
        b"",
        long.to_string().as_bytes(),
        negative.to_string().as_bytes(),
        log("first").to_string().as_bytes(),
        b"[]",
    ] {
        body.extend_from_slice(line);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(log("last").to_string().as_bytes());
    let report = daemon.client.send("POST", "/v1/message-logs/import", &body);
    assert_eq!(report.status, 200, "{}", report.text());
    let report = report.json();
    let rejected: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|e| (e["line"].clone(), e["code"].clone())).collect();
    assert_eq!(
        json!(rejected),
        json!([
            [2, "invalid_utf8"],
            [3, "invalid_json"],
            [5, "line_too_long"],
            [6, "invalid_message"],
            [8, "invalid_json"]
        ])
    );
    assert_eq!(
        (&report["inserted"], &report["duplicates"], &report["rejected"]),
        (&json!(2), &json!(1), &json!(5))
    );
    assert_eq!(daemon.scalar("SELECT count(*) FROM message_logs"), 2);
}

/// In the batch after the one in hand, though hundreds of lines were sent before.
#[test]
fn single_writes_go_before_the_lines_of_an_import() {
    const BATCH: u64 = 10;
    let daemon = Daemon::with(|settings| {
        settings.writer.max_batch_writes = usize::try_from(BATCH).unwrap().try_into().unwrap();
        settings.database.busy_timeout = Duration::from_secs(30);
    });
    daemon.execute("CREATE TABLE t (a)");
    // After its first commit the writer tidies up, which needs the file. Once another is acknowledged, that is over.
    daemon.execute("CREATE INDEX t_by_a ON t (a)");
    let before = daemon.database.last_commit().0;
    let held = daemon.hold_the_file();
    let logs: Vec<_> = (0..2_000).map(|number| log(&format!("line-{number}"))).collect();
    let client = daemon.client.another();
    let importing = std::thread::spawn(move || client.send("POST", "/v1/message-logs/import", lines(&logs)));
    wait_until("the window is full", || {
        let status = daemon.database.status();
        status.queue.bulk_length as u64 + status.writer.in_hand > 500 && status.writer.in_hand > 0
    });
    let in_hand = daemon.database.status().writer.in_hand;
    assert!(in_hand <= BATCH, "{in_hand}");
    let singles: Vec<_> = (0..5)
        .map(|value| {
            let client = daemon.client.another();
            let insert = json!({"sql": "INSERT INTO t VALUES (?)", "params": [value]});
            std::thread::spawn(move || client.post("/v1/execute", &insert))
        })
        .collect();
    let client = daemon.client.another();
    let single_log = std::thread::spawn(move || client.post("/v1/message-logs", &log("single")));
    wait_until("the single writes are queued", || {
        let queue = daemon.database.status().queue;
        queue.length - queue.bulk_length == 6
    });
    drop(held);
    for single in singles {
        let answer = single.join().unwrap();
        assert_eq!((answer.status, answer.json()["commit"].as_u64()), (200, Some(before + 2)));
    }
    let answer = single_log.join().unwrap();
    let id = answer.json()["id"].as_u64().unwrap();
    assert!(answer.status == 201 && id <= in_hand + 1, "{in_hand} lines were in hand, and it is row {id}");
    let report = importing.join().unwrap().json();
    assert_eq!(report, json!({"inserted": 2_000, "duplicates": 0, "rejected": 0, "errors": []}));
    let in_order = "SELECT count(*) FROM message_logs AS a JOIN message_logs AS b ON b.id = a.id + 1
                    WHERE substr(a.kook_message_id, 6) + 1 = substr(b.kook_message_id, 6) + 0";
    let neighbours = daemon.scalar(in_order).as_u64().unwrap();
    assert!(neighbours >= 1_998, "the lines keep their order: {neighbours}");
}

#[test]
fn an_import_that_the_end_overtakes_says_how_far_it_got() {
    let mut daemon = Daemon::with(|settings| settings.database.busy_timeout = Duration::from_secs(30));
    let held = daemon.hold_the_file();
    // A plain client sends all before it listens, and this body has no end.
    let mut connection = TcpStream::connect(daemon.address()).unwrap();
    let mut sender = connection.try_clone().unwrap();
    let sending = std::thread::spawn(move || -> std::io::Result<()> {
        sender.write_all(
            b"POST /v1/message-logs/import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        for number in 0_u64.. {
            let line = format!("{}\n", log(&format!("endless-{number}")));
            sender.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
        }
        Ok(())
    });
    // In the queue, or all of it in one batch in the writer's hand.
    wait_until("the window is full", || {
        let status = daemon.database.status();
        status.queue.length as u64 + status.writer.in_hand > 200
    });
    daemon.stopper.stop();
    wait_until("the daemon is stopping", || !daemon.database.is_running());
    drop(held);
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    assert!(sending.join().unwrap().is_err(), "the daemon closes the connection");
    let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(headers.starts_with("HTTP/1.1 503 "), "{headers}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["outcome"]), (&json!("shutting_down"), &json!("unknown")));
    assert_eq!(problem["retryable"], true);
    let told = problem["import"]["inserted"].as_i64().unwrap();
    daemon.ended().unwrap();
    let conn = actix_sqlite::rusqlite::Connection::open(daemon.file()).unwrap();
    let there: i64 = conn.query_row("SELECT count(*) FROM message_logs", [], |row| row.get(0)).unwrap();
    assert!(told > 0 && told <= there, "{told} told, {there} there");
}

#[test]
fn an_import_whose_sender_pauses_is_told_of_the_end() {
    let daemon = Daemon::start();
    let mut connection = TcpStream::connect(daemon.address()).unwrap();
    let line = format!("{}\n", log("only"));
    let head =
        "POST /v1/message-logs/import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.write_all(format!("{head}{:x}\r\n{line}\r\n", line.len()).as_bytes()).unwrap();
    wait_until("the line is committed", || daemon.database.status().writer.committed == 1);
    daemon.stop();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["import"]["inserted"]), (&json!("shutting_down"), &json!(1)));
}
