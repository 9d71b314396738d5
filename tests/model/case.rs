//! The database of one case: takes a step, and compares what its callers are told with what the model says.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_sqlite::rusqlite::Connection;
use actix_sqlite::settings::Synchronous;
use actix_sqlite::{
    CommitSeq, Database, Execute, Lane, Outcome, Query as Ask, Receipt, Results, StartError, StatementResult,
    Transaction, TransactionReceipt, Value, WriteError,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, join, join_all};

use crate::harness::Place;
use crate::injected;
use crate::ops::{EVERYTHING, GUARD, Op, SCHEMA, Stored, Write, key};
use crate::reference::Expected;
use crate::steps::{Crash, Known, Query, Reopen, Setup, Step};

/// What was done in all cases, by name.
static COUNTS: LazyLock<Mutex<BTreeMap<&'static str, u64>>> = LazyLock::new(Mutex::default);

fn counts() -> MutexGuard<'static, BTreeMap<&'static str, u64>> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was done, by name; begins anew.
pub(crate) fn take_counts() -> BTreeMap<&'static str, u64> {
    std::mem::take(&mut counts())
}

pub(crate) fn count(what: &'static str, by: u64) {
    if by > 0 {
        *counts().entry(what).or_default() += by;
    }
}

pub(crate) struct Case {
    /// Only for a moment there is none: while it is opened again.
    database: Option<Database>,
    /// A reader from outside, in the middle of a transaction.
    snapshot: Option<Connection>,
    /// By key: the first receipt.
    pub(crate) receipts: BTreeMap<u8, TransactionReceipt>,
    /// The last commit that a caller was told of.
    pub(crate) last_commit: CommitSeq,
    setup: Setup,
    place: Place,
}

