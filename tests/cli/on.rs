//! Runs the binary in a directory of its own, on a file or on a daemon that serves it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_sqlite::{Database, Execute, IdempotencyKey, Settings};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A directory with nothing in it but what the test puts there.
pub(crate) struct Place {
    directory: TempDir,
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The binary, with nothing of this machine's settings.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_actix-sqlite"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ACTIX_SQLITE"))
        {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("COLUMNS")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Run {
        finish(self.command(arguments), b"")
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, input: &[u8]) -> Run {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Refused if the command does not read stdin: then there is nothing to see to.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// Stdout, after a success.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Stdout as one JSON document, after a success.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Stderr, after this exit code and nothing on stdout.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        self.stderr
    }

    /// The same, with this text on stderr.
    #[track_caller]
    pub(crate) fn fails_with(self, code: i32, text: &str) {
        let stderr = self.fails(code);
        assert!(stderr.contains(text), "no {text:?} in: {stderr}");
    }
}

/// A daemon on a free port. Ended when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) url: String,
    stderr: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Serves `data.db` of the place.
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_with(place, |_| {})
    }

    pub(crate) fn start_with(place: &Place, adjust: impl FnOnce(&mut Command)) -> Self {
        let daemon = Self::launch(place, adjust);
        assert!(!daemon.url.is_empty(), "the daemon does not listen: {}", daemon.stderr());
        daemon
    }

    /// The same, but it may end before it listens: then it has no URL.
    pub(crate) fn launch(place: &Place, adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--database", "data.db"]);
        adjust(&mut command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let (found, url) = std::sync::mpsc::channel();
        let kept = Arc::clone(&stderr);
        let listener = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap_or(0) > 0 {
                kept.lock().unwrap().push_str(&line);
                if let Some(url) = line.trim().strip_prefix("listening on ") {
                    // Asked for once; a daemon may listen on more addresses.
                    let _ = found.send(url.to_owned());
                }
                line.clear();
            }
        });
        // The listener ends with the daemon, and the channel with the listener.
        let url = url.recv_timeout(PATIENCE).unwrap_or_default();
        Self { child, url, stderr, listener: Some(listener) }
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// How it ended, and all it said.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "the daemon does not end: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        };
        let listener = self.listener.take().expect("waited for once");
        listener.join().unwrap();
        (status, self.stderr())
    }

    /// Waits for a line.
    pub(crate) fn says(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.stderr().contains(text) {
            assert!(Instant::now() < until, "no {text:?} in: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the subcommands of a test work on.
pub(crate) struct On {
    pub(crate) place: Place,
    daemon: Option<Daemon>,
}

impl On {
    /// A file that is not there yet.
    pub(crate) fn file() -> Self {
        Self { place: Place::new(), daemon: None }
    }

    /// A file without anything in it, which to SQLite is a database.
    pub(crate) fn empty_file() -> Self {
        let place = Place::new();
        place.write("data.db", "");
        Self { place, daemon: None }
    }

    pub(crate) fn daemon() -> Self {
        let place = Place::new();
        let daemon = Some(Daemon::start(&place));
        Self { place, daemon }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let target = match &self.daemon {
            Some(daemon) => ["--url", &daemon.url],
            None => ["--database", "data.db"],
        };
        self.place.command(&[arguments, &target].concat())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments), b"")
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        finish(self.command(arguments), input)
    }

    /// Queues an INSERT of this number into a table that is not there, and waits until it is a dead letter.
    pub(crate) fn bury(&self, number: i64, key: &str) {
        const INSERT: &str = "INSERT INTO nowhere VALUES (?)";
        if self.daemon.is_none() {
            // On a file only the library queues.
            return actix_rt::System::new().block_on(async {
                let database = Database::open(Settings::for_file(self.place.path("data.db"))).await.unwrap();
                let write = Execute::new(INSERT).params([number]);
                let key = IdempotencyKey::new(key).unwrap();
                database.enqueue(write.idempotency_key(key)).await.unwrap();
                assert!(database.shutdown().await.closed);
            });
        }
        let buried = || self.run(&["status"]).json()["writer"]["buried"].as_i64().unwrap();
        let before = buried();
        let number = number.to_string();
        let insert = ["execute", INSERT, "--param", &number, "--key", key, "--queued"];
        assert_eq!(self.run(&insert).json(), serde_json::json!({"queued": true}));
        let until = Instant::now() + PATIENCE;
        while buried() == before {
            assert!(Instant::now() < until, "it does not fail");
        }
    }

    /// The first value of the first row.
    pub(crate) fn value(&self, sql: &str) -> Value {
        self.run(&["query", sql, "--output", "json"]).json()["rows"][0][0].clone()
    }
}
