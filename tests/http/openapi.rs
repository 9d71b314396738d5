//! The document is what is served, and the pages that show it need no network.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::Daemon;

/// Every route of the interface. A new one is added here too, or this test fails.
const ROUTES: [&str; 26] = [
    "DELETE /v1/accounts/{id}",
    "GET /docs",
    "GET /livez",
    "GET /openapi.json",
    "GET /readyz",
    "GET /v1/accounts",
    "GET /v1/accounts/{id}",
    "GET /v1/dead-letters",
    "GET /v1/message-logs",
    "GET /v1/message-logs/{id}",
    "GET /v1/status",
    "GET /v2",
    "GET /v3",
    "PATCH /v1/accounts/{id}",
    "POST /v1/accounts",
    "POST /v1/batch",
    "POST /v1/dead-letters/expire",
    "POST /v1/dead-letters/retry",
    "POST /v1/execute",
    "POST /v1/message-logs",
    "POST /v1/message-logs/import",
    "POST /v1/query",
    "POST /v1/transaction",
    "POST /v2/pipeline",
    "POST /v3/cursor",
    "POST /v3/pipeline",
];

#[test]
fn the_document_lists_the_routes_that_are_served() {
    let daemon = Daemon::start();
    let document = daemon.client.get("/openapi.json").json();
    let operations = || {
        let paths = document["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, says)| (path, method, says))
        })
    };
    let documented: BTreeSet<String> =
        operations().map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
    assert_eq!(documented, ROUTES.map(str::to_owned).into());
    for (path, method, says) in operations() {
        let method = method.to_uppercase();
        let real = path.replace("{id}", "7");
        let answer = match method.as_str() {
            "GET" | "DELETE" => daemon.client.send(&method, &real, ()),
            _ => daemon.client.send(&method, &real, "{}"),
        };
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(
            says["responses"].get(answer.status.to_string()).is_some(),
            "{method} {path}: {} is not documented",
            answer.status
        );
        if answer.status == 404 {
            assert_eq!(answer.problem(404), "not_found", "{method} {path}");
        }
        assert!(
            says["summary"].is_string() && !says["tags"].as_array().unwrap().is_empty(),
            "{method} {path}"
        );
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let daemon = Daemon::start();
    let document = daemon.client.get("/openapi.json").json();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, says) in item.as_object().unwrap() {
            let name = says["operationId"].as_str().unwrap();
            assert!(names.insert(name), "{method} {path}: there is another {name}");
        }
    }
    assert_eq!(names.len(), ROUTES.len());
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let daemon = Daemon::start();
    let document = daemon.client.get("/openapi.json").json();
    let mut seen = 0;
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            seen += 1;
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        match value {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(seen > 50, "{seen}");
    assert!(document["components"]["schemas"]["Problem"]["properties"]["code"].is_object());
    assert!(document["components"]["securitySchemes"]["token"].is_object());
}

#[test]
fn the_pages_of_the_document_ask_no_other_host() {
    let daemon = Daemon::start();
    let moved = daemon.client.get("/docs");
    assert_eq!((moved.status, moved.header("location")), (308, "docs/"));
    let page = daemon.client.get("/docs/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").starts_with("default-src 'self';"));
    let text = page.text();
    assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    let mut files = 0;
    let named =
        text.split(' ').filter_map(|word| word.strip_prefix("href=\"").or(word.strip_prefix("src=\"")));
    for name in named.filter_map(|rest| rest.split('"').next()) {
        let file = daemon.client.get(&format!("/docs/{}", name.trim_start_matches("./")));
        assert_eq!(file.status, 200, "{name}");
        assert!(!file.body.is_empty(), "{name}");
        files += 1;
    }
    assert!(files >= 5, "{text}");
    let initializer = daemon.client.get("/docs/swagger-initializer.js").text();
    assert!(
        initializer.contains("\"../openapi.json\"") && initializer.contains("\"validatorUrl\": \"none\""),
        "{initializer}"
    );
    assert!(!initializer.contains("://"), "{initializer}");
}