impl Case {
    pub(crate) async fn new(setup: Setup) -> Self {
        let place = Place::in_memory();
        let database = open(&place, setup).await;
        let schema = SCHEMA
            .iter()
            .copied()
            .chain(setup.has_guard.then_some(GUARD))
            .fold(Transaction::new(), Transaction::then);
        let last_commit = database.transaction(schema).await.unwrap().commit;
        count("cases run", 1);
        Self {
            database: Some(database),
            snapshot: None,
            receipts: BTreeMap::new(),
            last_commit,
            setup,
            place,
        }
    }

    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("it is open")
    }

    pub(crate) async fn take(&mut self, known: &Known, step: Step) {
        match step {
            Step::Writes { writes, crash, read } => {
                if let Some(crash) = &crash {
                    arm(crash);
                }
                let sent = join_all(writes.iter().map(|write| send(self.database(), write)));
                let beside = async { if read { Some(stored(self.database()).await) } else { None } };
                let (answers, seen) = join(sent, beside).await;
                crash.inspect(disarm);
                for ((write, answer), expected) in writes.iter().zip(answers).zip(&known.expected) {
                    self.compare(write, answer, expected);
                }
                if let Some(seen) = seen {
                    count("reads beside writes", 1);
                    assert!(known.visible.contains(&seen), "{seen:?} was never stored: {:?}", known.visible);
                }
            }
            Step::Poison { write, point } => {
                fail::cfg_callback(point, move || injected::panic_at(point)).unwrap();
                let answer = send(self.database(), &write).await;
                fail::remove(point);
                self.compare(&write, answer, &known.expected[0]);
            }
            Step::LeaveAndAsk { write, reopen } => {
                // Polled once: it is in the queue then. That it is answered already is possible, and does not matter.
                drop(send(self.database(), &write).now_or_never());
                count("callers who left and asked again", 1);
                if let Some(how) = reopen {
                    self.reopen(how).await;
                }
                let answer = send(self.database(), &write).await;
                self.compare(&write, answer, &known.expected[0]);
            }
            Step::Lease { before, ops, end, after, crash } => {
                self.lease(known, (&before, &after), (&ops, end), crash.as_ref()).await;
            }
            Step::Enqueue { writes, crash, reopen } => {
                self.enqueue(known, &writes, crash.as_ref(), reopen).await;
            }
            Step::Retry { ids, crash } => self.retry(known, ids, crash.as_ref()).await,
            Step::Expire { ids, old } => self.expire(known, ids, old).await,
            Step::Reopen(how) => {
                self.reopen(how).await;
                self.compare_letters(known).await;
            }
            Step::Query(query) => self.query(query, &known.visible[0]).await,
            Step::HoldSnapshot(begin) => {
                self.snapshot = begin.then(|| {
                    let conn = self.place.raw();
                    conn.execute_batch("BEGIN").unwrap();
                    conn.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
                    conn
                });
            }
        }
    }

    pub(crate) fn compare(
        &mut self,
        write: &Write,
        answer: Result<TransactionReceipt, WriteError>,
        expected: &Expected,
    ) {
        match (answer, expected) {
            (Ok(receipt), Expected::Committed { results, again }) => {
                count("acknowledged", 1);
                assert_eq!(*receipt.results, **results, "{write:?}");
                let first = write.key.map(|key| self.receipts.entry(key).or_insert_with(|| receipt.clone()));
                if let Some(first) = first {
                    assert_eq!(first.commit, receipt.commit, "{write:?}: one key, one receipt");
                }
                if *again {
                    count("same receipt again", 1);
                } else {
                    assert!(self.last_commit <= receipt.commit, "{write:?}: commits are in order");
                    self.last_commit = receipt.commit;
                }
            }
            (Err(error), Expected::Failed { code, index }) => {
                count(code, 1);
                assert_eq!(error.code(), *code, "{write:?}: {error}");
                assert_eq!(error.outcome(), Outcome::NotExecuted, "{write:?}");
                let named = match error {
                    WriteError::Transaction { index, .. } => Some(index),
                    _ => None,
                };
                assert_eq!(named, *index, "{write:?}: which statement failed");
            }
            (answer, expected) => panic!("{write:?}: {answer:?} instead of {expected:?}"),
        }
    }

    pub(crate) async fn reopen(&mut self, how: Reopen) {
        self.take_figures();
        let database = self.database.take().expect("it is open");
        match how {
            Reopen::Shutdown => {
                count("shutdowns", 1);
                let report = database.shutdown().await;
                assert!(report.closed && report.refused == 0, "{report}");
            }
            Reopen::Dropped => count("drops", 1),
        }
        drop(database);
        let database = self.database.insert(open(&self.place, self.setup).await);
        assert!(database.last_commit() >= self.last_commit, "commits go on where they ended");
    }

    async fn query(&self, query: Query, expected: &[Stored]) {
        count("queries", 1);
        let everything = || Ask::new(EVERYTHING).min_commit(self.last_commit);
        match query {
            Query::AtLastCommit => {
                assert_eq!(self.database().query_as::<Stored>(everything()).await.unwrap(), expected);
            }
            Query::FutureCommit => {
                let future = CommitSeq(self.database().last_commit().0 + 1_000);
                let ask = everything().min_commit(future).timeout(Duration::from_millis(1));
                let error = self.database().query(ask).await.unwrap_err();
                assert_eq!(error.code(), "commit_not_reached");
            }
            Query::Streamed => {
                let mut stream = self.database().query_stream(everything()).await.unwrap();
                let mut rows = Vec::new();
                while let Some(more) = stream.next().await {
                    rows.extend(more.unwrap());
                }
                let integers = |(of, id, k, v): &Stored| [*of, *id, *k, *v].map(Value::Integer).to_vec();
                assert_eq!(rows, expected.iter().map(integers).collect::<Vec<_>>());
            }
            Query::FirstRow => {
                let row = self.database().query_one(everything()).await.unwrap();
                let row = row.map(|row| row.deserialize::<Stored>().unwrap());
                assert_eq!(row.as_ref(), expected.first());
            }
            Query::ThatWrites => {
                let error = self.database().query("DELETE FROM t").await.unwrap_err();
                assert_eq!(error.code(), "not_read_only");
            }
        }
    }

    /// What the database holds.
    pub(crate) async fn stored(&self) -> Vec<Stored> {
        stored(self.database()).await
    }

    /// The last word: each key still has its receipt, and the file is sound and holds what the model holds.
    pub(crate) async fn end(&mut self, known: Known) {
        let again: Vec<_> = known
            .reference
            .keys()
            .map(|(key, body)| Write { body: body.clone(), key: Some(key), late: false })
            .collect();
        let answers = join_all(again.iter().map(|write| send(self.database(), write))).await;
        for (write, answer) in again.iter().zip(answers) {
            let receipt = answer.unwrap_or_else(|error| panic!("{write:?}: {error}"));
            // Of what nobody waited for, and nobody sent again, this is the first that is heard.
            if let Some(first) = write.key.and_then(|key| self.receipts.get(&key)) {
                assert_eq!(&receipt, first, "{write:?}");
            }
            let results = write.key.and_then(|key| known.reference.results(key));
            assert_eq!(Some(&receipt.results[..]), results, "{write:?}");
        }
        self.compare_letters(&known).await;
        self.take_figures();
        self.snapshot = None;
        assert!(self.database().shutdown().await.closed);
        self.place.assert_sound();
        let conn = self.place.raw();
        let mut statement = conn.prepare(EVERYTHING).unwrap();
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap()
            .collect::<Result<Vec<Stored>, _>>()
            .unwrap();
        assert_eq!(rows, known.reference.stored());
    }

    /// Adds what this database did to the counts.
    fn take_figures(&self) {
        let status = self.database().status();
        let (writer, file) = (status.writer, status.database);
        assert_eq!(writer.lost, 0, "there is room for every dead letter");
        count("replayed batches", writer.replayed_batches);
        count("beside others in a batch", (writer.committed + writer.failed).saturating_sub(writer.batches));
        count("checkpoints", file.checkpoints);
        count("checkpoints that a reader kept from their end", file.checkpoints_busy);
    }
}

