//! Who gets in, and who sees secrets.

use serde_json::json;

use crate::client::Daemon;

const ROUTES: [(&str, &str); 21] = [
    ("POST", "/v1/execute"),
    ("POST", "/v1/transaction"),
    ("POST", "/v1/query"),
    ("GET", "/v1/accounts"),
    ("POST", "/v1/accounts"),
    ("GET", "/v1/accounts/1"),
    ("PATCH", "/v1/accounts/1"),
    ("DELETE", "/v1/accounts/1"),
    ("GET", "/v1/message-logs"),
    ("POST", "/v1/message-logs"),
    ("GET", "/v1/message-logs/1"),
    ("POST", "/v1/message-logs/import"),
    ("GET", "/v1/dead-letters"),
    ("POST", "/v1/dead-letters/retry"),
    ("POST", "/v1/dead-letters/expire"),
    ("GET", "/v1/status"),
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/index.html"),
    ("GET", "/no/such/route"),
    ("PUT", "/v1/execute"),
];

fn guarded() -> Daemon {
    Daemon::with(|settings| settings.auth.admin_token = "sesame".to_owned().into())
}

#[test]
fn every_route_but_those_for_health_wants_the_token() {
    let daemon = guarded();
    let callers = [
        daemon.client.clone(),
        daemon.client.header("Authorization", "Bearer sesam"),
        daemon.client.header("Authorization", "Bearer "),
        daemon.client.header("Authorization", "Basic c2VzYW1l"),
    ];
    let send = |client: &crate::client::Client, method: &str, path: &str| match method {
        "GET" | "DELETE" => client.send(method, path, ()),
        _ => client.send(method, path, "{}"),
    };
    for (method, path) in ROUTES {
        for caller in &callers {
            let answer = send(caller, method, path);
            assert_eq!(answer.problem(401), "unauthorized", "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
        let admin = daemon.client.header("Authorization", "Bearer sesame");
        assert_ne!(send(&admin, method, path).status, 401, "{method} {path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(daemon.client.get(path).status, 200);
    }
}

#[test]
fn secrets_are_shown_to_an_admin_on_request_and_to_nobody_else() {
    let ann = json!({"email": "ann@example.org", "cookie": "crumbs", "password_encrypted": "xyz"});
    let daemon = guarded();
    let admin = daemon.client.header("Authorization", "Bearer sesame");
    assert_eq!(admin.post("/v1/accounts", &ann).status, 201);
    assert!(!admin.get("/v1/accounts/1").text().contains("crumbs"));
    assert!(!admin.get("/v1/accounts").text().contains("crumbs"));
    assert_eq!(admin.get("/v1/accounts/1?secrets=true").json()["cookie"], "crumbs");
    assert_eq!(admin.get("/v1/accounts?secrets=true").json()["accounts"][0]["password_encrypted"], "xyz");
    assert_eq!(daemon.client.get("/v1/accounts/1?secrets=true").problem(401), "unauthorized");

    let open = Daemon::start();
    assert_eq!(open.client.post("/v1/accounts", &ann).status, 201);
    for path in ["/v1/accounts?secrets=true", "/v1/accounts/1?secrets=true", "/v1/accounts/9?secrets=true"] {
        assert_eq!(open.client.get(path).problem(403), "secrets_forbidden");
    }
}

#[test]
fn a_page_of_another_site_cannot_use_a_daemon_without_a_token() {
    let daemon = Daemon::start();
    let drop_all = json!({"sql": "DROP TABLE message_logs"});
    let page = daemon.client.header("Origin", "https://evil.example");
    assert_eq!(page.post("/v1/execute", &drop_all).problem(403), "foreign_origin");
    let rebound = daemon.client.header("Host", "evil.example");
    assert_eq!(rebound.post("/v1/execute", &drop_all).problem(403), "foreign_origin");
    assert_eq!(daemon.scalar("SELECT count(*) FROM message_logs"), 0);
}
