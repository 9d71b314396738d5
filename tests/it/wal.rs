//! The write-ahead log is bounded. A reader that is held open keeps it from being checkpointed: one of ours is ended at
//! the limit, somebody else's has writes refused, not executed, until it is gone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_rt::task::JoinHandle;
use actix_sqlite::rusqlite::Connection;
use actix_sqlite::{
    BeginLease, Database, Execute, Outcome, Receipt, RefusedBecause, RetryDeadLetters, Settings, WriteError,
    params,
};
use bytesize::ByteSize;
use futures_util::future::join;

use crate::harness::{Place, SOON, all, integers, key, run, run_all, soon, until};
use crate::support::{report, rounds};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)";

const LIMIT: ByteSize = ByteSize::mib(1);
const AT_ONCE: usize = 50;

/// More than the pages that so many writes touch.
const BATCH: u64 = 128 << 10;

/// In the log.
const PAGE: u64 = 4096 + 24;

fn small(settings: &mut Settings) {
    settings.database.wal_checkpoint_size = ByteSize::kib(64);
    settings.database.wal_truncate_size = ByteSize::kib(256);
    settings.database.wal_max_size = LIMIT;
    settings.writer.max_batch_writes = AT_ONCE.try_into().unwrap();
}

fn insert() -> Execute {
    Execute::new("INSERT INTO t (x) VALUES (?1)").params(params!["x".repeat(400)])
}

fn log_size(place: &Place) -> u64 {
    std::fs::metadata(place.join("test.db-wal")).map_or(0, |log| log.len())
}

/// A snapshot held from outside the library.
fn held_reader(place: &Place) -> Connection {
    let conn = place.raw();
    conn.execute_batch("BEGIN").unwrap();
    conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
    conn
}

#[derive(Default)]
struct Told {
    committed: i64,
    refused: u64,
    longest: u64,
}

impl Told {
    /// Sends a batch, and sees what became of it and of the log.
    async fn send_batch(&mut self, place: &Place, database: &Database) {
        for result in all(database, (0..AT_ONCE).map(|_| insert())).await {
            match result {
                Ok(_) => self.committed += 1,
                Err(error) => {
                    assert_refused(&error);
                    self.refused += 1;
                }
            }
        }
        self.longest = self.longest.max(log_size(place));
        assert!(self.longest < LIMIT.as_u64() + BATCH, "the log has {} bytes", self.longest);
    }

    /// Until the log is full.
    async fn fill(&mut self, place: &Place, database: &Database) {
        let begun = Instant::now();
        while self.refused == 0 {
            assert!(begun.elapsed() < SOON, "the log was to reach its limit");
            self.send_batch(place, database).await;
        }
    }

    /// Until the query is over.
    async fn send_beside<T>(&mut self, query: JoinHandle<T>, place: &Place, database: &Database) -> T {
        let begun = Instant::now();
        while !query.is_finished() {
            assert!(begun.elapsed() < SOON, "the query was to be ended");
            self.send_batch(place, database).await;
        }
        query.await.unwrap()
    }
}

fn assert_refused(error: &WriteError) {
    assert_eq!((error.code(), error.outcome()), ("wal_full", Outcome::NotExecuted), "{error}");
    assert!(error.is_retryable() && error.to_string().contains("database.wal_max_size"), "{error}");
    let WriteError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.because, RefusedBecause::LogFull);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
}

#[test]
fn a_reader_held_open_outside_has_writes_refused_at_the_limit_and_they_resume_when_it_is_gone() {
    let batches = rounds(6_000, 60_000) / AT_ONCE as u64;
    run(async {
        let place = Place::new();
        let database = place.open(small).await;
        run_all(&database, &[TABLE]).await;
        let reader = held_reader(&place);
        let mut told = Told::default();
        for _ in 0..batches {
            told.send_batch(&place, &database).await;
            // Reads go on, and see what was acknowledged.
            assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [told.committed]);
        }
        assert!(told.refused > 0 && told.longest > LIMIT.as_u64() - PAGE, "the limit was reached");
        // All that was sent before it is committed or refused, and that is all it promises.
        let both = join(all(&database, (0..AT_ONCE - 1).map(|_| insert())), database.flush());
        let (beside, flushed) = soon("a flush", both).await;
        flushed.unwrap();
        for result in beside {
            assert_refused(&result.unwrap_err());
            told.refused += 1;
        }
        let status = database.status();
        assert_eq!(status.writer.refused_for_log, told.refused);
        assert_eq!((status.writer.failed, status.queue.refused), (0, 0));
        assert_eq!(status.database.wal_max_bytes, LIMIT.as_u64());
        assert!(status.database.wal_bytes > LIMIT.as_u64() - PAGE);

        drop(reader);
        let (held, mut after) = (told.committed, Told::default());
        for _ in 0..10 {
            after.send_batch(&place, &database).await;
        }
        assert_eq!(after.refused, 0, "the first write already finds that the reader is gone");
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [held + after.committed]);
        let figures = format!(
            "{} writes beside a reader held outside: {} committed, {} refused, log at most {} KiB (limit {} KiB)",
            u64::try_from(told.committed).unwrap() + told.refused,
            told.committed,
            told.refused,
            told.longest >> 10,
            LIMIT.as_u64() >> 10,
        );
        report("held-reader", &figures);
        database.shutdown().await;
        place.assert_sound();
    });
}

