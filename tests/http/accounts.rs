//! `/v1/accounts`.

use serde_json::json;

use crate::client::Daemon;

#[test]
fn an_account_is_added_once_changed_and_deleted() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let ann = json!({"email": "ann@example.org", "cookie": "crumbs"});
    let added = client.post("/v1/accounts", &ann);
    assert_eq!((added.status, added.json()), (201, json!({"id": 1, "inserted": true})));
    let again = client.post("/v1/accounts", &ann);
    assert_eq!((again.status, again.json()), (200, json!({"id": 1, "inserted": false})));

    let shown = client.get("/v1/accounts/1").json();
    assert_eq!((&shown["email"], &shown["status"]), (&json!("ann@example.org"), &json!("offline")));
    assert!(shown.get("cookie").is_none());

    let changed = client.send("PATCH", "/v1/accounts/1", json!({"status": "online"}).to_string());
    assert_eq!((changed.status, changed.json()), (200, json!({"updated": true})));
    assert_eq!(client.post("/v1/accounts", &json!({"email": "bob@example.org"})).status, 201);
    let online = client.get("/v1/accounts?status=online").json();
    assert_eq!(online["accounts"].as_array().unwrap().len(), 1);
    assert!(online["accounts"][0]["last_active"].is_string());
    assert_eq!(client.get("/v1/accounts").json()["accounts"].as_array().unwrap().len(), 2);

    let deleted = client.delete("/v1/accounts/1");
    assert_eq!((deleted.status, deleted.json()), (200, json!({"deleted": true})));
    for answer in [
        client.get("/v1/accounts/1"),
        client.delete("/v1/accounts/1"),
        client.send("PATCH", "/v1/accounts/1", json!({"status": "online"}).to_string()),
    ] {
        assert_eq!(answer.problem(404), "not_found");
    }
}

#[test]
fn an_account_that_is_none_is_refused() {
    let daemon = Daemon::start();
    for body in [json!({"email": "nobody"}), json!({"email": ""}), json!({"email": "a@b", "status": ""})] {
        assert_eq!(daemon.client.post("/v1/accounts", &body).problem(400), "invalid_message");
    }
    assert_eq!(daemon.client.post("/v1/accounts", &json!({"mail": "a@b"})).problem(400), "invalid_request");
}
