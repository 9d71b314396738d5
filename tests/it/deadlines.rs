//! A write whose time is up, or whose caller has left, before its turn is not executed.

use std::time::{Duration, Instant};

use actix_sqlite::{Execute, Outcome, Transaction};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::harness::{Gate, Place, integers, run, run_all, soon, until};

const TABLE: &str = "CREATE TABLE t (n INTEGER)";

fn insert(n: u32) -> Execute {
    Execute::new("INSERT INTO t VALUES (?1)").params([n])
}

#[test]
fn a_write_whose_time_passes_while_it_waits_is_not_executed() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let short = Duration::from_millis(20);
        let late = database.execute(insert(1).timeout(short));
        let late_transaction = database.transaction(Transaction::new().then("DELETE FROM t").timeout(short));
        let patient = database.execute(insert(2).timeout(Duration::from_hours(1)));
        let timeless = database.execute(insert(3));
        let (late, late_transaction, patient, timeless, ()) = soon(
            "the answers",
            futures_util::future::join5(late, late_transaction, patient, timeless, async {
                let sent = Instant::now();
                until("the time is up", || sent.elapsed() > 2 * short).await;
                drop(gate);
            }),
        )
        .await;
        for error in [late.unwrap_err(), late_transaction.unwrap_err()] {
            assert_eq!(error.code(), "deadline_passed");
            assert_eq!(error.outcome(), Outcome::NotExecuted);
            assert!(error.is_retryable());
        }
        in_hand.await.unwrap().unwrap();
        patient.unwrap();
        timeless.unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY n").await, [0, 2, 3]);
        assert_eq!(database.status().writer.abandoned, 2);
    });
}

#[test]
fn a_caller_hears_that_its_time_is_up_when_it_is_up_though_the_writer_is_busy() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.database.busy_timeout = Duration::from_mins(1)).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        // The gate stays shut until the answer is there.
        let late = database.execute(insert(1).timeout(Duration::from_millis(20)));
        let error = soon("the answer", late).await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), ("deadline_passed", Outcome::NotExecuted));
        drop(gate);
        in_hand.await.unwrap().unwrap();
        database.flush().await.unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0], "what was refused is never executed");
    });
}

#[test]
fn a_write_whose_turn_has_begun_is_told_how_it_ended_though_its_time_is_up() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.database.busy_timeout = Duration::from_mins(1)).await;
        run_all(&database, &[TABLE]).await;
        let short = Duration::from_millis(50);
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0).timeout(short)).await;
        let sent = Instant::now();
        until("the time is up", || sent.elapsed() > 2 * short).await;
        assert!(!in_hand.is_finished(), "nobody can know yet");
        drop(gate);
        soon("the answer", in_hand).await.unwrap().expect("it ran to its end");
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0]);
    });
}

#[test]
fn a_time_that_is_up_at_once_still_gets_an_answer() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let error = database.execute(insert(1).timeout(Duration::ZERO)).await.unwrap_err();
        assert_eq!(error.code(), "deadline_passed");
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [0]);
    });
}

#[test]
fn a_write_whose_future_is_dropped_before_its_turn_is_not_executed() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let mut stays = Vec::new();
        for n in 1..=20 {
            let mut write = Box::pin(database.execute(insert(n)));
            assert!((&mut write).now_or_never().is_none(), "it waits for its turn");
            if n % 2 == 0 {
                stays.push(write);
            }
        }
        assert_eq!(database.status().queue.length, 20);
        drop(gate);
        for receipt in soon("the answers", join_all(stays)).await {
            receipt.unwrap();
        }
        in_hand.await.unwrap().unwrap();
        let even: Vec<i64> = (0..=20).filter(|n| n % 2 == 0).collect();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY n").await, even);
        assert_eq!(database.status().writer.abandoned, 10);
    });
}

#[test]
fn a_future_that_is_never_polled_sends_nothing() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        drop(database.execute(insert(1)));
        database.flush().await.unwrap();
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [0]);
    });
}

/// Once its turn has come it runs to the end: nobody can tell how far it is.
#[test]
fn a_write_in_the_writers_hand_is_committed_though_its_caller_leaves() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(7)).await;
        in_hand.abort();
        assert!(in_hand.await.unwrap_err().is_cancelled());
        drop(gate);
        database.flush().await.unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t").await, [7]);
    });
}