#[test]
fn readers_that_overlap_do_not_make_the_log_longer_and_longer() {
    run(async {
        let place = Place::new();
        let database = place.open(small).await;
        run_all(&database, &[TABLE]).await;
        let mut reader = held_reader(&place);
        let mut told = Told::default();
        told.fill(&place, &database).await;
        let before = told.committed;
        for _ in 0..40 {
            // At any time there is one, and what it reads was not moved before it began.
            let next = held_reader(&place);
            drop(std::mem::replace(&mut reader, next));
            told.send_batch(&place, &database).await;
        }
        assert!(told.committed > before, "they do not keep writes out for ever either");
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [told.committed]);
    });
}

/// Takes rows slowly until the query is ended: why it was ended, and how many pieces came so far.
async fn take_slowly(database: &Database, query: &'static str) -> (JoinHandle<String>, Rc<Cell<usize>>) {
    let mut stream = database.query_stream(query).await.unwrap();
    let pieces = Rc::new(Cell::new(0));
    let came = Rc::clone(&pieces);
    let slow = actix_rt::spawn(async move {
        loop {
            if let Err(error) = stream.next().await.expect("it is not to come to its end") {
                assert_eq!(error.code(), "statement_timeout");
                return error.to_string();
            }
            came.set(came.get() + 1);
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
    });
    (slow, pieces)
}

#[test]
fn a_slow_stream_of_ours_is_cut_off_at_the_limit_and_writes_go_on() {
    let writes = i64::try_from(rounds(6_000, 60_000)).unwrap();
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                small(settings);
                settings.readers.max_age = Duration::from_millis(200);
                settings.readers.query_timeout = Duration::from_hours(1);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let mut told = Told::default();
        for _ in 0..10 {
            told.send_batch(&place, &database).await;
        }
        let (slow, pieces) = take_slowly(&database, "SELECT a.id FROM t a, t b, t c").await;
        let (begun, mut last, mut longest_pause) = (told.committed, Instant::now(), Duration::ZERO);
        while told.committed < begun + writes {
            let before = told.committed;
            told.send_batch(&place, &database).await;
            if told.committed > before {
                longest_pause = longest_pause.max(last.elapsed());
                last = Instant::now();
            }
            assert!(last.elapsed() < SOON, "writes are kept out");
        }
        let why = soon("the end of the stream", slow).await.unwrap();
        assert!(why.contains("readers.max_age") && why.contains("database.wal_max_size"), "{why}");
        let status = database.status();
        assert_eq!((status.readers.ended_for_log, status.readers.failed), (1, 1));
        assert_eq!(status.writer.refused_for_log, told.refused);
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [told.committed]);
        let figures = format!(
            "{writes} writes beside a slow stream: all committed, {} refused first, none for {} ms, log at most {} KiB, \
             stream cut off after {} pieces",
            told.refused,
            longest_pause.as_millis(),
            told.longest >> 10,
            pieces.get(),
        );
        report("held-reader", &figures);
        database.shutdown().await;
        place.assert_sound();
    });
}

#[test]
fn a_stream_of_few_large_rows_is_cut_off_too() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                small(settings);
                settings.readers.max_age = Duration::from_millis(50);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let mut told = Told::default();
        told.send_batch(&place, &database).await;
        // A piece each, and few steps of the virtual machine between two of them.
        let wide = "SELECT printf('%.70000c', 'x') FROM t a, t b";
        let (slow, pieces) = take_slowly(&database, wide).await;
        while log_size(&place) < LIMIT.as_u64() - PAGE {
            told.send_batch(&place, &database).await;
        }
        let before = pieces.get();
        let why = told.send_beside(slow, &place, &database).await;
        assert!(why.contains("readers.max_age"), "{why}");
        let later = pieces.get() - before;
        assert!(later < 20, "{later} pieces came before anybody looked at the age");
    });
}

