//! A caller: sends writes under keys of their own, one after the other, and keeps the ledger of what it is told.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::ledger::{Ledger, SCHEMA, Write};
use crate::wire::{Answer, Broken, Wire};

/// What a caller heard of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is committed; the receipt, as it came.
    Receipt(String),
    /// It is not executed, and why.
    Refused(String),
    /// Nobody listens any more, so it was not sent.
    Unreachable,
    /// The connection broke before the answer.
    Cut(Broken),
}

pub(crate) struct Caller<'a> {
    pub(crate) number: i64,
    /// The next write's number.
    pub(crate) n: i64,
    ledger: &'a Ledger,
    address: SocketAddr,
    wire: Option<Wire>,
    /// How many steps of SQLite each write takes before it writes.
    steps: u64,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(number: i64, ledger: &'a Ledger, address: SocketAddr) -> Self {
        Self { number, n: 0, ledger, address, wire: None, steps: 0 }
    }

    /// Whose writes take longer.
    pub(crate) fn slow(self, steps: u64) -> Self {
        Self { steps, ..self }
    }

    /// Another daemon, or the same one on another port.
    pub(crate) fn turn_to(&mut self, address: SocketAddr) {
        self.address = address;
        self.wire = None;
    }

    /// Gives up the connection; the next request has one of its own.
    pub(crate) fn hang_up(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            wire.assert_no_more();
        }
    }

    /// A write that was never sent.
    pub(crate) fn next(&mut self) -> Write {
        self.n += 1;
        Write { caller: self.number, n: self.n }
    }

    /// Sends a write, first or again.
    pub(crate) fn send(&mut self, write: Write) -> Heard {
        if !self.connect() {
            return Heard::Unreachable;
        }
        self.ledger.sent(write);
        let heard = self.ask(write);
        match &heard {
            Heard::Receipt(receipt) => {
                let (seq, commit) = read(write, receipt);
                self.ledger.acknowledged(write, seq, commit);
            }
            Heard::Refused(_) => self.ledger.not_executed(write),
            Heard::Cut(_) | Heard::Unreachable => {}
        }
        heard
    }

    /// The same without the ledger: for a write that is done, whose receipt comes again.
    pub(crate) fn ask(&mut self, write: Write) -> Heard {
        let (path, body) = self.request(write);
        self.keyed(write, path, &body)
    }

    /// Another write under the key of this one. It must not be executed.
    pub(crate) fn misuse_key(&mut self, write: Write) -> Heard {
        let body = json!({"sql": "INSERT INTO heads (caller, n) VALUES (?1, -1)", "params": [write.caller]});
        self.keyed(write, "/v1/execute", &body)
    }

    /// The numbers of this caller's writes that a read sees among the newest so many rows.
    pub(crate) fn read(&mut self, newest: i64) -> Result<Vec<i64>, Heard> {
        let sql =
            "SELECT n FROM heads WHERE seq > (SELECT max(seq) FROM heads) - ?2 AND caller = ?1 ORDER BY seq";
        let body = json!({"sql": sql, "params": [self.number, newest]}).to_string();
        let answer = self.answer(|wire| wire.post("/v1/query", "", &body))?;
        if answer.status != 200 {
            return Err(Heard::Refused(answer.code()));
        }
        let rows = answer.json();
        Ok(rows["rows"].as_array().unwrap().iter().map(|row| row[0].as_i64().unwrap()).collect())
    }

    /// A statement that is no write of the ledger's.
    pub(crate) fn execute(&mut self, sql: &str, params: &Value) -> Heard {
        let body = json!({"sql": sql, "params": params}).to_string();
        hear(self.answer(|wire| wire.post("/v1/execute", "", &body)))
    }

    fn connect(&mut self) -> bool {
        if self.wire.is_none() {
            self.wire = Wire::connect(self.address);
        }
        self.wire.is_some()
    }

    /// Any request.
    pub(crate) fn answer(
        &mut self,
        ask: impl FnOnce(&mut Wire) -> Result<Answer, Broken>,
    ) -> Result<Answer, Heard> {
        self.connect();
        let wire = self.wire.as_mut().ok_or(Heard::Unreachable)?;
        let answer = ask(wire);
        if answer.as_ref().map_or(true, Answer::closes) {
            self.wire = None;
        }
        answer.map_err(Heard::Cut)
    }

    fn keyed(&mut self, write: Write, path: &str, body: &Value) -> Heard {
        let key = format!("idempotency-key: {}-{}\r\n", write.caller, write.n);
        hear(self.answer(|wire| wire.post(path, &key, &body.to_string())))
    }

    pub(crate) fn request(&self, write: Write) -> (&'static str, Value) {
        let params = json!([write.caller, write.n]);
        let head = format!(
            "INSERT INTO heads (caller, n) SELECT ?1, ?2 WHERE 0 < (WITH RECURSIVE step(i) AS
               (SELECT 1 UNION ALL SELECT i + 1 FROM step LIMIT {}) SELECT count(*) FROM step)
             RETURNING caller, n",
            1 + self.steps
        );
        let head = json!({"sql": head, "params": params});
        if !write.has_part() {
            return ("/v1/execute", head);
        }
        let part =
            "INSERT INTO parts (head, caller, n) VALUES (last_insert_rowid(), ?1, ?2) RETURNING caller, n";
        ("/v1/transaction", json!({"statements": [head, {"sql": part, "params": params}]}))
    }
}

fn hear(answer: Result<Answer, Heard>) -> Heard {
    match answer {
        Ok(answer) if answer.status == 200 => Heard::Receipt(answer.text().to_owned()),
        Ok(answer) => {
            assert_eq!(answer.json()["outcome"], "not_executed", "{answer:?}");
            Heard::Refused(answer.code())
        }
        Err(heard) => heard,
    }
}

/// Row and commit in a receipt, which has to be this write's own.
fn read(write: Write, receipt: &str) -> (i64, u64) {
    let receipt: Value = serde_json::from_str(receipt).unwrap();
    let commit = receipt["commit"].as_u64().unwrap();
    let own = json!([[write.caller, write.n]]);
    let head = if write.has_part() {
        assert_eq!(receipt["results"][1]["rows"], own, "somebody else's receipt");
        &receipt["results"][0]
    } else {
        &receipt
    };
    assert_eq!(head["rows"], own, "somebody else's receipt");
    (head["last_insert_rowid"].as_i64().unwrap(), commit)
}

/// Creates the tables.
pub(crate) fn prepare(address: SocketAddr) {
    let ledger = Ledger::default();
    let mut caller = Caller::new(0, &ledger, address);
    for sql in SCHEMA {
        let heard = caller.execute(sql, &json!([]));
        assert!(matches!(heard, Heard::Receipt(_)), "{heard:?}");
    }
}
