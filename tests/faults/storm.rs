//! A thousand panics at random places in one run, under load.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_sqlite::State;
use fail::FailScenario;
use futures_util::future::join_all;

use crate::harness::{Place, run, run_all, until};
use crate::load::{TABLE, assert_file_agrees, call, longest_silence};
use crate::support::{Random, report, rounds, skipped, threads};

const CALLERS: i64 = 8;

const READERS: usize = 2;

/// How the names of the library's threads begin.
const LIBRARY: &str = "actix-sqlite-";

/// Whether there are one writer and so many readers, and no other threads of the library; taken for granted where
/// nobody can tell.
fn all_there(readers: usize) -> bool {
    let expected = vec!["actix-sqlite-re"; readers].into_iter().chain(["actix-sqlite-wr"]);
    threads(LIBRARY).is_none_or(|names| names.iter().map(String::as_str).eq(expected))
}

/// Of a hundred visits to a failpoint so many panic.
const PERCENT: [(&str, usize); 7] = [
    ("open_writer", 10),
    ("open_reader", 10),
    ("before_begin", 8),
    ("mid_batch", 8),
    ("before_commit", 8),
    ("after_commit", 8),
    ("query", 8),
];

#[test]
fn after_a_thousand_panics_each_acknowledged_write_is_there_exactly_once() {
    let scenario = FailScenario::setup();
    let panics = rounds(1_000, 100_000);
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = READERS;
                settings.supervisor.max_restarts = 1_000_000;
                settings.supervisor.initial_backoff = Duration::ZERO;
                settings.supervisor.max_backoff = Duration::from_millis(1);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        until("the threads of earlier tests are gone", || all_there(READERS)).await;
        let random = Arc::new(Mutex::new(Random::seeded(8)));
        let fired = Arc::new(Mutex::new([0; PERCENT.len()]));
        for (place, (point, percent)) in PERCENT.into_iter().enumerate() {
            let (random, fired) = (Arc::clone(&random), Arc::clone(&fired));
            fail::cfg_callback(point, move || {
                if random.lock().unwrap().below(100) < percent {
                    fired.lock().unwrap()[place] += 1;
                    panic!("at {point}, by chance");
                }
            })
            .unwrap();
        }
        let restarts = {
            let database = database.clone();
            move || database.status().writer.restarts + database.status().readers.restarts
        };
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let restarts = restarts.clone();
                actix_rt::spawn(call(database.clone(), caller, 10, move |_| restarts() < panics))
            })
            .collect();
        let callers: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
        for (point, _) in PERCENT {
            fail::remove(point);
        }
        until("it runs again", || database.status().state == State::Running).await;
        until("no thread is lost and none is left over", || all_there(READERS)).await;
        let fired = *fired.lock().unwrap();
        let acknowledged: usize = callers.iter().map(|told| told.acknowledged.len()).sum();
        let failed: Vec<_> = callers.iter().flat_map(|told| told.failed.values()).collect();
        if threads(LIBRARY).is_none() {
            skipped("threads: only Linux tells their names, so none can be counted");
        }
        let silence = longest_silence(&callers);
        println!("{fired:?} of {PERCENT:?}");
        report(
            "panics",
            &format!(
                "{} panics at {} places; {acknowledged} writes acknowledged, {} failed; longest silence {silence:?}; {:?}",
                fired.iter().sum::<u64>(),
                PERCENT.len(),
                failed.len(),
                threads(LIBRARY).unwrap_or_default(),
            ),
        );
        assert!(fired.iter().all(|fired| *fired > 0), "each place was hit: {fired:?}");
        assert!(fired.iter().sum::<u64>() >= panics);
        assert!(failed.iter().all(|code| **code == "panicked"), "{failed:?}");
        assert!(acknowledged > failed.len() * 10, "most writes survive");
        assert!(silence < Duration::from_secs(1), "{silence:?}");
        assert_file_agrees(&place, &database, &callers).await;
        assert!(database.shutdown().await.closed);
        until("all threads have ended", || threads(LIBRARY).is_none_or(|names| names.is_empty())).await;
    });
    scenario.teardown();
}
