//! One failure after another, each at a known place: what becomes of the writes, and when the supervisor gives up.

use std::time::{Duration, Instant};

use actix_sqlite::{BeginLease, Database, Execute, LeaseEnd, Linger, State, WriteError};
use fail::FailScenario;
use futures_util::future::{join, join_all};

use crate::harness::{Place, all, integers, run, run_all, soon, take_in_hand, until, unwrap_all};
use crate::load::{TABLE, assert_file_agrees, call, insert, longest_silence};

/// Where a writer can be hit.
const POINTS: [&str; 4] = ["before_begin", "mid_batch", "before_commit", "after_commit"];

#[test]
fn a_writer_that_panics_under_load_loses_nothing_and_is_back_within_a_second() {
    for point in POINTS {
        let scenario = FailScenario::setup();
        run(async {
            let place = Place::new();
            let database = place.open(|_| ()).await;
            run_all(&database, &[TABLE]).await;
            // Three times, with traffic in between.
            fail::cfg(point, "20*off->1*panic->20*off->1*panic->20*off->1*panic->off").unwrap();
            let callers: Vec<_> = (0..8)
                .map(|caller| {
                    let watched = database.clone();
                    let more =
                        move |round| round < 50 || (round < 5_000 && watched.status().writer.restarts < 3);
                    actix_rt::spawn(call(database.clone(), caller, 10, more))
                })
                .collect();
            let callers: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
            assert_eq!(database.status().writer.restarts, 3, "{point} was hit");
            assert!(callers.iter().all(|told| told.failed.is_empty()), "{point}: all are acknowledged");
            assert_file_agrees(&place, &database, &callers).await;
            let silence = longest_silence(&callers);
            let writes: usize = callers.iter().map(|told| told.acknowledged.len()).sum();
            println!("{point}: 3 panics, {writes} writes, {silence:?} of silence");
            assert!(silence < Duration::from_secs(1), "{point}: {silence:?}");
            until("it runs again", || database.status().state == State::Running).await;
        });
        scenario.teardown();
    }
}

#[test]
fn what_was_committed_before_the_panic_is_acknowledged_and_not_run_again() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        fail::cfg("after_commit", "1*panic->off").unwrap();
        let receipt = database.execute(insert(1, 1)).await.unwrap();
        assert!(database.last_commit() >= receipt.commit);
        database.flush().await.unwrap();
        let status = database.status().writer;
        assert_eq!((status.restarts, status.given_back), (1, 0));
        assert_eq!(integers(&database, "SELECT n FROM t").await, [1]);
    });
    scenario.teardown();
}

#[test]
fn a_write_that_always_panics_is_singled_out_and_the_others_live() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database =
            place.open(|settings| settings.supervisor.max_backoff = Duration::from_millis(10)).await;
        run_all(&database, &[TABLE]).await;
        fail::cfg("before_commit", "panic").unwrap();
        let error = soon("the answer", database.execute(insert(1, 1))).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("panicked", false));
        fail::cfg("before_commit", "off").unwrap();
        database.execute(insert(1, 2)).await.unwrap();
        let restarts = database.status().writer.restarts;
        assert!((2..10).contains(&restarts), "{restarts}");
        assert_eq!(integers(&database, "SELECT n FROM t").await, [2]);
    });
    scenario.teardown();
}

#[test]
fn over_the_budget_everybody_is_answered_and_the_reason_is_told() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.supervisor.max_restarts = 2).await;
        run_all(&database, &[TABLE, "INSERT INTO t (caller, n) VALUES (0, 0)"]).await;
        fail::cfg("before_commit", "panic").unwrap();
        let writes = (1..=100).map(|n| insert(1, n));
        let (results, reason) = soon("the end", join(all(&database, writes), database.ended())).await;
        for result in results {
            let code = result.unwrap_err().code();
            assert!(["database_failed", "panicked"].contains(&code), "{code}");
        }
        let reason = reason.expect("a reason");
        assert!(reason.contains("more than 2 times") && reason.contains("before_commit"), "{reason}");
        let status = database.status();
        assert_eq!((status.state, status.reason), (State::Failed, Some(reason)));
        assert_eq!((status.writer.restarts, status.queue.length), (2, 0));
        let error = database.execute(insert(1, 1)).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("database_failed", true));
        assert_eq!(database.query("SELECT 1").await.unwrap_err().code(), "database_failed");
        assert_eq!(database.flush().await.unwrap_err().code(), "database_failed");
        drop(database);
        fail::remove("before_commit");
        let reopened = open_when_free(&place).await;
        assert_eq!(integers(&reopened, "SELECT n FROM t").await, [0]);
        place.assert_sound();
    });
    scenario.teardown();
}