#[test]
fn a_query_that_has_no_rows_yet_is_cut_off_too() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                small(settings);
                settings.readers.threads = 1;
                settings.readers.max_age = Duration::from_millis(50);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let mut told = Told::default();
        for _ in 0..10 {
            told.send_batch(&place, &database).await;
        }
        let counting = database.clone();
        let count = "SELECT count(*) FROM t a, t b, t c, t d WHERE a.x + b.x + c.x + d.x = 1";
        let count = actix_rt::spawn(async move { counting.query(count).await });
        let error = told.send_beside(count, &place, &database).await.unwrap_err();
        assert!(
            error.code() == "statement_timeout" && error.to_string().contains("readers.max_age"),
            "{error}"
        );
        assert_eq!(database.status().readers.ended_for_log, 1);
        database.execute(insert()).await.unwrap();
        // The next one to fail on that reader fails for its own reason.
        let error = database.query("SELECT nothing FROM nowhere").await.unwrap_err();
        assert_eq!(error.code(), "invalid_sql");
        assert_eq!(database.status().readers.ended_for_log, 1);
    });
}

#[test]
fn a_log_that_was_left_at_its_limit_is_at_its_limit_for_who_opens_it_next() {
    run(async {
        let place = Place::new();
        let database = place.open(small).await;
        run_all(&database, &[TABLE]).await;
        let reader = held_reader(&place);
        let mut numbers = 0..;
        let mut refused = None;
        while refused.is_none() {
            assert!(log_size(&place) < LIMIT.as_u64() + 2 * BATCH, "the log was to reach its limit");
            let keyed = |n: i32| insert().idempotency_key(key(&n.to_string()));
            let writes = all(&database, numbers.by_ref().take(AT_ONCE).map(keyed)).await;
            refused = writes.into_iter().find_map(Result::err);
        }
        assert_refused(&refused.unwrap());
        database.shutdown().await;
        let left = log_size(&place);
        assert!(left > LIMIT.as_u64() - PAGE);

        let database = place
            .open(|settings| {
                small(settings);
                settings.database.idempotency_max_keys = 1.try_into().unwrap();
            })
            .await;
        for _ in 0..10 {
            assert_refused(&database.execute(insert()).await.unwrap_err());
        }
        assert_eq!(log_size(&place), left, "to forget old keys is to write, too");
        drop(reader);
        database.execute(insert()).await.unwrap();
        let keys = || {
            let sql = "SELECT count(*) FROM _actix_sqlite_idempotency";
            place.raw().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        until("old keys are forgotten", || keys() == 1).await;
    });
}

#[test]
fn an_old_query_is_left_alone_while_the_log_is_short() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                small(settings);
                settings.readers.max_age = Duration::from_millis(1);
                settings.readers.query_timeout = Duration::from_millis(300);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let error = database.query(endless).await.unwrap_err();
        assert!(error.code() == "statement_timeout" && !error.to_string().contains("max_age"), "{error}");
        assert_eq!(database.status().readers.ended_for_log, 0);
    });
}

#[test]
fn if_somebody_else_checkpoints_the_limit_holds_and_writes_go_on_when_they_have_moved_the_log() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                small(settings);
                settings.database.checkpoint = false;
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let other = place.raw();
        let move_log = || {
            let row =
                |row: &actix_sqlite::rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
            let (in_log, moved) = other.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], row).unwrap();
            in_log == moved
        };
        let mut told = Told::default();
        for round in 1..=5 {
            told.refused = 0;
            told.fill(&place, &database).await;
            let status = database.status();
            assert!(status.database.wal_bytes > LIMIT.as_u64() - PAGE, "round {round}");
            assert_eq!(status.database.checkpoints + status.database.checkpoints_busy, 0, "it is not for us");
            assert!(move_log());
            let last = database.last_commit();
            let receipt: Receipt = database.execute(insert()).await.unwrap();
            assert_eq!(receipt.commit.0, last.0 + 1, "looking takes no number");
            told.committed += 1;
        }

        // Everything is moved, but a reader is still in the log: the next COMMIT would only make it longer.
        told.refused = 0;
        told.fill(&place, &database).await;
        let reader = held_reader(&place);
        let full = log_size(&place);
        assert!(move_log());
        for _ in 0..20 {
            assert_refused(&database.execute(insert()).await.unwrap_err());
            move_log();
        }
        assert_eq!(log_size(&place), full + PAGE, "a page to find that out");
        drop(reader);
        assert!(move_log());
        database.execute(insert()).await.unwrap();
        told.committed += 1;
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [told.committed]);
        assert!(log_size(&place) < full, "it started again, and what it does not need was cut off");
        database.shutdown().await;
        place.assert_sound();
    });
}