async fn stored(database: &Database) -> Vec<Stored> {
    database.query_as(EVERYTHING).await.unwrap()
}

/// Durability is not what this is about, so nothing is synced.
async fn open(place: &Place, setup: Setup) -> Database {
    let settings = place.settings(|settings| {
        settings.database.synchronous = Synchronous::Off;
        if setup.checkpoint_always {
            settings.database.wal_checkpoint_size = bytesize::ByteSize::b(1);
            settings.database.wal_truncate_size = bytesize::ByteSize::b(1);
        }
        settings.database.max_dead_letters = NonZeroUsize::new(setup.max_letters).unwrap();
        settings.writer.max_batch_writes = NonZeroUsize::new(setup.max_batch_writes).unwrap();
        settings.writer.max_linger = Duration::from_micros(200);
        // Longer than a step may take: no lease is to end by its time.
        settings.writer.lease_timeout = Duration::from_mins(1);
        settings.readers.threads = setup.readers;
        settings.supervisor.max_restarts = 1_000_000;
        settings.supervisor.initial_backoff = Duration::ZERO;
        settings.supervisor.max_backoff = Duration::ZERO;
    });
    // Whoever dropped it last may not be done with it; the step has a time limit.
    loop {
        match Database::open(settings.clone()).await {
            Err(StartError::Locked { .. }) => actix_rt::time::sleep(Duration::from_micros(200)).await,
            opened => break opened.unwrap(),
        }
    }
}

/// A statement of its own where it is one, and a transaction where it is more or less; a key knows no difference.
pub(crate) fn send<'a>(
    database: &'a Database,
    write: &Write,
) -> BoxFuture<'a, Result<TransactionReceipt, WriteError>> {
    match message(write) {
        Either::Left(one) => database.execute(one).map(|answer| answer.map(as_transaction)).boxed(),
        Either::Right(several) => database.transaction(several).boxed(),
    }
}

pub(crate) fn message(write: &Write) -> Either<Execute, Transaction> {
    let statements: Vec<_> = write.body.iter().map(Op::statement).collect();
    let timeout = write.late.then_some(Duration::ZERO);
    let (key, lane) = (write.key.map(key), Lane::Interactive);
    match <[_; 1]>::try_from(statements) {
        Ok([statement]) => Either::Left(Execute { statement, timeout, key, lane }),
        Err(statements) => Either::Right(Transaction { statements, timeout, key, lane }),
    }
}

fn as_transaction(receipt: Receipt) -> TransactionReceipt {
    let Receipt { rows_affected, last_insert_rowid, columns, rows, commit } = receipt;
    TransactionReceipt {
        results: Results::from_iter([StatementResult { rows_affected, last_insert_rowid, columns, rows }]),
        commit,
    }
}

pub(crate) fn arm(crash: &Crash) {
    let (point, after) = (crash.point, crash.after);
    let visits = AtomicU32::new(0);
    let at_its_time = move || {
        if visits.fetch_add(1, Relaxed) == u32::from(after) {
            injected::panic_at(point);
        }
    };
    fail::cfg_callback(point, at_its_time).unwrap();
    if crash.opening {
        let visits = AtomicU32::new(0);
        let first = move || {
            if visits.fetch_add(1, Relaxed) == 0 {
                injected::panic_at("open_writer");
            }
        };
        fail::cfg_callback("open_writer", first).unwrap();
    }
}

pub(crate) fn disarm(crash: &Crash) {
    fail::remove(crash.point);
    fail::remove("open_writer");
}
