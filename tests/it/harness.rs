//! What the tests here have in common: a directory of their own, a system to run in, bounded waits, and ways to hold the
//! writer at a known place without sleeping.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use actix_sqlite::rusqlite::Connection;
use actix_sqlite::{Database, Execute, IdempotencyKey, Query, Receipt, Settings, Value, WriteError};
use futures_util::FutureExt;
use futures_util::future::join_all;

/// No test may take longer, whatever hangs.
const LONGEST: Duration = Duration::from_mins(2);

/// A condition that is to come true does so long before this.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A directory with one database file in it, gone when this is dropped.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.join("test.db")
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Settings without the built-in domain, so that every set of features shows the same file.
    pub(crate) fn settings(&self, tweak: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::for_file(self.path());
        settings.relay.migrate = false;
        settings.readers.threads = 2;
        tweak(&mut settings);
        settings
    }

    pub(crate) async fn open(&self, tweak: impl FnOnce(&mut Settings)) -> Database {
        Database::open(self.settings(tweak)).await.unwrap()
    }

    /// A connection that knows nothing of the library, to look at the file with.
    pub(crate) fn raw(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(Duration::from_secs(5)).unwrap();
        conn
    }

    /// I4: what SQLite says of the file.
    pub(crate) fn assert_sound(&self) {
        let conn = self.raw();
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        let violations: i64 =
            conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        assert_eq!(violations, 0, "foreign keys");
    }
}

/// Runs a test inside a system, for a bounded time.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    actix_rt::System::new()
        .block_on(async { actix_rt::time::timeout(LONGEST, test).await.expect("the test hangs") })
}

/// Waits for a condition, not for a time.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < SOON, "waited in vain until {what}");
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The future's result, which has to come soon.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    actix_rt::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Holds the writer back at its next BEGIN, as long as this lives, by holding the file's write lock.
pub(crate) struct Gate {
    _conn: Connection,
}

impl Gate {
    pub(crate) fn shut(place: &Place) -> Self {
        let conn = place.raw();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self { _conn: conn }
    }

    /// Shuts the gate and sends a write to it: the writer then holds this write and takes no other.
    pub(crate) async fn with_one_in_hand(
        place: &Place,
        database: &Database,
        write: impl Into<Execute>,
    ) -> (Self, actix_rt::task::JoinHandle<Result<Receipt, WriteError>>) {
        // What the writer does after its first batch needs the lock too.
        database.flush().await.unwrap();
        let gate = Self::shut(place);
        (gate, take_in_hand(database, write).await)
    }
}

/// Sends a write to a writer that is held back somewhere, and returns when the writer has it.
pub(crate) async fn take_in_hand(
    database: &Database,
    write: impl Into<Execute>,
) -> actix_rt::task::JoinHandle<Result<Receipt, WriteError>> {
    let (handle, write) = (database.clone(), write.into());
    let mut write = Box::pin(async move { handle.execute(write).await });
    assert!((&mut write).now_or_never().is_none(), "the writer is held");
    until("the writer has taken the write", || database.status().queue.length == 0).await;
    actix_rt::spawn(write)
}

/// Sends all of them, in this order, before the first is answered.
pub(crate) async fn all<W: Into<Execute>>(
    database: &Database,
    writes: impl IntoIterator<Item = W>,
) -> Vec<Result<Receipt, WriteError>> {
    join_all(writes.into_iter().map(|write| database.execute(write))).await
}

/// What they hold, if none of them is an error.
pub(crate) fn unwrap_all<T, E: std::fmt::Debug>(results: impl IntoIterator<Item = Result<T, E>>) -> Vec<T> {
    results.into_iter().map(Result::unwrap).collect()
}

pub(crate) async fn run_all(database: &Database, statements: &[&'static str]) {
    for statement in statements {
        database.execute(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// The integers of a one-column query.
pub(crate) async fn integers(database: &Database, query: impl Into<Query>) -> Vec<i64> {
    database.query_as(query).await.unwrap()
}

/// The texts of a one-column query.
pub(crate) async fn texts(database: &Database, query: impl Into<Query>) -> Vec<String> {
    database.query_as(query).await.unwrap()
}

pub(crate) fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

pub(crate) fn value(receipt: &Receipt, column: &str) -> Value {
    let index = receipt.columns.iter().position(|name| name == column).expect(column);
    receipt.rows[0][index].clone()
}
