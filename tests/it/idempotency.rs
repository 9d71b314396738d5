//! Exactly once with a key: however often it is sent, one write and one receipt.

use std::num::NonZeroUsize;

use actix_sqlite::{Execute, Outcome, Transaction, params};
use futures_util::future::join_all;

use crate::harness::{Gate, Place, all, integers, key, run, run_all, unwrap_all};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE)";

fn insert(x: &str) -> Execute {
    Execute::new("INSERT INTO t (x) VALUES (?1) RETURNING id, x").params([x])
}

#[test]
fn the_same_key_again_gives_the_same_receipt_and_no_second_row() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let write = || insert("a").idempotency_key(key("one"));
        let first = database.execute(write()).await.unwrap();
        database.execute(insert("between")).await.unwrap();
        for _ in 0..3 {
            assert_eq!(database.execute(write()).await.unwrap(), first);
        }
        assert_eq!(integers(&database, "SELECT count(*) FROM t WHERE x = 'a'").await, [1]);
    });
}

#[test]
fn the_same_key_twice_in_one_batch_is_one_write() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert("first")).await;
        let batches = database.status().writer.batches;
        let writes: Vec<_> = (0..6)
            .map(|n| match n {
                // Poison between them: what was stored is rolled back with the rest and stored again.
                3 => Execute::new("INSERT OR ROLLBACK INTO t (x) VALUES ('first')"),
                _ => insert("a").idempotency_key(key("one")),
            })
            .collect();
        let opened = async {
            crate::harness::until("all wait", || database.status().queue.length == 6).await;
            drop(gate);
        };
        let (results, ()) = futures_util::future::join(all(&database, writes), opened).await;
        in_hand.await.unwrap().unwrap();
        assert_eq!(database.status().writer.batches - batches, 2, "the six are one batch");
        for (n, result) in results.iter().enumerate() {
            if n == 3 {
                assert_eq!(result.as_ref().unwrap_err().code(), "constraint_violation");
            } else {
                assert_eq!(result.as_ref().unwrap(), results[0].as_ref().unwrap());
            }
        }
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [2]);
    });
}

#[test]
fn a_key_is_remembered_when_the_file_is_opened_again() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let write = || insert("a").idempotency_key(key("one"));
        let transaction = || {
            let statement = ("INSERT INTO t (x) VALUES (?1) RETURNING x", params![b"\0\xff".as_slice()]);
            Transaction::new().then(statement).then("UPDATE t SET x = x").idempotency_key(key("two"))
        };
        let first = database.execute(write()).await.unwrap();
        let second = database.transaction(transaction()).await.unwrap();
        assert!(database.shutdown().await.closed);
        let database = place.open(|_| ()).await;
        assert_eq!(database.execute(write()).await.unwrap(), first);
        assert_eq!(database.transaction(transaction()).await.unwrap(), second);
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [2]);
    });
}

#[test]
fn a_key_used_for_another_write_is_a_conflict_and_nothing_is_written() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        database.execute(insert("a").idempotency_key(key("one"))).await.unwrap();
        for other in [
            insert("b"),
            Execute::new("INSERT INTO t (x) VALUES (?1)").params(["a"]),
            Execute::new("INSERT INTO t (x) VALUES (?1) RETURNING id, x").params(params![b"a".as_slice()]),
        ] {
            let error = database.execute(other.idempotency_key(key("one"))).await.unwrap_err();
            assert_eq!((error.code(), error.outcome()), ("idempotency_conflict", Outcome::NotExecuted));
            assert!(!error.is_retryable());
        }
        let twice = Transaction::new().then("SELECT 1").then("SELECT 2").idempotency_key(key("one"));
        assert_eq!(database.transaction(twice).await.unwrap_err().code(), "idempotency_conflict");
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [1]);
    });
}

#[test]
fn a_write_that_failed_has_not_used_its_key() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE, "INSERT INTO t (x) VALUES ('a')"]).await;
        let write = || insert("a").idempotency_key(key("one"));
        let rolling_back =
            || Execute::new("INSERT OR ROLLBACK INTO t (x) VALUES ('a')").idempotency_key(key("two"));
        let transaction = || {
            Transaction::new()
                .then("INSERT INTO t (x) VALUES ('c')")
                .then("UPDATE t SET x = 'd' WHERE x = 'a'")
                .then("INSERT INTO t (x) SELECT 'a' UNION ALL SELECT 'e'")
                .idempotency_key(key("three"))
        };
        for _ in 0..2 {
            assert_eq!(database.execute(write()).await.unwrap_err().code(), "constraint_violation");
            assert_eq!(database.execute(rolling_back()).await.unwrap_err().code(), "constraint_violation");
        }
        run_all(&database, &["INSERT INTO t (x) VALUES ('e')"]).await;
        assert_eq!(database.transaction(transaction()).await.unwrap_err().code(), "constraint_violation");
        run_all(&database, &["DELETE FROM t"]).await;
        let receipt = database.execute(write()).await.unwrap();
        assert_eq!(database.execute(write()).await.unwrap(), receipt);
        let receipt = database.transaction(transaction()).await.unwrap();
        assert_eq!(database.transaction(transaction()).await.unwrap(), receipt);
    });
}