#[test]
fn failures_outside_the_window_are_forgiven() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let window = Duration::from_millis(50);
        let database = place
            .open(|settings| {
                settings.supervisor.max_restarts = 1;
                settings.supervisor.window = window;
            })
            .await;
        run_all(&database, &[TABLE]).await;
        for n in 0..5 {
            fail::cfg("before_commit", "1*panic->off").unwrap();
            database.execute(insert(1, n)).await.unwrap();
            let answered = Instant::now();
            until("the window has moved on", || answered.elapsed() > window).await;
        }
        assert_eq!(database.status().writer.restarts, 5);
        until("it runs again", || database.status().state == State::Running).await;
    });
    scenario.teardown();
}

#[test]
fn a_writer_that_cannot_be_opened_at_once_is_opened_later() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        fail::cfg("open_writer", "3*panic->off").unwrap();
        fail::cfg("before_begin", "1*panic->off").unwrap();
        let results = soon("the answers", all(&database, (0..20).map(|n| insert(1, n)))).await;
        unwrap_all(results);
        assert_eq!(database.status().writer.restarts, 4);
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, (0..20).collect::<Vec<_>>());
    });
    scenario.teardown();
}

#[test]
fn a_file_that_is_damaged_under_a_restart_is_given_up_with_the_reason() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.supervisor.max_restarts = 2;
                settings.readers.threads = 1;
            })
            .await;
        run_all(&database, &[TABLE]).await;
        fail::cfg("before_begin", "1*pause->1*panic->off").unwrap();
        let write = take_in_hand(&database, insert(1, 1)).await;
        let queued: Vec<_> = (2..5)
            .map(|n| {
                let database = database.clone();
                actix_rt::spawn(async move { database.execute(insert(1, n)).await })
            })
            .collect();
        until("others wait", || database.status().queue.length == 3).await;
        for name in ["test.db-wal", "test.db-shm"] {
            std::fs::remove_file(place.join(name)).unwrap();
        }
        // In place: another file under its name would not even be opened.
        std::fs::write(place.path(), "no database any more\n".repeat(500)).unwrap();
        // What is held goes on when its failpoint is set anew, and panics one step further.
        fail::cfg("mid_batch", "panic").unwrap();
        fail::cfg("before_begin", "off").unwrap();
        let reason = soon("the end", database.ended()).await.expect("a reason");
        assert!(reason.contains("not an SQLite database"), "{reason}");
        for result in join_all(queued).await.into_iter().chain([write.await]) {
            assert_eq!(result.unwrap().unwrap_err().code(), "database_failed");
        }
    });
    scenario.teardown();
}

#[test]
fn a_panic_while_opening_is_the_openers_error_and_the_file_is_free_again() {
    for point in ["open_writer", "open_reader"] {
        let scenario = FailScenario::setup();
        run(async {
            let place = Place::new();
            fail::cfg(point, "1*panic->off").unwrap();
            let error = Database::open(place.settings(|_| ())).await.unwrap_err();
            assert_eq!(error.code(), "stopped");
            assert!(error.to_string().contains(point), "{error}");
            let database = place.open(|_| ()).await;
            run_all(&database, &[TABLE]).await;
        });
        scenario.teardown();
    }
}

#[test]
fn a_shutdown_in_the_middle_of_restarts_still_commits_what_is_queued() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        fail::cfg("before_commit", "3*panic->off").unwrap();
        let end = async {
            until("the writer has failed", || database.status().writer.restarts > 0).await;
            database.shutdown().await
        };
        let writes = all(&database, (0..50).map(|n| insert(1, n)));
        let (results, report) = soon("the shutdown", join(writes, end)).await;
        unwrap_all(results);
        assert!(report.closed, "{report}");
        let database = place.open(|_| ()).await;
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, (0..50).collect::<Vec<_>>());
    });
    scenario.teardown();
}

/// The writer gives back what it held when the readers have already been given up on, and the database with them.
#[test]
fn a_writer_that_fails_after_the_database_was_given_up_leaves_nobody_unanswered() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.supervisor.max_restarts = 1).await;
        run_all(&database, &[TABLE]).await;
        database.flush().await.unwrap();
        fail::cfg("mid_batch", "pause").unwrap();
        let write = take_in_hand(&database, insert(1, 1)).await;
        fail::cfg("query", "panic").unwrap();
        let error = soon("the query", database.query("SELECT 1")).await.unwrap_err();
        assert!(["panicked", "database_failed"].contains(&error.code()), "{error}");
        assert!(soon("the end", database.ended()).await.expect("a reason").contains("reader"));
        fail::cfg("before_commit", "panic").unwrap();
        fail::cfg("mid_batch", "off").unwrap();
        let error = soon("the write's answer", write).await.unwrap().unwrap_err();
        assert_eq!(error.code(), "database_failed");
    });
    scenario.teardown();
}

