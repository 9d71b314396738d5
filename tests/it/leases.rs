//! Leases on the writer: a transaction statement by statement, in its turn among the batches, bounded in time, and gone
//! without a trace unless it was committed.

use std::time::{Duration, Instant};

use actix::Actor;
use actix_sqlite::{BeginLease, Database, DatabaseActor, Execute, LeaseEnd, State, WriteError};
use futures_util::FutureExt;

use crate::harness::{Gate, Place, integers, run, run_all, soon, until};

const TABLES: [&str; 3] = [
    "CREATE TABLE t (n INTEGER PRIMARY KEY)",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
];

fn insert(n: u32) -> Execute {
    Execute::new("INSERT INTO t VALUES (?1)").params([n])
}

async fn open(place: &Place, lease_timeout: Duration) -> Database {
    let database = place.open(|settings| settings.writer.lease_timeout = lease_timeout).await;
    run_all(&database, &TABLES).await;
    database
}

const LONG: Duration = Duration::from_mins(1);

async fn stored(database: &Database) -> Vec<i64> {
    integers(database, "SELECT n FROM t ORDER BY n").await
}

#[test]
fn a_lease_is_there_whole_after_its_commit_and_not_at_all_before() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        let inserted = lease.execute("INSERT INTO t VALUES (1) RETURNING n + 1").await.unwrap();
        assert_eq!((inserted.last_insert_rowid, inserted.rows), (Some(1), vec![vec![2.into()]]));
        assert_eq!(lease.query("SELECT n FROM t").await.unwrap().rows, [[1.into()]], "it sees its own");
        lease.execute("INSERT INTO t VALUES (2)").await.unwrap();
        assert_eq!(stored(&database).await, [0; 0], "and nobody else does");
        let commit = lease.commit().await.unwrap();
        assert_eq!(stored(&database).await, [1, 2]);
        assert_eq!(database.last_commit(), commit);
        assert!(database.execute(insert(3)).await.unwrap().commit > commit);
        let rolled_back = {
            let mut lease = database.lease(BeginLease::new()).await.unwrap();
            lease.execute("DELETE FROM t").await.unwrap();
            lease
        };
        rolled_back.rollback().await;
        assert_eq!(stored(&database).await, [1, 2, 3]);
        assert_eq!(database.status().writer.leases, 2);
    });
}

#[test]
fn leases_and_batches_take_turns_in_the_order_they_came() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        let address = DatabaseActor::new(database.clone()).start();
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let before = address.send(insert(1));
        let lease = address.send(BeginLease::new());
        let after = address.send(insert(2));
        let second = address.send(BeginLease::new());
        drop(gate);
        in_hand.await.unwrap().unwrap();
        let before = soon("before", before).await.unwrap().unwrap();
        let mut lease = soon("the lease", lease).await.unwrap().unwrap();
        assert_eq!(lease.query("SELECT n FROM t").await.unwrap().rows, [[0.into()], [1.into()]]);
        let mut after = Box::pin(after);
        assert!((&mut after).now_or_never().is_none(), "what came later waits");
        lease.execute("INSERT INTO t VALUES (10)").await.unwrap();
        let commit = lease.commit().await.unwrap();
        let after = soon("after", after).await.unwrap().unwrap();
        assert!(before.commit < commit && commit < after.commit);
        let mut second = soon("the second", second).await.unwrap().unwrap();
        assert_eq!(second.query("SELECT count(*) FROM t").await.unwrap().rows, [[4.into()]]);
        second.commit().await.unwrap();
    });
}

#[test]
fn a_lease_whose_time_is_up_is_rolled_back_and_its_holder_hears_so() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::from_millis(50)).await;
        // Longer than the settings allow is as long as they allow.
        for begin in [BeginLease::new(), BeginLease::new().max_age(LONG)] {
            let begun = Instant::now();
            let mut lease = database.lease(begin).await.unwrap();
            lease.execute("INSERT INTO t VALUES (1)").await.unwrap();
            database.execute(insert(2)).await.unwrap();
            assert!(begun.elapsed() >= Duration::from_millis(50));
            for _ in 0..2 {
                let error = lease.execute("INSERT INTO t VALUES (3)").await.unwrap_err();
                assert_eq!(error, WriteError::LeaseEnded(LeaseEnd::Expired));
                assert!(error.is_retryable());
            }
            assert_eq!(lease.commit().await.unwrap_err().code(), "lease_ended");
            assert_eq!(stored(&database).await, [2]);
            run_all(&database, &["DELETE FROM t"]).await;
        }
        // A statement that would run on is ended with the lease.
        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        let endless =
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
        let error = soon("the end", lease.query(endless)).await.unwrap_err();
        assert_eq!(error.code(), "statement_timeout");
        soon("the next write", database.execute(insert(1))).await.unwrap();
    });
}

#[test]
fn a_lease_that_is_dropped_keeps_nobody_waiting() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        lease.execute("INSERT INTO t VALUES (1)").await.unwrap();
        drop(lease);
        soon("the next write", database.execute(insert(2))).await.unwrap();
        assert_eq!(stored(&database).await, [2]);
        // Nor does one whose caller left before its turn.
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(3)).await;
        let mut waiting = Box::pin(database.lease(BeginLease::new()));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        drop(gate);
        in_hand.await.unwrap().unwrap();
        soon("the next write", database.execute(insert(4))).await.unwrap();
    });
}

