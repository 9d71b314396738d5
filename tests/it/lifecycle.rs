//! From open to shutdown: what cannot be opened says why and is left as it was; what is queued at the end is committed
//! or refused, each answered; the file opened again holds exactly what was acknowledged.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_sqlite::{Database, Execute, Outcome, StartError, State};
use futures_util::FutureExt;
use futures_util::future::{join, join_all};

use crate::harness::{Gate, Place, all, integers, run, run_all, soon, until, unwrap_all};

const TABLE: &str = "CREATE TABLE t (n INTEGER)";

fn insert(n: u32) -> Execute {
    Execute::new("INSERT INTO t VALUES (?1)").params([n])
}

#[test]
fn a_shutdown_commits_what_is_queued_and_answers_everybody() {
    run(async {
        let place = Place::new();
        let database =
            place.open(|settings| settings.writer.max_batch_writes = NonZeroUsize::new(3).unwrap()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let queued = all(&database, (1..=20).map(insert));
        let end = async {
            until("all are queued", || database.status().queue.length == 20).await;
            let ending = async {
                until("the shutdown has begun", || database.status().state == State::ShuttingDown).await;
                let error = database.execute(insert(99)).now_or_never().expect("at once").unwrap_err();
                assert_eq!((error.code(), error.outcome()), ("shutting_down", Outcome::NotExecuted));
                assert!(error.is_retryable());
                drop(gate);
            };
            join(database.shutdown(), ending).await.0
        };
        let (receipts, report) = soon("the shutdown", join(queued, end)).await;
        unwrap_all(receipts);
        in_hand.await.unwrap().unwrap();
        assert_eq!(
            (report.committed, report.failed, report.refused, report.closed),
            (21, 0, 0, true),
            "{report}"
        );
        assert_eq!(database.status().state, State::Stopped);
        assert_eq!(database.ended().await, None);
        for error in [
            database.execute(insert(99)).await.unwrap_err().code(),
            database.flush().await.unwrap_err().code(),
            database.query("SELECT 1").await.unwrap_err().code(),
            database.query_stream("SELECT 1").await.unwrap_err().code(),
        ] {
            assert_eq!(error, "shutting_down");
        }
        let again = database.shutdown().await;
        assert_eq!((again.committed, again.refused, again.closed), (0, 0, true));
        assert!(!place.join("test.db-wal").exists(), "the log was moved into the file");
        let database = place.open(|_| ()).await;
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY rowid").await, (0..=20).collect::<Vec<_>>());
    });
}

#[test]
fn when_the_shutdowns_time_is_up_the_rest_is_refused_and_the_file_has_the_acknowledged_only() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.writer.max_batch_writes = NonZeroUsize::MIN;
                settings.supervisor.shutdown_timeout = Duration::from_millis(50);
                settings.database.busy_timeout = Duration::from_secs(20);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let queued = all(&database, (1..=20).map(insert));
        let end = async {
            until("all are queued", || database.status().queue.length == 20).await;
            database.shutdown().await
        };
        let (results, report) = soon("the shutdown", join(queued, end)).await;
        assert_eq!((report.refused, report.closed), (20, false), "{report}");
        for result in results {
            let error = result.unwrap_err();
            assert_eq!((error.code(), error.outcome()), ("shutting_down", Outcome::NotExecuted));
        }
        drop(gate);
        in_hand.await.unwrap().expect("what had begun runs to its end");
        assert_eq!(soon("the end", database.ended()).await, None);
        let database = place.open(|_| ()).await;
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0]);
    });
}

#[test]
fn when_the_shutdowns_time_is_up_statements_that_would_run_on_are_ended_and_leave_nothing() {
    const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)";
    run(async {
        let place = Place::new();
        let limit = Duration::from_millis(50);
        let database = place.open(|settings| settings.supervisor.shutdown_timeout = limit).await;
        run_all(&database, &[TABLE]).await;
        let write = database.execute(format!("INSERT INTO t {ENDLESS} SELECT n FROM c"));
        let read = database.query(format!("{ENDLESS} SELECT max(n) FROM c"));
        let end = async {
            until("both run", || {
                let status = database.status();
                status.queue.length + status.readers.queue.length == 0
            })
            .await;
            database.shutdown().await
        };
        let ((write, read), report) = soon("the shutdown", join(join(write, read), end)).await;
        assert!(report.closed, "{report}");
        assert_eq!(write.unwrap_err().outcome(), Outcome::NotExecuted);
        assert!(read.unwrap_err().is_retryable());
        let database = place.open(|_| ()).await;
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [0]);
    });
}

