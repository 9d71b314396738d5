//! Writes run in the order in which they were sent. The rewrite this crate comes from grouped them by their SQL text.

use actix_sqlite::{Execute, Statement, params};
use futures_util::future::join_all;

use crate::harness::{Place, all, integers, run, run_all, unwrap_all};
use crate::support::Random;

#[test]
fn writes_with_different_texts_run_in_the_order_sent() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (seq INTEGER PRIMARY KEY, n INTEGER)"]).await;
        let mut random = Random::seeded(3);
        let texts = [
            "INSERT INTO t (n) VALUES (?1)",
            "INSERT INTO t (n) SELECT ?1",
            "INSERT INTO t (n) VALUES (?1) RETURNING seq",
            "REPLACE INTO t (n) VALUES (?1)",
        ];
        let writes: Vec<Execute> = (0..2_000)
            .map(|n: i64| Statement::new(texts[random.below(texts.len())]).params(params![n]).into())
            .collect();
        for receipt in all(&database, writes).await {
            receipt.unwrap();
        }
        let stored = integers(&database, "SELECT n FROM t ORDER BY seq").await;
        assert_eq!(stored, (0..2_000).collect::<Vec<_>>());
    });
}

/// Each depends on the one before it: in any other order some would fail or end otherwise.
#[test]
fn an_insert_its_update_and_its_delete_may_be_sent_at_once() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE)"]).await;
        for id in 0..50 {
            let steps = [
                "INSERT INTO t VALUES (?1, 1)",
                "UPDATE t SET x = x + 1 WHERE id = ?1",
                "UPDATE t SET x = x * 10 WHERE id = ?1",
                "DELETE FROM t WHERE id = ?1 AND x = 20",
                "INSERT INTO t VALUES (?1, -?1)",
            ];
            let receipts = all(&database, steps.map(|sql| Execute::new(sql).params(params![id]))).await;
            for (sql, receipt) in steps.iter().zip(receipts) {
                assert_eq!(receipt.unwrap().rows_affected, 1, "{sql}");
            }
        }
        assert_eq!(integers(&database, "SELECT count(*) FROM t WHERE x = -id").await, [50]);
    });
}

#[test]
fn each_callers_writes_keep_their_order_among_those_of_others() {
    const CALLERS: u32 = 16;
    const EACH: u32 = 100;
    run(async {
        let place = Place::new();
        // A queue so short that most writes have to wait outside of it.
        let database = place
            .open(|settings| {
                settings.queue.max_writes = std::num::NonZeroUsize::new(20).unwrap();
                settings.writer.max_batch_writes = std::num::NonZeroUsize::new(7).unwrap();
            })
            .await;
        run_all(&database, &["CREATE TABLE t (seq INTEGER PRIMARY KEY, caller INTEGER, n INTEGER)"]).await;
        let callers = (0..CALLERS).map(|caller| {
            let database = database.clone();
            async move {
                let insert =
                    |n| Execute::new("INSERT INTO t (caller, n) VALUES (?1, ?2)").params([caller, n]);
                let receipts = all(&database, (0..EACH).map(insert)).await;
                let commits: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().commit).collect();
                assert!(commits.is_sorted(), "caller {caller}: {commits:?}");
            }
        });
        unwrap_all(join_all(callers.map(actix_rt::spawn)).await);
        for caller in 0..CALLERS {
            let query =
                actix_sqlite::Query::new("SELECT n FROM t WHERE caller = ?1 ORDER BY seq").params([caller]);
            assert_eq!(integers(&database, query).await, (0..i64::from(EACH)).collect::<Vec<_>>());
        }
    });
}