#[test]
fn a_lease_that_waits_too_long_is_refused() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        let first = database.lease(BeginLease::new()).await.unwrap();
        let error = database.lease(BeginLease::new().timeout(Duration::from_millis(20))).await.unwrap_err();
        assert_eq!(error.code(), "deadline_passed");
        first.rollback().await;
        database.lease(BeginLease::new().timeout(LONG)).await.unwrap().commit().await.unwrap();
    });
}

#[test]
fn a_failing_statement_leaves_a_lease_open_unless_sqlite_ends_it() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        lease.execute("INSERT INTO t VALUES (1)").await.unwrap();
        for (sql, code) in [
            ("INSERT INTO t VALUES (1)", "constraint_violation"),
            ("INSERT INTO nowhere VALUES (1)", "invalid_sql"),
            ("COMMIT", "forbidden_sql"),
            ("SAVEPOINT _actix_sqlite_write", "forbidden_sql"),
            ("RELEASE unknown", "invalid_sql"),
            ("DELETE FROM _actix_sqlite_commit", "forbidden_sql"),
        ] {
            assert_eq!(lease.execute(sql).await.unwrap_err().code(), code, "{sql}");
        }
        lease.commit().await.unwrap();
        assert_eq!(stored(&database).await, [1]);

        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        lease.execute("INSERT INTO t VALUES (2)").await.unwrap();
        let error = lease.execute("INSERT OR ROLLBACK INTO t VALUES (1)").await.unwrap_err();
        assert_eq!(error.code(), "constraint_violation");
        let error = lease.execute("INSERT INTO t VALUES (3)").await.unwrap_err();
        assert_eq!(error, WriteError::LeaseEnded(LeaseEnd::TransactionEnded));
        assert_eq!(stored(&database).await, [1]);

        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        lease.execute("INSERT INTO child VALUES (77)").await.unwrap();
        assert_eq!(lease.commit().await.unwrap_err().code(), "constraint_violation");
        assert_eq!(integers(&database, "SELECT count(*) FROM child").await, [0]);
        assert_eq!(database.status().writer.restarts, 0);
    });
}

/// The error and the end come one right after the other, and the holder may look between them.
#[test]
fn the_statement_that_ends_a_lease_is_told_its_own_error_each_time() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        database.execute(insert(1)).await.unwrap();
        for _ in 0..5_000 {
            let mut lease = database.lease(BeginLease::new()).await.unwrap();
            let error = lease.execute("INSERT OR ROLLBACK INTO t VALUES (1)").await.unwrap_err();
            assert_eq!(error.code(), "constraint_violation");
            let error = lease.commit().await.unwrap_err();
            assert_eq!(error, WriteError::LeaseEnded(LeaseEnd::TransactionEnded));
        }
    });
}

#[test]
fn a_shutdown_lets_a_lease_finish_in_time_and_ends_it_when_its_own_time_is_up() {
    run(async {
        for finishes in [true, false] {
            let place = Place::new();
            let database = place
                .open(|settings| {
                    settings.writer.lease_timeout = LONG;
                    settings.supervisor.shutdown_timeout =
                        Duration::from_millis(if finishes { 20_000 } else { 50 });
                })
                .await;
            run_all(&database, &TABLES).await;
            let mut lease = database.lease(BeginLease::new()).await.unwrap();
            lease.execute("INSERT INTO t VALUES (1)").await.unwrap();
            let ending = actix_rt::spawn({
                let database = database.clone();
                async move { database.shutdown().await }
            });
            until("the shutdown has begun", || database.status().state == State::ShuttingDown).await;
            if finishes {
                lease.execute("INSERT INTO t VALUES (2)").await.unwrap();
                lease.commit().await.unwrap();
            } else {
                let report = soon("the shutdown", ending).await.unwrap();
                assert!(report.closed, "{report}");
                let error = lease.execute("INSERT INTO t VALUES (2)").await.unwrap_err();
                assert_eq!(error, WriteError::LeaseEnded(LeaseEnd::ShuttingDown));
                assert_eq!(stored(&place.open(|_| ()).await).await, [0; 0]);
                continue;
            }
            assert!(soon("the shutdown", ending).await.unwrap().closed);
            assert_eq!(stored(&place.open(|_| ()).await).await, [1, 2]);
        }
    });
}

#[test]
fn a_lease_has_savepoints_of_its_own() {
    run(async {
        let place = Place::new();
        let database = open(&place, LONG).await;
        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        for sql in [
            "INSERT INTO t VALUES (1)",
            "SAVEPOINT outer",
            "INSERT INTO t VALUES (2)",
            "SAVEPOINT \"in ner\"",
            "INSERT INTO t VALUES (3)",
            "ROLLBACK TO \"in ner\"",
            "INSERT INTO t VALUES (4)",
            "RELEASE outer",
        ] {
            lease.execute(sql).await.unwrap();
        }
        assert_eq!(lease.execute("RELEASE outer").await.unwrap_err().code(), "invalid_sql");
        lease.commit().await.unwrap();
        assert_eq!(stored(&database).await, [1, 2, 4]);
        // Nobody else has them, in whatever state the prepared statements are.
        let error = database.execute("SAVEPOINT outer").await.unwrap_err();
        assert_eq!(error.code(), "forbidden_sql");
    });
}