#[test]
fn many_callers_with_one_key_get_one_receipt() {
    run(async {
        let place = Place::new();
        let database =
            place.open(|settings| settings.writer.max_batch_writes = NonZeroUsize::new(5).unwrap()).await;
        run_all(&database, &["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (0)"]).await;
        let writes = (0..200).map(|n| {
            let increment = Execute::new("UPDATE t SET n = n + 1 RETURNING n");
            database.execute(increment.idempotency_key(key(&format!("increment {}", n % 10))))
        });
        let receipts: Vec<_> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
        for (n, receipt) in receipts.iter().enumerate() {
            assert_eq!(receipt, &receipts[n % 10]);
        }
        assert_eq!(integers(&database, "SELECT n FROM t").await, [10]);
    });
}

#[test]
fn only_so_many_keys_are_remembered() {
    const KEPT: usize = 3;
    run(async {
        let place = Place::new();
        let few = |settings: &mut actix_sqlite::Settings| {
            settings.database.idempotency_max_keys = NonZeroUsize::new(KEPT).unwrap();
        };
        let database = place.open(few).await;
        run_all(&database, &[TABLE]).await;
        for n in 0..20 {
            let x = n.to_string();
            database.execute(insert(&x).idempotency_key(key(&x))).await.unwrap();
        }
        assert!(database.shutdown().await.closed);
        let remembered = || -> i64 {
            let count = "SELECT count(*) FROM _actix_sqlite_idempotency";
            place.raw().query_row(count, [], |row| row.get(0)).unwrap()
        };
        assert!(remembered() > 0, "nothing to forget");
        // A writer that has just begun cleans up after its first batch.
        let database = place.open(few).await;
        run_all(&database, &["DELETE FROM t"]).await;
        assert!(database.shutdown().await.closed);
        assert_eq!(remembered(), i64::try_from(KEPT).unwrap());
    });
}

#[test]
fn keys_that_come_faster_than_usual_are_forgotten_as_fast() {
    const BATCH: i64 = 3_000;
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.database.idempotency_max_keys = NonZeroUsize::new(10).unwrap();
                settings.writer.max_batch_writes =
                    NonZeroUsize::new(usize::try_from(BATCH).unwrap()).unwrap();
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let keyed = |n: i64| insert(&n.to_string()).idempotency_key(key(&n.to_string()));
        // Made before the first clean-up, which the next batches go on with until all is done.
        unwrap_all(all(&database, (0..3 * BATCH).map(keyed)).await);
        assert!(database.shutdown().await.closed);
        let database = place
            .open(|settings| settings.database.idempotency_max_keys = NonZeroUsize::new(10).unwrap())
            .await;
        for _ in 0..6 {
            run_all(&database, &["DELETE FROM t"]).await;
        }
        assert!(database.shutdown().await.closed);
        let count = "SELECT count(*) FROM _actix_sqlite_idempotency";
        assert_eq!(place.raw().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 10);
    });
}

#[test]
fn a_replayed_receipt_keeps_what_json_has_no_number_for() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE r (x REAL, y REAL)"]).await;
        let write =
            Execute::new("INSERT INTO r VALUES (9e999, -9e999) RETURNING x, y").idempotency_key(key("inf"));
        let first = database.execute(write.clone()).await.unwrap();
        assert_eq!(first.rows, [[f64::INFINITY.into(), f64::NEG_INFINITY.into()]]);
        assert_eq!(database.execute(write).await.unwrap(), first);
    });
}

#[test]
fn old_keys_are_forgotten_and_may_be_used_again() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        database.execute(insert("a").idempotency_key(key("old"))).await.unwrap();
        database.execute(insert("b").idempotency_key(key("young"))).await.unwrap();
        assert!(database.shutdown().await.closed);
        let age = "UPDATE _actix_sqlite_idempotency SET created_at = created_at - 90000 WHERE key = 'old'";
        assert_eq!(place.raw().execute(age, []).unwrap(), 1);
        let database = place.open(|_| ()).await;
        run_all(&database, &["INSERT INTO t (x) VALUES ('wakes the writer')"]).await;
        database.flush().await.unwrap();
        database.execute(insert("c").idempotency_key(key("old"))).await.unwrap();
        let error = database.execute(insert("c").idempotency_key(key("young"))).await.unwrap_err();
        assert_eq!(error.code(), "idempotency_conflict");
    });
}