#[test]
fn whoever_is_answered_after_a_panic_is_seen_by_who_asks_then() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                // What is in hand waits for the other one.
                settings.writer.linger = Linger::Fixed(Duration::from_mins(1));
                settings.writer.max_batch_writes = 2.try_into().unwrap();
            })
            .await;
        let (created, flushed) = join(database.execute(TABLE), database.flush()).await;
        created.unwrap();
        flushed.unwrap();
        let before = database.last_commit();
        // The batch is soiled by its second write; the first is committed by itself, and then the writer panics, and the
        // next one does not come before this is over.
        fail::cfg("before_begin", "pause").unwrap();
        let first = take_in_hand(&database, insert(1, 1)).await;
        let soils = Execute::new("INSERT OR ROLLBACK INTO t (seq) VALUES (900), (900)");
        let second = {
            let database = database.clone();
            actix_rt::spawn(async move { database.execute(soils).await })
        };
        until("the other waits", || database.status().queue.length == 1).await;
        fail::cfg("mid_batch", "2*off->1*panic->off").unwrap();
        fail::cfg("open_writer", "pause").unwrap();
        fail::cfg("before_begin", "off").unwrap();
        until("the writer has panicked", || database.status().state == State::Recovering).await;
        let receipt = soon("the first one's answer", first).await.unwrap().unwrap();
        assert!(receipt.commit > before && database.last_commit() >= receipt.commit, "{receipt:?}");
        fail::cfg("open_writer", "off").unwrap();
        // It is alone, and the batch waits.
        until("it is tried again", || database.status().writer.restarts == 1).await;
        database.flush().await.unwrap();
        assert_eq!(
            soon("the other's answer", second).await.unwrap().unwrap_err().code(),
            "constraint_violation"
        );
    });
    scenario.teardown();
}

/// Opens the file when its last owner's threads are done with it.
async fn open_when_free(place: &Place) -> Database {
    soon("opening it again", async {
        loop {
            match Database::open(place.settings(|_| ())).await {
                Err(actix_sqlite::StartError::Locked { .. }) => {
                    actix_rt::time::sleep(Duration::from_millis(1)).await;
                }
                opened => break opened.unwrap(),
            }
        }
    })
    .await
}

#[test]
fn a_write_is_answered_though_the_system_is_gone_and_the_writer_panics() {
    let scenario = FailScenario::setup();
    let place = Place::new();
    let database = actix_rt::System::new().block_on(async {
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        database
    });
    // The runner is dropped, and with it everything that could start a writer again.
    fail::cfg("before_commit", "panic").unwrap();
    let answer = futures_util::future::select(
        Box::pin(database.execute(insert(1, 1))),
        Box::pin(async {
            let (told, hears) = tokio::sync::oneshot::channel::<()>();
            std::thread::spawn(move || {
                std::thread::park_timeout(Duration::from_secs(10));
                drop(told);
            });
            hears.await
        }),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(answer) {
        futures_util::future::Either::Left((answer, _)) => {
            assert_eq!(answer.unwrap_err().code(), "database_failed");
        }
        futures_util::future::Either::Right(_) => panic!("it was not answered"),
    }
    scenario.teardown();
}

#[test]
fn a_lease_does_not_outlive_its_writer_and_the_queue_does() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let mut lease = database.lease(BeginLease::new()).await.unwrap();
        lease.execute("INSERT INTO t (caller, n) VALUES (1, 1)").await.unwrap();
        let queued = {
            let database = database.clone();
            actix_rt::spawn(async move { database.execute(insert(2, 2)).await })
        };
        let another = {
            let database = database.clone();
            actix_rt::spawn(async move { database.lease(BeginLease::new()).await })
        };
        until("both are queued", || database.status().queue.length == 2).await;
        fail::cfg("lease", "1*panic->off").unwrap();
        let error =
            soon("the end", lease.execute("INSERT INTO t (caller, n) VALUES (1, 2)")).await.unwrap_err();
        assert_eq!(error, WriteError::LeaseEnded(LeaseEnd::WriterFailed));
        assert!(soon("the commit", lease.commit()).await.is_err());
        soon("the queued write", queued).await.unwrap().unwrap();
        // A lease whose turn had not come gets it from the next writer.
        let mut another = soon("the next lease", another).await.unwrap().unwrap();
        another.execute("INSERT INTO t (caller, n) VALUES (3, 3)").await.unwrap();
        another.commit().await.unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, [2, 3]);
        assert_eq!(database.status().writer.restarts, 1);
        // One that waits in the batch of a writer that panics gets its turn too.
        fail::cfg("mid_batch", "1*panic->off").unwrap();
        let (write, lease) =
            soon("both", join(database.execute(insert(4, 4)), database.lease(BeginLease::new()))).await;
        write.unwrap();
        lease.unwrap().commit().await.unwrap();
        place.assert_sound();
    });
    scenario.teardown();
}
