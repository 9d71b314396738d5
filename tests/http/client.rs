//! A daemon of the test's own, a plain client for it, and the chat that is logged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_sqlite::server::{Address, ServeError, Served, Server, Stopper};
use actix_sqlite::{Database, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, AsSendBody};

use crate::support::chat_file;

/// A daemon in a thread of its own. Dropping it ends it.
pub(crate) struct Daemon {
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) stopper: Stopper,
    pub(crate) addresses: Vec<Address>,
    directory: TempDir,
    thread: Option<JoinHandle<Result<Served, ServeError>>>,
}

/// The writer takes one write at a time, so that what is behind it is in the queue, and waits for a file that somebody
/// else holds.
pub(crate) fn one_at_a_time(settings: &mut Settings) {
    settings.writer.max_batch_writes = 1.try_into().unwrap();
    settings.database.busy_timeout = Duration::from_secs(30);
}

/// Settings for a file in `directory`, on a free port.
pub(crate) fn settings_in(directory: &Path) -> Settings {
    let mut settings = Settings::for_file(directory.join("test.db"));
    settings.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    settings
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings_in(directory.path());
        change(&mut settings);
        let (tell, started) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let server = Server::bind(settings).await?;
                tell.send((server.addresses().to_vec(), server.database().clone(), server.stopper()))
                    .unwrap();
                drop(tell);
                server.run().await
            })
        });
        let (addresses, database, stopper) = started.recv().expect("the daemon did not start");
        let client = Client::new(&addresses[0].to_string());
        Self { client, database, stopper, addresses, directory, thread: Some(thread) }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("test.db")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self.addresses[0] {
            Address::Http(address) => address,
            Address::Unix(_) => unreachable!("the first address is the TCP one"),
        }
    }

    pub(crate) fn stop(mut self) -> Served {
        self.stopper.stop();
        self.ended().unwrap()
    }

    /// Waits for an end that was asked for already.
    pub(crate) fn ended(&mut self) -> Result<Served, ServeError> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Runs a statement and expects it to be committed.
    pub(crate) fn execute(&self, sql: &str) -> Value {
        let answer = self.client.post("/v1/execute", &json!({ "sql": sql }));
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.json()
    }

    /// The first column of the first row.
    pub(crate) fn scalar(&self, sql: &str) -> Value {
        let answer = self.client.post("/v1/query", &json!({ "sql": sql }));
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.json()["rows"][0][0].clone()
    }

    /// Keeps the writer out of the file, as another program might, until it is dropped.
    pub(crate) fn hold_the_file(&self) -> actix_sqlite::rusqlite::Connection {
        let conn = actix_sqlite::rusqlite::Connection::open(self.file()).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn
    }

    /// Keeps the log from being checkpointed, as another program might, until it is dropped.
    pub(crate) fn hold_a_snapshot(&self) -> actix_sqlite::rusqlite::Connection {
        let conn = actix_sqlite::rusqlite::Connection::open(self.file()).unwrap();
        conn.execute_batch("BEGIN").unwrap();
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap();
        conn
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stopper.stop();
            let _ = thread.join();
        }
    }
}

/// Looks again and again until it is so; fails after a time in which it should have been so a thousand times.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 30, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    headers: Vec<(String, String)>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

fn agent(longest: Option<Duration>) -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).max_redirects(0);
    config.timeout_global(longest).build().into()
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        Self { agent: agent(None), url: url.to_owned(), headers: Vec::new() }
    }

    /// Another one with its own connections.
    pub(crate) fn another(&self) -> Self {
        Self { headers: self.headers.clone(), ..Self::new(&self.url) }
    }

    /// Gives up on an answer that takes longer.
    pub(crate) fn no_longer_than(&self, time: Duration) -> Self {
        Self { agent: agent(Some(time)), ..self.another() }
    }

    pub(crate) fn header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, ())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, ())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string())
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: impl AsSendBody) -> Answer {
        self.try_send(method, path, body).unwrap()
    }

    /// An error also if the body breaks off.
    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        body: impl AsSendBody,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = self.agent.run(request.body(body).unwrap())?;
        let (head, body) = answer.into_parts();
        let body = body.into_with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a whole problem, and returns its code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(
            (problem["type"].as_str(), problem["status"].as_u64()),
            (Some("about:blank"), Some(status.into()))
        );
        assert!(
            problem["title"].is_string()
                && problem["detail"].is_string()
                && problem["retryable"].is_boolean()
        );
        assert!(matches!(problem["outcome"].as_str(), Some("not_executed" | "unknown")));
        if status == 503 {
            assert!(self.header("retry-after").parse::<u64>().unwrap() >= 1);
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Lines of a real chat if there is one, else made up ones.
pub(crate) fn chat() -> Vec<Value> {
    chat_file().map_or_else(
        || (0..20_000).map(|number| log(&format!("made-up-{number}"))).collect(),
        |file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        },
    )
}

/// A message log of this message.
pub(crate) fn log(message: &str) -> Value {
    json!({
        "kook_message_id": message, "kook_channel_id": "general", "content": format!("naïve \u{1F980} {message}"),
        "sender_name": "ann", "target_platform": "discord", "target_channel": "d-general", "status": "success",
        "latency_ms": 12
    })
}

/// NDJSON.
pub(crate) fn lines(logs: &[Value]) -> String {
    logs.iter().fold(String::new(), |lines, log| lines + &log.to_string() + "\n")
}
