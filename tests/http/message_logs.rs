//! `/v1/message-logs`, one by one.

use serde_json::json;

use crate::client::{Daemon, chat, log};

#[test]
fn a_message_is_logged_once_for_each_target() {
    let daemon = Daemon::start();
    let added = daemon.client.post("/v1/message-logs", &log("m1"));
    assert_eq!((added.status, added.json()), (201, json!({"id": 1, "inserted": true})));
    let again = daemon.client.post("/v1/message-logs", &log("m1"));
    assert_eq!((again.status, again.json()), (200, json!({"id": 1, "inserted": false})));
    let shown = daemon.client.get("/v1/message-logs/1").json();
    for (field, value) in log("m1").as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert_eq!(daemon.client.get("/v1/message-logs/2").problem(404), "not_found");
}

#[test]
fn pages_are_filtered_counted_and_walked_by_their_last_id() {
    let daemon = Daemon::start();
    for number in 0..25 {
        let mut log = log(&format!("m{number}"));
        log["status"] = json!(if number % 5 == 0 { "failed" } else { "success" });
        log["created_at"] = json!(format!("2026-01-{:02}T12:00:00Z", number + 1));
        assert_eq!(daemon.client.post("/v1/message-logs", &log).status, 201);
    }
    let get = |query: &str| daemon.client.get(&format!("/v1/message-logs?{query}")).json();
    let ids = |page: &serde_json::Value| -> Vec<i64> {
        page["message_logs"].as_array().unwrap().iter().map(|log| log["id"].as_i64().unwrap()).collect()
    };
    let page = get("limit=10&total=true");
    assert_eq!((ids(&page), &page["total"]), ((16..=25).rev().collect(), &json!(25)));
    let next = get(&format!("limit=10&before_id={}", page["next_before_id"]));
    assert_eq!((ids(&next), next.get("total")), ((6..=15).rev().collect(), None));
    assert_eq!(ids(&get("status=failed&limit=2&offset=1")), [16, 11]);
    assert_eq!(ids(&get("since=2026-01-24&until=2026-01-25T00:00:00%2B00:00")), [24]);
    assert_eq!(get("platform=telegram&total=true")["total"], 0);
    assert_eq!(get("channel=d-general&total=true")["total"], 25);
}

#[test]
fn each_of_many_clients_is_told_the_id_of_its_own_row() {
    const CLIENTS: usize = 64;
    const EACH: usize = 20;
    let daemon = Daemon::start();
    let chat = chat();
    std::thread::scope(|scope| {
        for share in chat.chunks(EACH).take(CLIENTS) {
            let client = daemon.client.another();
            scope.spawn(move || {
                for log in share {
                    let added = client.post("/v1/message-logs", log);
                    assert_eq!(added.status, 201, "{}", added.text());
                    let row = client.get(&format!("/v1/message-logs/{}", added.json()["id"])).json();
                    for field in ["kook_message_id", "target_platform", "target_channel", "content"] {
                        assert_eq!(row[field], log[field]);
                    }
                }
            });
        }
    });
    assert_eq!(daemon.scalar("SELECT count(*) FROM message_logs"), CLIENTS * EACH);
    let status = daemon.client.get("/v1/status").json();
    assert_eq!(status["writer"]["committed"], CLIENTS * EACH);
    assert!(status["writer"]["commits"].as_u64().unwrap() < (CLIENTS * EACH) as u64, "writes share commits");
}

#[test]
fn a_typed_write_is_replayed_under_its_key() {
    let daemon = Daemon::start();
    for (path, body, other) in [
        ("/v1/message-logs", log("m1"), log("m2")),
        ("/v1/accounts", json!({"email": "ann@example.org"}), json!({"email": "bob@example.org"})),
    ] {
        let client = daemon.client.header("Idempotency-Key", path);
        let first = client.post(path, &body);
        assert_eq!((first.status, &first.json()["inserted"]), (201, &json!(true)));
        let again = client.post(path, &body);
        assert_eq!((again.status, again.json()), (201, first.json()), "{path}");
        assert_eq!(client.post(path, &other).problem(409), "idempotency_conflict");
    }
    let client = daemon.client.header("Idempotency-Key", "gone");
    assert_eq!(client.delete("/v1/accounts/1").status, 200);
    assert_eq!(client.delete("/v1/accounts/1").status, 200, "without its key: 404");
    assert_eq!(daemon.client.delete("/v1/accounts/1").status, 404);
}
