//! Writes whose rows tell what became of them, and the check that what callers were told is true.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use actix_sqlite::rusqlite::{Connection, OpenFlags};
use actix_sqlite::{
    Database, DatabaseBuilder, IdempotencyKey, Outcome, Settings, StartError, Statement, Transaction,
    TransactionReceipt, WriteError, params,
};
use futures_util::future::join_all;

use crate::vfs::{self, Turn};

/// No answer takes longer, whatever fails.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// What a caller was told of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// With the length of the log of the VFS when the answer came.
    Committed(usize),
    NotExecuted,
    Unknown,
}

pub(crate) fn settings(path: &Path) -> Settings {
    let mut settings = Settings::for_file(path);
    settings.relay.migrate = false;
    settings.readers.threads = 1;
    settings.writer.max_batch_writes = 4.try_into().unwrap();
    // So that a lease which nobody ends is an answer that does not come.
    settings.writer.lease_timeout = 2 * LONGEST;
    settings.database.wal_checkpoint_size = bytesize::ByteSize::kib(64);
    settings.supervisor.max_restarts = 3;
    settings.supervisor.initial_backoff = Duration::from_millis(1);
    settings.supervisor.max_backoff = Duration::from_millis(2);
    settings
}

pub(crate) async fn open(settings: Settings) -> Result<Database, StartError> {
    open_with(Database::builder(settings).vfs(vfs::NAME)).await
}

/// The same, by the system's own VFS.
pub(crate) async fn open_plainly(settings: Settings) -> Result<Database, StartError> {
    open_with(Database::builder(settings)).await
}

async fn open_with(builder: DatabaseBuilder) -> Result<Database, StartError> {
    let schema = "CREATE TABLE IF NOT EXISTS pairs (id INTEGER NOT NULL, half INTEGER NOT NULL, filler BLOB)";
    builder
        .migration(move |conn| {
            conn.execute_batch(schema)
                .map_err(|error| actix_sqlite::MigrationError::Failed(error.to_string()))
        })
        .open()
        .await
}

/// A write of two rows, so that half a write would be seen.
pub(crate) fn pair(id: i64) -> Transaction {
    Transaction::new().then(half(id, 1)).then(half(id, 2))
}

/// One of its rows.
pub(crate) fn half(id: i64, half: i64) -> Statement {
    ("INSERT INTO pairs VALUES (?1, ?2, randomblob(600))", params![id, half]).into()
}

/// Sends writes of these ids all at once; what each caller was told, in bounded time.
pub(crate) async fn send(database: &Database, ids: std::ops::Range<i64>, keyed: bool) -> BTreeMap<i64, Told> {
    answers(database, ids, |_| keyed).await.into_iter().map(|(id, answer)| (id, told(answer))).collect()
}

/// The same, some of them under a key; each caller's answer, in bounded time.
pub(crate) async fn answers(
    database: &Database,
    ids: impl IntoIterator<Item = i64>,
    keyed: impl Fn(i64) -> bool,
) -> Vec<(i64, Result<TransactionReceipt, WriteError>)> {
    let write = |id: i64| {
        let mut write = pair(id);
        if keyed(id) {
            write = write.idempotency_key(IdempotencyKey::new(format!("write {id}")).unwrap());
        }
        async move {
            let answer = actix_rt::time::timeout(LONGEST, database.transaction(write)).await;
            (id, answer.unwrap_or_else(|_| panic!("write {id} was not answered")))
        }
    };
    join_all(ids.into_iter().map(write)).await
}

pub(crate) fn told<T>(answer: Result<T, WriteError>) -> Told {
    match answer {
        Ok(_) => Told::Committed(Turn::log_len()),
        Err(error) if error.outcome() == Outcome::Unknown => Told::Unknown,
        Err(_) => Told::NotExecuted,
    }
}

/// How the file differs from what was told; nothing, if all is well. `acknowledged` says which answers count: after a
/// power loss, those that had been given by then.
pub(crate) fn untruths(
    path: &Path,
    told: &BTreeMap<i64, Told>,
    acknowledged: impl Fn(usize) -> bool,
) -> Vec<String> {
    match found(path) {
        Ok(found) => found.untruths(told, acknowledged),
        Err(error) => vec![format!("the file cannot be read: {error}")],
    }
}

/// How many halves of each write are in the file, which is sound.
pub(crate) fn halves(path: &Path) -> Result<BTreeMap<i64, usize>, actix_sqlite::rusqlite::Error> {
    let found = found(path)?;
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    Ok(found.halves)
}

/// What is in the file.
pub(crate) struct Found {
    /// By write: how many rows.
    pub(crate) halves: BTreeMap<i64, usize>,
    /// By write: how many dead letters.
    pub(crate) letters: BTreeMap<i64, usize>,
    damage: Vec<String>,
}

pub(crate) fn found(path: &Path) -> Result<Found, actix_sqlite::rusqlite::Error> {
    // By the system's own VFS, as a program that knows nothing of this one.
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let damage = if verdict == "ok" { Vec::new() } else { vec![format!("integrity: {verdict}")] };
    let mut found = Found { halves: BTreeMap::new(), letters: BTreeMap::new(), damage };
    // The commit that made a table is one more that can be lost.
    if conn.table_exists(None, "pairs")? {
        let mut select = conn.prepare("SELECT id, half FROM pairs")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            *found.halves.entry(row.get(0)?).or_default() += 1;
            row.get::<_, i64>(1)?;
        }
    }
    if conn.table_exists(None, "_actix_sqlite_dead_letters")? {
        // The first parameter of its first statement is the number of the write.
        let sql = "SELECT statements ->> '$[0].params[0]' FROM _actix_sqlite_dead_letters";
        let mut select = conn.prepare(sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            *found.letters.entry(row.get(0)?).or_default() += 1;
        }
    }
    Ok(found)
}

impl Found {
    /// As [`untruths`].
    pub(crate) fn untruths(
        &self,
        told: &BTreeMap<i64, Told>,
        acknowledged: impl Fn(usize) -> bool,
    ) -> Vec<String> {
        let mut untruths = self.damage.clone();
        for (id, told) in told {
            let halves = self.halves.get(id).copied().unwrap_or(0);
            match (told, halves) {
                (Told::Committed(_) | Told::Unknown, 2) | (Told::NotExecuted | Told::Unknown, 0) => {}
                (Told::Committed(when), 0) if !acknowledged(*when) => {}
                // Before its answer a write may be there although it was never acknowledged.
                (Told::NotExecuted, 2) if !acknowledged(0) => {}
                (told, halves) => {
                    untruths.push(format!("write {id}: told {told:?}, {halves} halves are there"));
                }
            }
        }
        untruths
    }
}
