//! Writes that nobody waits for: `Prefer: respond-async`, and `/v1/dead-letters` for those that failed.

use std::time::Duration;

use actix_sqlite::Overflow;
use serde_json::{Value, json};

use crate::client::{Answer, Client, Daemon, log, one_at_a_time, wait_until};

/// Every route that writes one message, with what it takes and what it answers to who waits.
fn writes() -> [(&'static str, &'static str, Value, u16); 6] {
    let statement = json!({"sql": "INSERT INTO t VALUES (?1)", "params": [1]});
    [
        ("POST", "/v1/execute", statement.clone(), 200),
        ("POST", "/v1/transaction", json!({"statements": [statement.clone(), statement]}), 200),
        ("POST", "/v1/accounts", json!({"email": "ann@example.org"}), 201),
        ("PATCH", "/v1/accounts/1", json!({"status": "online"}), 200),
        ("DELETE", "/v1/accounts/2", Value::Null, 200),
        ("POST", "/v1/message-logs", log("m1"), 201),
    ]
}

/// What they need to be there.
fn prepare(daemon: &Daemon) {
    daemon.execute("CREATE TABLE t (a)");
    for email in ["bob@example.org", "eve@example.org"] {
        assert_eq!(daemon.client.post("/v1/accounts", &json!({ "email": email })).status, 201);
    }
}

fn send(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    if body.is_null() { client.send(method, path, ()) } else { client.send(method, path, body.to_string()) }
}

/// Fails if it is made to wait.
fn impatient(client: &Client) -> Client {
    client.no_longer_than(Duration::from_secs(10)).header("Prefer", "respond-async")
}

#[track_caller]
fn is_queued(answer: &Answer) {
    assert_eq!((answer.status, answer.header("preference-applied")), (202, "respond-async"));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.text(), r#"{"queued":true}"#, "nothing of a receipt");
}

/// Queues an INSERT that fails, and waits until it has.
fn bury(daemon: &Daemon, params: &Value) {
    let buried = daemon.database.status().writer.buried;
    let insert = json!({"sql": "INSERT INTO nowhere VALUES (?1)", "params": params});
    is_queued(&impatient(&daemon.client).post("/v1/execute", &insert));
    wait_until("it is dead", || daemon.database.status().writer.buried == buried + 1);
}

