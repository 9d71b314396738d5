//! What happens when a queue is full: the next request waits in order, or is refused at once, as set.

use std::num::NonZeroUsize;

use actix_sqlite::{Execute, Outcome, Overflow, Query, Settings, WriteError};
use bytesize::ByteSize;
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::harness::{Gate, Place, integers, run, run_all, soon, unwrap_all};

const TABLE: &str = "CREATE TABLE t (seq INTEGER PRIMARY KEY, n INTEGER, x TEXT)";

fn insert(n: u32) -> Execute {
    Execute::new("INSERT INTO t (n) VALUES (?1)").params([n])
}

fn small(overflow: Overflow) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.queue.overflow = overflow;
        settings.queue.max_writes = NonZeroUsize::new(4).unwrap();
        settings.queue.max_bytes = ByteSize::kib(2);
        settings.writer.max_batch_writes = NonZeroUsize::new(4).unwrap();
        settings.writer.max_batch_bytes = ByteSize::kib(2);
    }
}

#[test]
fn a_full_queue_refuses_at_once_if_told_so() {
    run(async {
        let place = Place::new();
        let database = place.open(small(Overflow::Reject)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let mut inside: Vec<_> = (1..=4).map(|n| Box::pin(database.execute(insert(n)))).collect();
        assert!(inside.iter_mut().all(|write| write.now_or_never().is_none()));
        for n in 5..=50 {
            let refused = database.execute(insert(n)).now_or_never().expect("an answer at the first poll");
            let error = refused.unwrap_err();
            assert_eq!((error.code(), error.outcome()), ("queue_full", Outcome::NotExecuted));
            assert!(error.is_retryable());
            let WriteError::Refused(refusal) = error else { panic!("{error}") };
            assert!(refusal.retry_after.is_some());
        }
        let status = database.status().queue;
        assert_eq!((status.length, status.waiting, status.refused), (4, 0, 46));
        drop(gate);
        unwrap_all(soon("the answers", join_all(inside)).await);
        in_hand.await.unwrap().unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, [0, 1, 2, 3, 4]);
        database.execute(insert(5)).await.unwrap();
    });
}

#[test]
fn a_full_queue_lets_all_in_who_wait_in_their_order() {
    run(async {
        let place = Place::new();
        let database = place.open(small(Overflow::Wait)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let mut waiting: Vec<_> = (1..=200).map(|n| Box::pin(database.execute(insert(n)))).collect();
        assert!(waiting.iter_mut().all(|write| write.now_or_never().is_none()));
        let status = database.status().queue;
        assert_eq!((status.length, status.waiting, status.refused), (4, 196, 0));
        drop(gate);
        unwrap_all(soon("the answers", join_all(waiting)).await);
        in_hand.await.unwrap().unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, (0..=200).collect::<Vec<_>>());
        let status = database.status().queue;
        assert_eq!((status.length, status.bytes, status.waiting), (0, 0, 0));
    });
}

#[test]
fn who_leaves_while_waiting_outside_is_not_executed_and_keeps_nobody_out() {
    run(async {
        let place = Place::new();
        let database = place.open(small(Overflow::Wait)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let mut waiting: Vec<_> = (1..=100).map(|n| Box::pin(database.execute(insert(n)))).collect();
        assert!(waiting.iter_mut().all(|write| write.now_or_never().is_none()));
        waiting.truncate(10);
        let last = database.execute(insert(1000));
        drop(gate);
        unwrap_all(soon("the answers", join_all(waiting)).await);
        soon("the last one", last).await.unwrap();
        in_hand.await.unwrap().unwrap();
        let expected: Vec<i64> = (0..=10).chain([1000]).collect();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, expected);
    });
}

#[test]
fn a_small_write_does_not_overtake_a_large_one_that_waits() {
    run(async {
        let place = Place::new();
        let database = place.open(small(Overflow::Wait)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let sized = |n: u32, bytes| {
            let text = "x".repeat(bytes);
            Execute::new("INSERT INTO t (n, x) VALUES (?1, ?2)").params(actix_sqlite::params![n, text])
        };
        let three = [(1, 1000), (2, 1500), (3, 10)];
        let mut writes: Vec<_> =
            three.map(|(n, bytes)| Box::pin(database.execute(sized(n, bytes)))).into_iter().collect();
        assert!(writes.iter_mut().all(|write| write.now_or_never().is_none()));
        let status = database.status().queue;
        assert_eq!((status.length, status.waiting), (1, 2), "there is room for the third, but not its turn");
        drop(gate);
        unwrap_all(soon("the answers", join_all(writes)).await);
        in_hand.await.unwrap().unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, [0, 1, 2, 3]);
    });
}

#[test]
fn bytes_fill_a_queue_too_and_what_never_fits_is_refused() {
    run(async {
        let place = Place::new();
        let database = place.open(small(Overflow::Reject)).await;
        run_all(&database, &[TABLE]).await;
        let long = |n: usize| Execute::new("INSERT INTO t (x) VALUES (?1)").params(["x".repeat(n)]);
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let mut inside = Box::pin(database.execute(long(1500)));
        assert!((&mut inside).now_or_never().is_none());
        let error = database.execute(long(1000)).now_or_never().expect("at once").unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("queue_full", true));
        let error = database.execute(long(3000)).now_or_never().expect("at once").unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("request_too_large", false));
        assert_eq!(error.outcome(), Outcome::NotExecuted);
        drop(gate);
        soon("the one inside", inside).await.unwrap();
        in_hand.await.unwrap().unwrap();
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [2]);
    });
}

#[test]
fn queries_have_a_bounded_queue_of_their_own() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.max_queue = NonZeroUsize::new(2).unwrap();
                settings.readers.max_queue_bytes = ByteSize::kib(1);
                settings.readers.overflow = Overflow::Reject;
            })
            .await;
        // A stream that nobody reads occupies the only reader.
        let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c";
        let stream = database.query_stream(endless).await.unwrap();
        let mut inside: Vec<_> = (0..2).map(|_| Box::pin(database.query("SELECT 1"))).collect();
        assert!(inside.iter_mut().all(|query| query.now_or_never().is_none()));
        let error = database.query("SELECT 1").now_or_never().expect("at once").unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("queue_full", true));
        let long = Query::new(format!("SELECT '{}'", "x".repeat(2000)));
        let error = database.query(long).now_or_never().expect("at once").unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("request_too_large", false));
        // Writes do not notice.
        run_all(&database, &[TABLE]).await;
        drop(stream);
        unwrap_all(soon("the queries inside", join_all(inside)).await);
    });
}
