//! The protocol of the libSQL clients. Here: what its tests have in common.

mod batch;
mod cursor;
mod malformed;
mod pipeline;
mod streams;
mod values;
mod ws;

use serde_json::{Value, json};

use crate::client::{Answer, Client, Daemon};

/// A client's stream over HTTP.
pub(crate) struct Stream {
    client: Client,
    path: &'static str,
    pub(crate) baton: Value,
}

impl Stream {
    pub(crate) fn open(daemon: &Daemon, version: u8) -> Self {
        let path = if version == 3 { "/v3/pipeline" } else { "/v2/pipeline" };
        Self { client: daemon.client.clone(), path, baton: Value::Null }
    }

    /// Sends a pipeline and remembers the next baton.
    #[track_caller]
    pub(crate) fn pipeline(&mut self, requests: &[Value]) -> Vec<Value> {
        let answer = self.try_pipeline(requests);
        assert_eq!(answer.status, 200, "{requests:?}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        let mut answer = answer.json();
        assert_eq!(answer["base_url"], Value::Null);
        assert_ne!(self.baton, json!(""), "a baton is never empty");
        self.baton = answer["baton"].take();
        let results = answer["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), requests.len());
        results
    }

    pub(crate) fn try_pipeline(&self, requests: &[Value]) -> Answer {
        self.client.post(self.path, &json!({"baton": self.baton, "requests": requests}))
    }

    /// The response to one request.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: Value) -> Value {
        ok(&self.pipeline(&[request])[0])
    }

    /// The code of the error of one request.
    #[track_caller]
    pub(crate) fn fail(&mut self, request: Value) -> String {
        code(&self.pipeline(&[request])[0])
    }

    /// The result of one statement.
    #[track_caller]
    pub(crate) fn execute(&mut self, sql: &str) -> Value {
        self.ask(execute(sql))["result"].take()
    }

    /// The first value of the first row, without its type.
    #[track_caller]
    pub(crate) fn scalar(&mut self, sql: &str) -> Value {
        self.execute(sql)["rows"][0][0]["value"].take()
    }
}

/// The response of a result that is one.
#[track_caller]
pub(crate) fn ok(result: &Value) -> Value {
    assert_eq!(result["type"], "ok", "{result}");
    result["response"].clone()
}

/// The code of a result that is an error.
#[track_caller]
pub(crate) fn code(result: &Value) -> String {
    assert_eq!(result["type"], "error", "{result}");
    assert!(!result["error"]["message"].as_str().unwrap().is_empty());
    result["error"]["code"].as_str().unwrap().to_owned()
}

/// The code of an answer that is an error of the protocol.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let error = answer.json();
    assert!(!error["message"].as_str().unwrap().is_empty());
    let code = error["code"].as_str().unwrap();
    assert!(
        code.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit())
    );
    code.to_owned()
}

pub(crate) fn execute(sql: &str) -> Value {
    json!({"type": "execute", "stmt": {"sql": sql}})
}

pub(crate) fn with_args(sql: &str, args: &[Value]) -> Value {
    json!({"type": "execute", "stmt": {"sql": sql, "args": args}})
}

pub(crate) fn close() -> Value {
    json!({"type": "close"})
}

pub(crate) fn integer(integer: i64) -> Value {
    json!({"type": "integer", "value": integer.to_string()})
}

pub(crate) fn text(text: &str) -> Value {
    json!({"type": "text", "value": text})
}

pub(crate) fn bytesize(bytes: u64) -> bytesize::ByteSize {
    bytesize::ByteSize::b(bytes)
}
