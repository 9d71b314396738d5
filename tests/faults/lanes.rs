//! A writer that dies with writes of both lanes in hand: nothing is lost, each lane keeps its order, and a write that
//! kills its writer is found in either lane, whatever else comes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use actix_sqlite::rusqlite::functions::{Context, FunctionFlags};
use actix_sqlite::{Database, Execute, MigrationError, Query};
use fail::FailScenario;
use futures_util::FutureExt;
use futures_util::future::{join, join_all};

use crate::harness::{Gate, Place, integers, run, run_all, soon, until, unwrap_all};

const TABLE: &str = "CREATE TABLE t (seq INTEGER PRIMARY KEY, lane INTEGER, n INTEGER)";

fn insert(lane: i64, n: i64) -> Execute {
    let write = Execute::new("INSERT INTO t (lane, n) VALUES (?1, ?2)").params([lane, n]);
    if lane == BULK { write.bulk() } else { write }
}

const BULK: i64 = 1;

async fn assert_in_order(database: &Database, each: i64) {
    for lane in [0, BULK] {
        let query = Query::new("SELECT n FROM t WHERE lane = ?1 ORDER BY seq").params([lane]);
        assert_eq!(integers(database, query).await, (0..each).collect::<Vec<_>>(), "lane {lane}");
    }
}

#[test]
fn a_writer_that_dies_with_both_lanes_in_hand_loses_nothing_and_keeps_the_order_of_each() {
    for point in ["before_begin", "mid_batch", "before_commit", "after_commit"] {
        let scenario = FailScenario::setup();
        run(async {
            let place = Place::new();
            let database = place.open(|settings| settings.queue.max_writes = 100.try_into().unwrap()).await;
            run_all(&database, &[TABLE]).await;
            let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0, 0)).await;
            // Of the bulk writes some wait outside.
            let writes = (1..100).flat_map(|n| [insert(BULK, n - 1), insert(0, n)]);
            let writes = writes.chain([insert(BULK, 99)]).map(|write| database.execute(write));
            let mut writes = Box::pin(join_all(writes));
            assert!((&mut writes).now_or_never().is_none(), "the writer is held");
            assert!(database.status().queue.bulk_waiting > 0);
            // The one in hand is past the beginning of its batch, and passes the other places first.
            let first = if point == "before_begin" { "" } else { "1*off->" };
            fail::cfg(point, &format!("{first}2*panic->off")).unwrap();
            drop(gate);
            // The flush is sent to a queue that has both, and a writer that is about to die.
            let (receipts, flushed) = soon("the answers", join(writes, database.flush())).await;
            let last = unwrap_all(receipts).into_iter().map(|receipt| receipt.commit).max().unwrap();
            assert!(flushed.unwrap() >= last, "{point}");
            in_hand.await.unwrap().unwrap();
            // What was committed is answered before the restart is counted.
            until(&format!("{point} was hit"), || database.status().writer.restarts == 2).await;
            let status = database.status().writer;
            // Twice, and the second time no more than 62 together: more than the interactive ones alone.
            let given_back = if point == "after_commit" { 0..1 } else { 99 + 62 + 1..201 };
            assert!(given_back.contains(&status.given_back), "{point}: {} given back", status.given_back);
            assert_in_order(&database, 100).await;
            assert_eq!(status.committed, 1 + 200);
            place.assert_sound();
        });
        scenario.teardown();
    }
}

/// Told by the statement that kills the writer.
static POISONED: AtomicBool = AtomicBool::new(false);

/// The writer panics at each COMMIT after a statement that calls `poison()`.
async fn with_poison(place: &Place) -> Database {
    fail::cfg_callback("before_begin", || POISONED.store(false, SeqCst)).unwrap();
    fail::cfg_callback("before_commit", || assert!(!POISONED.load(SeqCst), "poison in the batch")).unwrap();
    let builder = Database::builder(place.settings(|settings| {
        settings.supervisor.max_backoff = Duration::from_millis(10);
    }));
    let builder = builder.migration(|conn| {
        let poison = |_: &Context<'_>| {
            POISONED.store(true, SeqCst);
            Ok(0)
        };
        conn.create_scalar_function("poison", 0, FunctionFlags::SQLITE_UTF8, poison)
            .map_err(|error| MigrationError::Failed(error.to_string()))
    });
    builder.open().await.unwrap()
}

#[test]
fn a_write_that_always_panics_is_found_in_either_lane_among_ever_new_writes_of_the_other() {
    for poisoned in [0, BULK] {
        let scenario = FailScenario::setup();
        run(async {
            let place = Place::new();
            let database = with_poison(&place).await;
            run_all(&database, &[TABLE]).await;
            let stop = Rc::new(Cell::new(false));
            let callers: Vec<_> = (0..40)
                .map(|_| {
                    let (database, stop) = (database.clone(), Rc::clone(&stop));
                    actix_rt::spawn(async move {
                        let mut sent = 0;
                        while !stop.get() {
                            database.execute(insert(1 - poisoned, -1)).await.expect("an innocent write");
                            sent += 1;
                        }
                        sent
                    })
                })
                .collect();
            let mut poison = Execute::new("INSERT INTO t (lane, n) VALUES (5, poison())");
            poison.lane = insert(poisoned, 0).lane;
            let writes = (0..100).map(|n| if n == 50 { poison.clone() } else { insert(poisoned, n) });
            let mut results =
                soon("the answers", join_all(writes.map(|write| database.execute(write)))).await;
            stop.set(true);
            let sent: i64 = unwrap_all(join_all(callers).await).into_iter().sum();
            assert_eq!(results.remove(50).unwrap_err().code(), "panicked");
            unwrap_all(results);
            let restarts = database.status().writer.restarts;
            println!("lane {poisoned}: found after {restarts} restarts among {sent} of the other lane");
            // In a batch of its own after groups of 1000, 62 and 3: writes that came later do not get between them.
            assert!((2..=4).contains(&restarts), "{restarts}");
            let query = Query::new("SELECT n FROM t WHERE lane = ?1 ORDER BY seq").params([poisoned]);
            let expected: Vec<_> = (0..100).filter(|n| *n != 50).collect();
            assert_eq!(integers(&database, query).await, expected);
            let others = "SELECT count(*) FROM t WHERE n = -1 OR lane = 5";
            assert_eq!(integers(&database, others).await, [sent]);
        });
        scenario.teardown();
    }
}