fn letters(daemon: &Daemon, query: &str) -> Value {
    let answer = daemon.client.get(&format!("/v1/dead-letters{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn ids(page: &Value) -> Vec<i64> {
    page["dead_letters"].as_array().unwrap().iter().map(|letter| letter["id"].as_i64().unwrap()).collect()
}

#[test]
fn a_queued_write_is_answered_before_its_commit_and_committed_all_the_same() {
    let daemon = Daemon::with(one_at_a_time);
    prepare(&daemon);
    let held = daemon.hold_the_file();
    for (method, path, body, _) in writes() {
        is_queued(&send(&impatient(&daemon.client), method, path, &body));
    }
    // Of a row that is not there nothing is known yet.
    is_queued(&impatient(&daemon.client).delete("/v1/accounts/99"));
    assert_eq!(daemon.database.status().writer.committed, 3);
    drop(held);
    wait_until("all are committed", || daemon.database.status().writer.committed == 10);
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 3);
    assert_eq!(daemon.scalar("SELECT count(*) FROM message_logs"), 1);
    let accounts = "SELECT group_concat(email || ' ' || status, ', ' ORDER BY id) FROM accounts";
    assert_eq!(daemon.scalar(accounts), "bob@example.org online, ann@example.org offline");
    assert_eq!(letters(&daemon, ""), json!({"dead_letters": [], "next_after_id": null}));
}

#[test]
fn who_does_not_ask_for_it_gets_a_receipt() {
    let daemon = Daemon::start();
    prepare(&daemon);
    let other = daemon.client.header("Prefer", "return=minimal, wait=5");
    for (method, path, body, status) in writes() {
        let answer = send(&other, method, path, &body);
        assert_eq!((answer.status, answer.header("preference-applied")), (status, ""), "{method} {path}");
        assert!(answer.json().get("queued").is_none());
    }
    for client in [
        other.header("Prefer", "respond-async"),
        daemon.client.header("Prefer", "handling=\"lenient, or not\", Respond-Async; x=y"),
    ] {
        is_queued(&client.post("/v1/execute", &json!({"sql": "DELETE FROM t"})));
    }
    // An import is many messages, and its counts are its answer.
    let import = impatient(&daemon.client).send("POST", "/v1/message-logs/import", "");
    assert_eq!((import.status, &import.json()["inserted"]), (200, &json!(0)));
}

#[test]
fn what_cannot_be_queued_is_refused_as_ever() {
    let daemon = Daemon::with(|settings| {
        one_at_a_time(settings);
        settings.queue.max_writes = 2.try_into().unwrap();
        settings.queue.max_bytes = bytesize::ByteSize::kib(4);
        settings.queue.overflow = Overflow::Reject;
    });
    let client = impatient(&daemon.client);
    for (path, body, status, code) in [
        ("/v1/execute", json!({"sql": 7}), 400, "invalid_request"),
        ("/v1/execute", json!({"sql": "SELECT :a", "params": [[1]]}), 400, "invalid_params"),
        ("/v1/execute", json!({"sql": "SELECT ?1", "params": ["x".repeat(5_000)]}), 413, "request_too_large"),
        ("/v1/transaction", json!({"statements": []}), 400, "invalid_request"),
        ("/v1/accounts", json!({"email": "nobody"}), 400, "invalid_message"),
        ("/v1/message-logs", json!({"kook_message_id": "m"}), 400, "invalid_request"),
    ] {
        let answer = client.post(path, &body);
        assert_eq!(answer.problem(status), code, "{path}");
        assert_eq!(answer.header("preference-applied"), "");
    }
    assert_eq!(client.send("PATCH", "/v1/accounts/x", "{}").problem(400), "invalid_id");
    let twice = client.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    assert_eq!(twice.delete("/v1/accounts/1").problem(400), "invalid_idempotency_key");
    assert_eq!(daemon.database.status().writer.batches, 0, "nothing was queued");

    // Room for one in the writer's hand and two in the queue.
    let held = daemon.hold_the_file();
    let table =
        |number: i64| client.post("/v1/execute", &json!({"sql": format!("CREATE TABLE t{number} (x)")}));
    is_queued(&table(0));
    wait_until("one is in hand", || daemon.database.status().writer.in_hand == 1);
    is_queued(&table(1));
    is_queued(&table(2));
    let refused = table(3);
    assert_eq!(refused.problem(503), "queue_full");
    assert_eq!(refused.json()["outcome"], "not_executed");
    drop(held);
    wait_until("all are committed", || daemon.database.status().writer.committed == 3);
    assert_eq!(daemon.scalar("SELECT count(*) FROM sqlite_schema WHERE name LIKE 't_'"), 3);
}

#[test]
fn a_queued_write_happens_once_under_its_key() {
    let daemon = Daemon::start();
    daemon.execute("CREATE TABLE t (a)");
    let keyed = daemon.client.header("Idempotency-Key", "order-7");
    let insert = json!({"sql": "INSERT INTO t VALUES (?)", "params": [1]});
    is_queued(&impatient(&keyed).post("/v1/execute", &insert));
    is_queued(&impatient(&keyed).post("/v1/execute", &insert));
    let receipt = keyed.post("/v1/execute", &insert);
    assert_eq!((receipt.status, &receipt.json()["rows_affected"]), (200, &json!(1)), "the first one's");
    assert_eq!(daemon.scalar("SELECT count(*) FROM t"), 1);
    let other = json!({"sql": "INSERT INTO t VALUES (?)", "params": [2]});
    is_queued(&impatient(&keyed).post("/v1/execute", &other));
    wait_until("it is dead", || daemon.database.status().writer.buried == 1);
    let letter = &letters(&daemon, "")["dead_letters"][0];
    assert_eq!((&letter["code"], &letter["key"]), (&json!("idempotency_conflict"), &json!("order-7")));
}

#[test]
fn a_queued_write_that_fails_is_a_dead_letter_until_it_is_tried_again() {
    let daemon = Daemon::start();
    bury(&daemon, &json!([1]));
    let both = json!({"statements": [{"sql": "CREATE TABLE x (a)"}, {"sql": "INSERT INTO x VALUES (:a, 2)", "params": {"a": 1}}]});
    is_queued(&impatient(&daemon.client).post("/v1/transaction", &both));
    wait_until("it is dead", || daemon.database.status().writer.buried == 2);
    let page = letters(&daemon, "");
    let failed_at = page["dead_letters"][0]["failed_at"].as_str().unwrap();
    let is_of_the_form = daemon.client.post(
        "/v1/query",
        &json!({"sql": "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ?1) = ?1, unixepoch() - unixepoch(?1)", "params": [failed_at]}),
    );
    let row = &is_of_the_form.json()["rows"][0];
    assert_eq!(row[0], 1, "{failed_at}");
    assert!((0..60).contains(&row[1].as_i64().unwrap()), "{failed_at}");
    assert_eq!(
        page["dead_letters"][0],
        json!({
            "id": 1, "statements": [{"sql": "INSERT INTO nowhere VALUES (?1)"}], "key": null,
            "code": "invalid_sql", "message": page["dead_letters"][0]["message"], "failed_at": failed_at, "attempts": 1
        })
    );
    assert!(page["dead_letters"][0]["message"].as_str().unwrap().contains("no such table: nowhere"));
    assert_eq!(
        page["dead_letters"][1]["statements"],
        json!([{"sql": "CREATE TABLE x (a)"}, {"sql": "INSERT INTO x VALUES (:a, 2)"}])
    );
    daemon.execute("CREATE TABLE nowhere (a)");
    let retry = |body: Value| daemon.client.post("/v1/dead-letters/retry", &body);
    let answer = retry(json!({"ids": [2, 7]}));
    assert_eq!((answer.status, answer.json()), (200, json!({"committed": 0, "failed": 1, "missing": 1})));
    assert_eq!(retry(json!({})).json(), json!({"committed": 1, "failed": 1, "missing": 0}));
    assert_eq!(daemon.scalar("SELECT a FROM nowhere"), 1);
    wait_until("its new error is kept", || letters(&daemon, "")["dead_letters"][0]["attempts"] == 3);
    assert_eq!(ids(&letters(&daemon, "")), [2]);
}

#[test]
fn dead_letters_come_in_pages_that_say_when_they_end() {
    let daemon = Daemon::start();
    for number in 0..4 {
        bury(&daemon, &json!([number]));
    }
    for (query, expected, next) in [
        ("", &[1, 2, 3, 4][..], Value::Null),
        ("?limit=3", &[1, 2, 3], json!(3)),
        ("?limit=3&after_id=3", &[4], Value::Null),
        ("?limit=2&after_id=2", &[3, 4], Value::Null),
        ("?limit=4", &[1, 2, 3, 4], Value::Null),
        ("?after_id=4&params=false", &[], Value::Null),
    ] {
        let page = letters(&daemon, query);
        assert_eq!((ids(&page).as_slice(), &page["next_after_id"]), (expected, &next), "{query}");
    }
    for query in ["limit=x", "limit=-1", "after_id=1.5", "param=true", "params=perhaps"] {
        let answer = daemon.client.get(&format!("/v1/dead-letters?{query}"));
        assert_eq!(answer.problem(400), "invalid_query_string", "{query}");
    }
    for query in ["limit=0", "limit=1001"] {
        let answer = daemon.client.get(&format!("/v1/dead-letters?{query}"));
        assert_eq!(answer.problem(400), "invalid_message", "{query}");
    }
}

#[test]
fn dead_letters_are_thrown_away_by_number_by_age_and_by_order() {
    let daemon = Daemon::start();
    for number in 0..4 {
        bury(&daemon, &json!([number]));
    }
    let expire = |body: Value| daemon.client.post("/v1/dead-letters/expire", &body);
    assert_eq!(expire(json!({"older_than": "30days"})).json()["expired"], 0, "they are young");
    assert_eq!(expire(json!({"ids": []})).json()["expired"], 0, "none were named");
    let answer = expire(json!({"ids": [2, 99]}));
    assert_eq!((answer.status, &answer.json()["expired"]), (200, &json!(1)));
    assert_eq!(answer.json()["commit"], daemon.database.last_commit().0);
    assert_eq!(ids(&letters(&daemon, "")), [1, 3, 4]);
    assert_eq!(expire(json!({"ids": [1, 3], "older_than": "1h"})).json()["expired"], 0);
    assert_eq!(expire(json!({"ids": [1], "older_than": "0s"})).json()["expired"], 1);
    assert_eq!(expire(json!({})).json()["expired"], 2);
    assert_eq!(ids(&letters(&daemon, "")), [0; 0]);
}

#[test]
fn an_order_that_does_not_say_what_is_meant_does_nothing() {
    let daemon = Daemon::start();
    bury(&daemon, &json!([1]));
    daemon.execute("CREATE TABLE nowhere (a)");
    for route in ["retry", "expire"] {
        let path = format!("/v1/dead-letters/{route}");
        let empty = daemon.client.send("POST", &path, "");
        assert_eq!(empty.problem(400), "empty_body");
        assert!(empty.json()["detail"].as_str().unwrap().contains("`{}` for all"), "{}", empty.text());
        for body in ["[]", r#"{"id": [1]}"#, r#"{"ids": 1}"#, r#"{"ids": ["1"]}"#, r#"{"older": "1h"}"#] {
            assert_eq!(daemon.client.send("POST", &path, body).problem(400), "invalid_request", "{body}");
        }
        assert_eq!(daemon.client.get(&path).problem(405), "method_not_allowed");
    }
    for age in [json!("soon"), json!("30"), json!(30), json!("-1h")] {
        let body = json!({ "older_than": age });
        assert_eq!(
            daemon.client.post("/v1/dead-letters/expire", &body).problem(400),
            "invalid_request",
            "{age}"
        );
    }
    assert_eq!(ids(&letters(&daemon, "")), [1]);
}

#[test]
fn parameters_are_shown_to_an_admin_on_request_and_to_nobody_else() {
    let secret = json!([{"base64": "AP8="}]);
    let mut daemon = Daemon::with(|settings| settings.auth.admin_token = "sesame".to_owned().into());
    let stranger = daemon.client.clone();
    daemon.client = daemon.client.header("Authorization", "Bearer sesame");
    bury(&daemon, &secret);
    bury(&daemon, &json!([i64::MAX]));
    assert!(!letters(&daemon, "").to_string().contains("AP8"));
    let shown = daemon.client.get("/v1/dead-letters?params=true");
    assert_eq!(shown.json()["dead_letters"][0]["statements"][0]["params"], secret);
    assert!(shown.text().contains("[9223372036854775807]"), "{}", shown.text());
    assert_eq!(stranger.get("/v1/dead-letters?params=true").problem(401), "unauthorized");

    let open = Daemon::start();
    bury(&open, &secret);
    assert_eq!(open.client.get("/v1/dead-letters?params=true").problem(403), "secrets_forbidden");
    assert!(!open.client.get("/v1/dead-letters").text().contains("AP8"));
}

#[test]
fn each_route_that_can_be_left_alone_says_so_in_the_document_and_no_other() {
    let daemon = Daemon::start();
    let document = daemon.client.get("/openapi.json").json();
    let mut documented = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, says) in item.as_object().unwrap() {
            let parameters = says["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            let prefer = parameters.iter().find(|parameter| parameter["name"] == "Prefer");
            let answer = says["responses"].get("202");
            assert_eq!(prefer.is_some(), answer.is_some(), "{method} {path}");
            let Some((prefer, answer)) = prefer.zip(answer) else { continue };
            assert_eq!((&prefer["in"], &prefer["required"]), (&json!("header"), &json!(false)));
            assert!(answer["headers"]["Preference-Applied"].is_object(), "{answer}");
            let schema = &answer["content"]["application/json"]["schema"];
            assert_eq!(schema["properties"]["queued"]["type"], "boolean", "{answer}");
            documented.push((method.to_uppercase(), path.trim_end_matches("{id}").to_owned()));
        }
    }
    documented.sort();
    let mut served =
        writes().map(|(method, path, ..)| (method.to_owned(), path.trim_end_matches(['1', '2']).to_owned()));
    served.sort();
    assert_eq!(documented, served);
}
