//! What no client should send: each is told what is wrong, and the daemon works on.

use serde_json::json;

use super::*;

/// Bodies of a pipeline in version 3, and the code that refuses them.
const BODIES: [(&str, &str); 62] = [
    ("", "EMPTY_BODY"),
    (" \n", "EMPTY_BODY"),
    ("null", "INVALID_REQUEST"),
    ("[]", "INVALID_REQUEST"),
    ("1", "INVALID_REQUEST"),
    ("\"x\"", "INVALID_REQUEST"),
    ("{", "INVALID_JSON"),
    ("{}", "INVALID_REQUEST"),
    ("{\"requests\": []", "INVALID_JSON"),
    ("{\"requests\": []}}", "INVALID_JSON"),
    ("{\"requests\": [],}", "INVALID_JSON"),
    ("{'requests': []}", "INVALID_JSON"),
    ("{\"requests\": null}", "INVALID_REQUEST"),
    ("{\"requests\": {}}", "INVALID_REQUEST"),
    ("{\"requests\": \"close\"}", "INVALID_REQUEST"),
    ("{\"requests\": [], \"requests\": []}", "INVALID_REQUEST"),
    ("{\"requests\": [], \"baton\": 7}", "INVALID_REQUEST"),
    ("{\"requests\": [], \"baton\": []}", "INVALID_REQUEST"),
    ("{\"requests\": [null]}", "INVALID_REQUEST"),
    ("{\"requests\": [[]]}", "INVALID_REQUEST"),
    ("{\"requests\": [\"close\"]}", "INVALID_REQUEST"),
    ("{\"requests\": [{}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": null}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": 1}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"\"}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"Close\"}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"drop\"}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"open_stream\", \"stream_id\": 1}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"fetch_cursor\", \"cursor_id\": 1, \"max_count\": 1}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"execute\"}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": null}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": \"SELECT 1\"}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {}}]}", "SQL_OR_SQL_ID"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": null}}]}", "SQL_OR_SQL_ID"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": 1}}]}", "INVALID_REQUEST"),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT 1\", \"sql_id\": 1}}]}",
        "SQL_OR_SQL_ID",
    ),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql_id\": 1}}]}", "SQL_NOT_FOUND"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql_id\": \"1\"}}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql_id\": 2147483648}}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql_id\": 1.5}}]}", "INVALID_REQUEST"),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": {}}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [1]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [null]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"integer\", \"value\": 1}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"integer\", \"value\": \"9223372036854775808\"}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"float\", \"value\": NaN}]}}]}",
        "INVALID_JSON",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"float\", \"value\": 1e999}]}}]}",
        "INVALID_JSON",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"float\", \"value\": null}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"blob\", \"base64\": \"???\"}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT ?\", \"args\": [{\"type\": \"text\", \"value\": \"\\ud800\"}]}}]}",
        "INVALID_JSON",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT :a\", \"named_args\": [{\"name\": \"a\"}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT :a\", \"named_args\": {\"a\": 1}}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT 1\", \"want_rows\": \"no\"}}]}",
        "INVALID_REQUEST",
    ),
    ("{\"requests\": [{\"type\": \"batch\"}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"batch\", \"batch\": {}}]}", "INVALID_REQUEST"),
    ("{\"requests\": [{\"type\": \"batch\", \"batch\": {\"steps\": [{}]}}]}", "INVALID_REQUEST"),
    (
        "{\"requests\": [{\"type\": \"batch\", \"batch\": {\"steps\": [{\"stmt\": {\"sql\": \"SELECT 1\"}, \"condition\": {\"type\": \"maybe\"}}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"batch\", \"batch\": {\"steps\": [{\"stmt\": {\"sql\": \"SELECT 1\"}, \"condition\": {\"type\": \"ok\", \"step\": -1}}]}}]}",
        "INVALID_REQUEST",
    ),
    (
        "{\"requests\": [{\"type\": \"batch\", \"batch\": {\"steps\": [{\"stmt\": {\"sql\": \"SELECT 1\"}, \"condition\": {\"type\": \"ok\", \"step\": 0}}]}}]}",
        "BATCH_COND_BAD_STEP",
    ),
    ("{\"requests\": [{\"type\": \"sequence\"}]}", "SQL_OR_SQL_ID"),
    ("{\"requests\": [{\"type\": \"store_sql\", \"sql\": \"SELECT 1\"}]}", "INVALID_REQUEST"),
];