#[test]
fn a_shutdown_in_the_middle_of_traffic_keeps_exactly_what_was_acknowledged() {
    run(async {
        let place = Place::new();
        for round in 0..10_u32 {
            let database = place.open(|_| ()).await;
            run_all(&database, &["CREATE TABLE IF NOT EXISTS t (n INTEGER)", "DELETE FROM t"]).await;
            let callers = (0..8_u32).map(|caller| {
                let database = database.clone();
                actix_rt::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for n in 0.. {
                        match database.execute(insert(caller * 1_000_000 + n)).await {
                            Ok(_) => acknowledged.push(i64::from(caller * 1_000_000 + n)),
                            Err(error) => {
                                assert_eq!(error.code(), "shutting_down");
                                return acknowledged;
                            }
                        }
                    }
                    acknowledged
                })
            });
            let callers: Vec<_> = callers.collect();
            let enough = 50 + u64::from(round) * 30;
            until("there is traffic", || database.status().writer.committed > enough).await;
            let report = database.shutdown().await;
            assert!(report.closed);
            let acknowledged: BTreeSet<i64> =
                join_all(callers).await.into_iter().flat_map(|caller| caller.unwrap()).collect();
            let database = place.open(|_| ()).await;
            let stored = integers(&database, "SELECT n FROM t ORDER BY n").await;
            assert_eq!(stored, acknowledged.into_iter().collect::<Vec<_>>(), "round {round}");
            database.shutdown().await;
        }
        place.assert_sound();
    });
}

#[test]
fn a_file_can_be_opened_again_as_soon_as_its_shutdown_is_over() {
    run(async {
        let place = Place::new();
        let mut last = None;
        for round in 0..50 {
            let database = place.open(|_| ()).await;
            assert!(last <= Some(database.last_commit()), "commits go on counting");
            if round == 0 {
                run_all(&database, &[TABLE]).await;
            }
            let receipt = database.execute(insert(round)).await.unwrap();
            assert!(last < Some(receipt.commit));
            last = Some(receipt.commit);
            assert!(database.shutdown().await.closed);
        }
    });
}

#[test]
fn dropping_the_last_handle_commits_what_is_queued_and_closes_the_file() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let queued: Vec<_> = (1..=5)
            .map(|n| {
                let database = database.clone();
                actix_rt::spawn(async move { database.execute(insert(n)).await })
            })
            .collect();
        until("all are queued", || database.status().queue.length == 5).await;
        drop(database);
        drop(gate);
        unwrap_all(unwrap_all(join_all(queued).await));
        in_hand.await.unwrap().unwrap();
        let reopened = soon("opening it again", async {
            loop {
                match Database::open(place.settings(|_| ())).await {
                    Err(StartError::Locked { .. }) => actix_rt::time::sleep(Duration::from_millis(1)).await,
                    opened => break opened.unwrap(),
                }
            }
        })
        .await;
        assert_eq!(integers(&reopened, "SELECT n FROM t ORDER BY n").await, [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_file_is_open_once() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let error = Database::open(place.settings(|_| ())).await.unwrap_err();
        assert_eq!(error.code(), "locked");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        // And the one that has it did not suffer.
        run_all(&database, &[TABLE]).await;
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [0]);
    });
}

/// Somebody else's backup, or a look with another tool.
#[test]
fn opening_waits_for_a_lock_that_another_program_holds() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        assert!(database.shutdown().await.closed);
        let gate = Gate::shut(&place);
        let opening = actix_rt::spawn(Database::open(place.settings(|_| ())));
        let begun = std::time::Instant::now();
        until("it has waited", || begun.elapsed() > Duration::from_millis(200) || opening.is_finished())
            .await;
        assert!(!opening.is_finished());
        drop(gate);
        soon("opening it", opening).await.unwrap().unwrap();
    });
}

#[test]
fn what_is_no_database_is_refused_and_left_as_it_was() {
    run(async {
        let place = Place::new();
        let code = async |path| {
            let settings = place.settings(|settings| settings.database.path = path);
            // Again at once: the first try holds nothing back.
            let first = Database::open(settings.clone()).await.unwrap_err();
            let second = Database::open(settings).await.unwrap_err();
            assert_eq!(first, second);
            first.code()
        };
        assert_eq!(code(place.join("nowhere/test.db")).await, "missing_directory");
        assert!(!place.join("nowhere").exists());
        std::fs::create_dir(place.join("directory")).unwrap();
        assert_eq!(code(place.join("directory")).await, "cannot_open");
        let text = "these are notes, and not a database\n".repeat(500);
        std::fs::write(place.join("notes.txt"), &text).unwrap();
        assert_eq!(code(place.join("notes.txt")).await, "not_a_database");
        assert_eq!(std::fs::read_to_string(place.join("notes.txt")).unwrap(), text);
        assert!(!place.join("notes.txt-wal").exists() && !place.join("notes.txt-journal").exists());
    });
}

