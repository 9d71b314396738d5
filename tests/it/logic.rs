//! Transactions with logic: the caller's code between the statements, on the writer's thread, isolated like any other
//! write and bounded in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix::Actor;
use actix_sqlite::{Abort, Database, DatabaseActor, Execute, Outcome, Transact, Tx, WriteError, params};
use futures_util::future::join_all;

use crate::harness::{Gate, Place, integers, run, run_all, soon, texts, unwrap_all};

const TABLES: [&str; 4] = [
    "CREATE TABLE t (n INTEGER PRIMARY KEY)",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE log (what TEXT)",
];

const COUNT_FOR_EVER: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) INSERT INTO t SELECT max(n) FROM c";

fn insert(n: i64) -> Execute {
    Execute::new("INSERT INTO t VALUES (?1)").params([n])
}

/// One more than the largest, which depends on what is there.
fn next(tx: &mut Tx<'_>) -> Result<i64, Abort> {
    let largest: Vec<i64> = tx.query_as("SELECT coalesce(max(n), 0) FROM t")?;
    tx.execute(("INSERT INTO t VALUES (?1)", params![largest[0] + 1]))?;
    Ok(largest[0] + 1)
}

#[test]
fn logic_decides_on_what_it_sees_and_shares_the_commit_of_its_neighbours() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &TABLES).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(1)).await;
        let all = join_all((0..20).map(|_| database.transact(next)));
        let mut all = Box::pin(all);
        assert!(futures_util::FutureExt::now_or_never(&mut all).is_none(), "the writer is held");
        drop(gate);
        let all = unwrap_all(soon("the answers", all).await);
        in_hand.await.unwrap().unwrap();
        let values: Vec<i64> = all.iter().map(|transacted| transacted.value).collect();
        assert_eq!(values, (2..=21).collect::<Vec<_>>(), "each saw the ones before it");
        assert!(all.iter().all(|transacted| transacted.commit == all[0].commit), "one COMMIT for all");
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [21]);
    });
}

/// Logic that fails, each in another way, with the code its caller hears.
fn poisons() -> Vec<(&'static str, Transact<()>)> {
    fn doing(statements: &'static [&'static str]) -> Transact<()> {
        Transact::new(move |tx| {
            tx.execute("INSERT INTO log VALUES ('left behind')")?;
            for statement in statements {
                tx.execute(*statement)?;
            }
            Ok(())
        })
    }
    /// Passes over the error of a statement that ended the transaction, or left something behind.
    fn ignoring(statement: &'static str) -> Transact<()> {
        Transact::new(move |tx| {
            tx.execute("INSERT INTO log VALUES ('left behind')")?;
            assert!(tx.execute(statement).is_err());
            let _ = tx.execute("INSERT INTO log VALUES ('left behind')");
            Ok(())
        })
    }
    vec![
        (
            "aborted",
            Transact::new(|tx| {
                tx.execute("INSERT INTO log VALUES ('left behind')")?;
                Err(Abort::new("not today"))
            }),
        ),
        (
            "panicked",
            Transact::new(|tx| {
                tx.execute("INSERT INTO log VALUES ('left behind')")?;
                panic!("a bug of the caller's");
            }),
        ),
        ("constraint_violation", doing(&["INSERT INTO t VALUES (0)"])),
        ("constraint_violation", doing(&["INSERT OR ROLLBACK INTO t VALUES (0)"])),
        ("constraint_violation", doing(&["INSERT OR FAIL INTO t VALUES (1000), (0)"])),
        ("constraint_violation", doing(&["INSERT INTO child VALUES (77)"])),
        ("constraint_violation", ignoring("INSERT OR ROLLBACK INTO t VALUES (0)")),
        ("constraint_violation", ignoring("INSERT OR FAIL INTO t VALUES (1000), (0)")),
        ("forbidden_sql", doing(&["COMMIT"])),
        ("forbidden_sql", doing(&["ROLLBACK"])),
        ("forbidden_sql", doing(&["ATTACH 'x.db' AS x"])),
        ("invalid_sql", doing(&["INSERT INTO nowhere VALUES (1)"])),
        ("statement_timeout", doing(&[COUNT_FOR_EVER])),
    ]
}

#[test]
fn logic_that_fails_at_any_place_of_a_batch_fails_alone_and_leaves_nothing_behind() {
    const BATCH: i64 = 4;
    run(async {
        for at in 0..BATCH {
            for (code, poison) in poisons() {
                let place = Place::new();
                let database = place
                    .open(|settings| settings.writer.statement_timeout = Duration::from_millis(50))
                    .await;
                run_all(&database, &TABLES).await;
                let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
                let address = DatabaseActor::new(database.clone()).start();
                // Through the address, so that all are queued in this order without waiting for any.
                let before: Vec<_> = (1..=at).map(|n| address.send(insert(n))).collect();
                let poison = address.send(poison);
                let after: Vec<_> = (at + 1..=BATCH).map(|n| address.send(insert(n))).collect();
                drop(gate);
                let error = soon("the poison", poison).await.unwrap().unwrap_err();
                assert_eq!((error.code(), error.outcome()), (code, Outcome::NotExecuted), "{error}");
                for innocent in
                    unwrap_all(join_all(before).await).into_iter().chain(unwrap_all(join_all(after).await))
                {
                    innocent.unwrap();
                }
                in_hand.await.unwrap().unwrap();
                let stored = integers(&database, "SELECT n FROM t ORDER BY rowid").await;
                assert_eq!(stored, (0..=BATCH).collect::<Vec<_>>(), "{code} at {at}");
                assert!(texts(&database, "SELECT what FROM log").await.is_empty(), "{code} at {at}");
                assert_eq!(
                    database.status().writer.restarts,
                    0,
                    "{code}: a caller's failure is no reason to restart"
                );
            }
        }
    });
}

#[test]
fn an_error_that_left_nothing_behind_may_be_handled() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &TABLES).await;
        run_all(&database, &["INSERT INTO t VALUES (7)"]).await;
        let upsert = |tx: &mut Tx<'_>| {
            if tx.execute("INSERT INTO t VALUES (7)").is_err() {
                tx.execute("INSERT INTO log VALUES ('seven was there')")?;
            }
            Ok(tx.query("SELECT * FROM log")?.len())
        };
        assert_eq!(database.transact(upsert).await.unwrap().value, 1);
        assert_eq!(texts(&database, "SELECT what FROM log").await, ["seven was there"]);
    });
}

#[test]
fn logic_that_is_run_again_counts_once_and_returns_what_it_did_last() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &TABLES).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let address = DatabaseActor::new(database.clone()).start();
        let logic = address.send(Transact::new(move |tx| {
            counted.fetch_add(1, Relaxed);
            next(tx)
        }));
        let poison = address.send(Execute::new("INSERT OR ROLLBACK INTO t VALUES (0)"));
        drop(gate);
        assert_eq!(soon("the logic", logic).await.unwrap().unwrap().value, 1);
        assert_eq!(poison.await.unwrap().unwrap_err().code(), "constraint_violation");
        in_hand.await.unwrap().unwrap();
        assert_eq!(runs.load(Relaxed), 2, "its neighbour rolled everything back");
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0, 1]);
    });
}

#[test]
fn logic_that_never_ran_says_why() {
    run(async {
        let place = Place::new();
        let database: Database = place.open(|_| ()).await;
        assert!(database.shutdown().await.closed);
        let error = database.transact(|_| Ok(())).await.unwrap_err();
        assert!(matches!(error, WriteError::Refused(_)), "{error}");
        assert_eq!(error.code(), "shutting_down");
    });
}