#[test]
fn a_body_that_is_not_as_it_should_be_is_told_so_and_does_no_harm() {
    let daemon = Daemon::start();
    let mut wrong = Vec::new();
    for (body, expected) in BODIES {
        for path in ["/v2/pipeline", "/v3/pipeline"] {
            let code = refused(&daemon.client.send("POST", path, body), 400);
            if code != expected {
                wrong.push(format!("{path}: {body}: {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Stream::open(&daemon, 3).execute("SELECT 1");
}

#[test]
fn cursors_and_version_1_are_as_strict() {
    let daemon = Daemon::start();
    for (path, body) in [
        ("/v3/cursor", "{}"),
        ("/v3/cursor", "{\"batch\": null}"),
        ("/v3/cursor", "{\"batch\": {\"steps\": 1}}"),
        ("/v3/cursor", "{\"baton\": \"x\", \"batch\": {\"steps\": []}}"),
        ("/v3/cursor", "not json"),
        ("/v1/batch", "{}"),
        ("/v1/batch", "{\"batch\": []}"),
        ("/v1/batch", "{\"batch\": {\"steps\": [{\"stmt\": {\"sql_id\": 1}}]}}"),
        ("/v1/batch", ""),
        ("/v1/execute", "{\"stmt\": {}}"),
        ("/v1/execute", "{\"stmt\": []}"),
    ] {
        refused(&daemon.client.send("POST", path, body), 400);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let daemon = Daemon::start();
    let mut body = b"{\"requests\": [{\"type\": \"execute\", \"stmt\": {\"sql\": \"SELECT '".to_vec();
    body.push(0xff);
    body.extend_from_slice(b"'\"}}]}");
    assert_eq!(refused(&daemon.client.send("POST", "/v2/pipeline", &body[..]), 400), "INVALID_UTF8");
    let packed = daemon.client.header("Content-Encoding", "gzip");
    assert_eq!(refused(&packed.send("POST", "/v2/pipeline", &body[..]), 415), "UNSUPPORTED_ENCODING");
}

#[test]
fn conditions_within_conditions_end_somewhere() {
    let daemon = Daemon::start();
    for (depth, status) in [(20, 200), (10_000, 400), (500_000, 400)] {
        let condition = format!(
            "{}{{\"type\":\"is_autocommit\"}}{}",
            "{\"type\":\"not\",\"cond\":".repeat(depth),
            "}".repeat(depth)
        );
        let body = format!(
            "{{\"requests\":[{{\"type\":\"batch\",\"batch\":{{\"steps\":[{{\"stmt\":{{\"sql\":\"SELECT 1\"}},\"condition\":{condition}}}]}}}}]}}"
        );
        let answer = daemon.client.send("POST", "/v3/pipeline", body);
        // The longest is longer than a body may be.
        assert!([status, 413].contains(&answer.status), "{depth}: {}", answer.status);
    }
    Stream::open(&daemon, 3).execute("SELECT 1");
}

#[test]
fn a_body_that_is_too_long_is_refused_in_the_same_words() {
    let daemon = Daemon::with(|settings| settings.server.max_body = bytesize(1_000));
    let long = json!({"requests": [execute(&format!("SELECT '{}'", "x".repeat(2_000)))]});
    assert_eq!(refused(&daemon.client.post("/v2/pipeline", &long), 413), "BODY_TOO_LARGE");
}

#[test]
fn the_content_type_does_not_matter() {
    let daemon = Daemon::start();
    let body = json!({"requests": [execute("SELECT 1"), close()], "unknown": {"to": ["this", "version"]}})
        .to_string();
    for content_type in
        ["application/json", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "nonsense"]
    {
        let client = daemon.client.header("Content-Type", content_type);
        assert_eq!(client.send("POST", "/v2/pipeline", body.as_str()).status, 200, "{content_type}");
    }
}

#[test]
fn a_batch_that_names_a_long_stored_text_too_often_is_refused_before_it_is_unfolded() {
    let daemon = Daemon::start();
    let mut stream = Stream::open(&daemon, 3);
    let long = format!("SELECT '{}'", "x".repeat(1_000_000));
    stream.ask(json!({"type": "store_sql", "sql_id": 1, "sql": long}));
    stream.ask(json!({"type": "store_sql", "sql_id": 2, "sql": "SELECT 1"}));
    let batch = |sql_id: i32, times: usize| {
        let steps = vec![json!({"stmt": {"sql_id": sql_id, "want_rows": false}}); times];
        json!({"type": "batch", "batch": {"steps": steps}})
    };
    // It would be a gigabyte.
    assert_eq!(stream.fail(batch(1, 1_000)), "BATCH_TOO_LARGE");
    stream.ask(batch(1, 2));
    stream.ask(batch(2, 1_000));
}