#[test]
fn an_empty_file_with_a_log_beside_it_is_refused_and_left_as_it_was() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.database.checkpoint = false).await;
        run_all(&database, &[TABLE, "INSERT INTO t VALUES (1)"]).await;
        assert!(database.shutdown().await.closed);
        let whole = std::fs::read(place.path()).unwrap();
        let log = std::fs::read(place.join("test.db-wal")).unwrap();
        for cut in ["cut", "gone"] {
            std::fs::write(place.path(), b"").unwrap();
            if cut == "gone" {
                std::fs::remove_file(place.path()).unwrap();
            }
            let error = Database::open(place.settings(|_| ())).await.unwrap_err();
            assert_eq!(error.code(), "not_a_database", "{cut}: {error}");
            assert!(error.to_string().contains("test.db-wal beside it is not"), "{error}");
            assert!(std::fs::read(place.join("test.db-wal")).unwrap() == log, "{cut}");
        }
        std::fs::write(place.path(), whole).unwrap();
        let reopened = place.open(|_| ()).await;
        assert_eq!(integers(&reopened, "SELECT n FROM t").await, [1]);
    });
}

#[test]
fn a_file_of_a_later_version_is_refused_and_left_as_it_was() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        assert!(database.shutdown().await.closed);
        assert_eq!(place.raw().execute("UPDATE _actix_sqlite_commit SET format = 2", []).unwrap(), 1);
        let before = std::fs::read(place.path()).unwrap();
        let error = Database::open(place.settings(|_| ())).await.unwrap_err();
        assert_eq!(error.code(), "newer_schema");
        assert_eq!(std::fs::read(place.path()).unwrap(), before);
    });
}

#[test]
fn an_empty_file_and_somebody_elses_database_can_be_opened() {
    run(async {
        let place = Place::new();
        std::fs::write(place.path(), "").unwrap();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        assert!(database.shutdown().await.closed);
        let place = Place::new();
        place.raw().execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").unwrap();
        let database = place.open(|_| ()).await;
        database.execute(insert(2)).await.unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t").await, [1, 2]);
    });
}

#[test]
fn a_file_under_another_name_is_the_same_file() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        std::os::unix::fs::symlink(place.path(), place.join("alias.db")).unwrap();
        let alias = place.settings(|settings| settings.database.path = place.join("alias.db"));
        assert_eq!(Database::open(alias.clone()).await.unwrap_err().code(), "locked");
        assert!(database.shutdown().await.closed);
        Database::open(alias).await.unwrap();
    });
}

#[test]
fn a_name_that_leads_two_ways_or_nowhere_is_refused() {
    run(async {
        let place = Place::new();
        assert!(place.open(|_| ()).await.shutdown().await.closed);
        std::fs::hard_link(place.path(), place.join("second.db")).unwrap();
        std::os::unix::fs::symlink(place.join("nothing.db"), place.join("dangling.db")).unwrap();
        for (name, reason) in
            [("test.db", "2 names"), ("second.db", "2 names"), ("dangling.db", "symbolic link to nothing")]
        {
            let settings = place.settings(|settings| settings.database.path = place.join(name));
            let error = Database::open(settings).await.unwrap_err();
            assert_eq!(error.code(), "cannot_open");
            assert!(error.to_string().contains(reason), "{name}: {error}");
        }
        std::fs::remove_file(place.join("second.db")).unwrap();
        place.open(|_| ()).await;
    });
}

#[test]
fn a_database_whose_system_was_stopped_is_closed_all_the_same() {
    let place = Place::new();
    let database = run(async {
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        database.execute(insert(1)).await.unwrap();
        database
    });
    // The System it was opened in is gone, and its supervisor too.
    run(async {
        let report = soon("the shutdown", database.shutdown()).await;
        assert!(report.closed, "{report}");
        assert!(report.seconds < 5.0, "{report}");
        assert_eq!(database.execute(insert(2)).await.unwrap_err().code(), "shutting_down");
        let reopened = place.open(|_| ()).await;
        assert_eq!(integers(&reopened, "SELECT n FROM t").await, [1]);
    });
}

#[test]
fn without_a_system_there_is_no_database() {
    let place = Place::new();
    let error = Database::open(place.settings(|_| ())).now_or_never().expect("at once").unwrap_err();
    assert_eq!(error.code(), "no_system");
    assert!(!place.path().exists());
}

#[test]
fn settings_that_contradict_themselves_open_nothing() {
    run(async {
        let place = Place::new();
        let settings = place.settings(|settings| settings.supervisor.window = Duration::ZERO);
        let error = Database::open(settings).await.unwrap_err();
        assert_eq!(error.code(), "invalid_settings");
        assert!(!place.path().exists());
    });
}

/// A program that is being started has, for a moment, all that this process has open, its locks too.
#[test]
fn programs_that_are_started_meanwhile_do_not_keep_a_closed_file() {
    run(async {
        let place = Place::new();
        let over = Arc::new(AtomicBool::new(false));
        let starters = [(); 4].map(|()| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut started = 0;
                while !over.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                    started += 1;
                }
                started
            })
        });
        let mut refused = Vec::new();
        for _ in 0..100 {
            match Database::open(place.settings(|_| ())).await {
                Ok(database) => assert!(database.shutdown().await.closed),
                Err(error) => refused.push(error),
            }
        }
        over.store(true, Ordering::Relaxed);
        let started: usize = starters.into_iter().map(|starter| starter.join().unwrap()).sum();
        assert!(started > 0);
        assert!(refused.is_empty(), "{refused:?}");
    });
}
