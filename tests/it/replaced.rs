//! Files that are moved, replaced or deleted under a running database: nothing is acknowledged into a file that nobody
//! finds again, and nothing is put in its place.

use std::time::Duration;

use actix_sqlite::{Database, Execute, Outcome, State};

use crate::harness::{Place, integers, run, run_all, soon, until};

const TABLE: &str = "CREATE TABLE t (n INTEGER)";

fn insert(n: u32) -> Execute {
    Execute::new("INSERT INTO t VALUES (?1)").params([n])
}

async fn open(place: &Place, max_restarts: usize) -> Database {
    let database = place
        .open(|settings| {
            settings.supervisor.max_restarts = max_restarts;
            settings.supervisor.initial_backoff = Duration::from_millis(1);
            settings.supervisor.max_backoff = Duration::from_millis(5);
        })
        .await;
    run_all(&database, &[TABLE, "INSERT INTO t VALUES (1)"]).await;
    database
}

#[test]
fn a_write_into_a_file_that_is_gone_is_not_acknowledged() {
    for name in ["test.db", "test.db-wal"] {
        for replaced in [false, true] {
            run(async {
                let place = Place::new();
                let database = open(&place, 3).await;
                std::fs::rename(place.join(name), place.join("away")).unwrap();
                if replaced {
                    std::fs::write(place.join(name), b"").unwrap();
                }
                let error = soon("the answer", database.execute(insert(2))).await.unwrap_err();
                assert_eq!(
                    (error.code(), error.outcome()),
                    ("database_failed", Outcome::NotExecuted),
                    "{name}"
                );
                let status = database.status();
                assert_eq!(status.state, State::Failed);
                if name == "test.db" {
                    assert!(status.reason.unwrap().contains("moved, replaced or deleted"));
                    assert_eq!(place.join(name).exists(), replaced, "nothing was put in its place");
                }
                assert!(database.shutdown().await.closed);
                std::fs::rename(place.join("away"), place.join(name)).unwrap();
                let reopened = place.open(|_| ()).await;
                assert_eq!(integers(&reopened, "SELECT n FROM t").await, [1], "{name}");
                place.assert_sound();
            });
        }
    }
}

#[test]
fn a_file_that_is_put_back_in_time_is_worked_on_as_before() {
    run(async {
        let place = Place::new();
        let database = open(&place, 1_000).await;
        std::fs::rename(place.path(), place.join("away")).unwrap();
        let write = {
            let database = database.clone();
            actix_rt::spawn(async move { database.execute(insert(2)).await })
        };
        until("the writer has noticed", || database.status().writer.restarts > 3).await;
        std::fs::rename(place.join("away"), place.path()).unwrap();
        soon("the commit", write).await.unwrap().unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t").await, [1, 2]);
        assert!(database.shutdown().await.closed);
        place.assert_sound();
    });
}
