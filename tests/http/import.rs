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