#[test]
fn a_log_that_a_reader_kept_long_gets_short_without_another_write() {
    run(async {
        let place = Place::new();
        let database = place.open(small).await;
        run_all(&database, &[TABLE]).await;
        let reader = held_reader(&place);
        let mut told = Told::default();
        while log_size(&place) < LIMIT.as_u64() / 2 {
            told.send_batch(&place, &database).await;
        }
        let before = database.status().database;
        assert!(before.checkpoints_busy > 0, "the reader is in the way");
        until("it is tried again without a write", || {
            database.status().database.checkpoints_busy > before.checkpoints_busy
        })
        .await;
        drop(reader);
        until("the log was moved", || database.status().database.checkpoints > 0).await;
        assert_eq!(log_size(&place), 0);
        let after = database.status();
        assert_eq!(after.writer.committed, 1 + u64::try_from(told.committed).unwrap());
        let (done, tried) = (after.database.checkpoints, after.database.checkpoints_busy);
        actix_rt::time::sleep(Duration::from_millis(300)).await;
        let later = database.status().database;
        assert_eq!(
            (later.checkpoints, later.checkpoints_busy),
            (done, tried),
            "then there is nothing left to do"
        );
    });
}

#[test]
fn leases_are_refused_at_the_limit_and_dead_letters_wait_until_the_log_is_short() {
    run(async {
        let place = Place::new();
        let database = place.open(small).await;
        run_all(&database, &[TABLE]).await;
        let reader = held_reader(&place);
        let mut told = Told::default();
        told.fill(&place, &database).await;
        assert_refused(&database.lease(BeginLease::new()).await.unwrap_err());
        assert_refused(&database.transact(|_| Ok(())).await.unwrap_err());
        for _ in 0..500 {
            database.enqueue(insert()).await.unwrap();
        }
        database.flush().await.unwrap();
        assert!(log_size(&place) < LIMIT.as_u64() + BATCH, "letters are writes too");
        assert_eq!(database.status().writer.buried, 0);
        drop(reader);
        until("they are kept", || database.status().writer.buried == 500).await;
        let retried = database.retry_dead_letters(RetryDeadLetters::default()).await.unwrap();
        assert_eq!((retried.committed, retried.failed), (500, 0));
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [told.committed + 500]);
        database.lease(BeginLease::new()).await.unwrap().commit().await.unwrap();
    });
}

#[test]
fn a_long_log_is_moved_beside_the_writer_and_the_rest_by_it_or_when_it_is_idle() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.database.wal_checkpoint_size = ByteSize::mib(1)).await;
        database.execute(TABLE).await.unwrap();
        let status = || database.status().database;
        let mut written = 0;
        while status().checkpoints == 0 {
            assert!(
                log_size(&place) <= 17 << 20,
                "the writer's own turn is at 8 MiB, or 16 while the other is at it"
            );
            for receipt in all(&database, (0..AT_ONCE).map(|_| insert())).await {
                receipt.unwrap();
                written += 1;
            }
        }
        assert!(status().checkpoints_ahead > 0, "{:?}", status());
        let ahead = status().checkpoints_ahead;
        while log_size(&place) > 0 && status().checkpoints_ahead == ahead {
            for receipt in all(&database, (0..AT_ONCE).map(|_| insert())).await {
                receipt.unwrap();
                written += 1;
            }
        }
        let whole = status().checkpoints;
        until("the rest is moved with nobody writing", || status().checkpoints > whole).await;
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [written]);
        database.shutdown().await;
        assert_eq!(log_size(&place), 0);
        assert_eq!(
            place.raw().query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(),
            "ok"
        );
    });
}

#[test]
fn a_short_log_is_the_writers_business_alone() {
    run(async {
        let place = Place::new();
        let database = place.open(small).await;
        database.execute(TABLE).await.unwrap();
        while database.status().database.checkpoints < 3 {
            database.execute(insert()).await.unwrap();
        }
        assert_eq!(database.status().database.checkpoints_ahead, 0);
    });
}
