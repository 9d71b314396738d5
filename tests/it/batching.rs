//! A batch is bounded by writes, bytes and time, whichever comes first. The rewrite this crate comes from applied its
//! time limit to empty batches only, so that a part-filled one waited for ever.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_sqlite::{Abort, Database, Execute, FlushReason, Linger, Tx, params};
use bytesize::ByteSize;
use futures_util::FutureExt;

use crate::harness::{Place, all, integers, run, soon, until};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, x)";

async fn open(place: &Place, linger: Duration, writes: usize, bytes: ByteSize) -> Database {
    let database = place
        .open(|settings| {
            settings.writer.linger = Linger::Fixed(linger);
            settings.writer.max_batch_writes = NonZeroUsize::new(writes).unwrap();
            settings.writer.max_batch_bytes = bytes;
        })
        .await;
    let (created, flushed) = futures_util::future::join(database.execute(TABLE), database.flush()).await;
    created.and(flushed.map(|_| actix_sqlite::Receipt::default())).unwrap();
    database
}

fn insert(x: usize) -> Execute {
    Execute::new("INSERT INTO t (x) VALUES (?1)").params(params![u32::try_from(x).unwrap()])
}

fn flushes(database: &Database, reason: FlushReason) -> u64 {
    database.status().writer.flushes[reason.name()]
}

#[test]
fn a_part_filled_batch_is_committed_when_its_time_is_up_though_nothing_more_comes() {
    for (linger, most, sent) in [(50, 10, 3), (100, 10, 1), (100, 10, 9)] {
        run(async {
            let place = Place::new();
            let linger = Duration::from_millis(linger);
            let database = open(&place, linger, most, ByteSize::mib(8)).await;
            let begun = Instant::now();
            let receipts = soon("a part-filled batch", all(&database, (0..sent).map(insert))).await;
            assert!(begun.elapsed() >= linger, "it was to wait for company");
            let commits: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().commit).collect();
            assert!(commits.iter().all(|commit| *commit == commits[0]), "one batch: {commits:?}");
            assert_eq!(flushes(&database, FlushReason::Linger), 1);
            assert_eq!(flushes(&database, FlushReason::Writes), 0);
        });
    }
}

#[test]
fn a_full_batch_does_not_wait() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::from_mins(1), 10, ByteSize::mib(8)).await;
        let receipts = soon("a full batch", all(&database, (0..30).map(insert))).await;
        let commits: Vec<u64> = receipts.into_iter().map(|receipt| receipt.unwrap().commit.0).collect();
        for (batch, tens) in commits.chunks(10).enumerate() {
            assert!(tens.iter().all(|commit| *commit == commits[0] + batch as u64), "{commits:?}");
        }
        assert_eq!(flushes(&database, FlushReason::Writes), 3);
        assert_eq!(database.status().writer.largest_batch, 10);
    });
}

#[test]
fn a_batch_is_bounded_by_its_bytes() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::from_mins(1), 1000, ByteSize::kib(4)).await;
        let long = |n: usize| Execute::new("INSERT INTO t (x) VALUES (?1)").params(["x".repeat(n)]);
        // Each is over a third of the bound, so a third one never fits; the fifth is alone larger than the bound.
        let sizes = [1500, 1500, 1500, 1500, 8000];
        let receipts = soon("batches of bytes", all(&database, sizes.map(long))).await;
        let commits: Vec<u64> = receipts.into_iter().map(|receipt| receipt.unwrap().commit.0).collect();
        let first = commits[0];
        assert_eq!(commits, [first, first, first + 1, first + 1, first + 2]);
        assert_eq!(flushes(&database, FlushReason::Bytes), 3);
    });
}

#[test]
fn without_linger_a_write_is_committed_at_once() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::ZERO, 1000, ByteSize::mib(8)).await;
        let (commits, idle) = (database.status().writer.commits, flushes(&database, FlushReason::Idle));
        for n in 0..20 {
            soon("a lone write", database.execute(insert(n))).await.unwrap();
        }
        assert_eq!(database.status().writer.commits - commits, 20);
        assert_eq!(flushes(&database, FlushReason::Idle) - idle, 20);
    });
}

#[test]
fn auto_does_not_keep_a_lone_caller_waiting() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.writer.linger = Linger::Auto;
                settings.writer.max_linger = Duration::from_mins(1);
            })
            .await;
        database.execute(TABLE).await.unwrap();
        for n in 0..50 {
            database.execute(insert(n)).await.unwrap();
        }
        assert_eq!(flushes(&database, FlushReason::Idle), 51);
        assert_eq!(flushes(&database, FlushReason::Linger), 0);
    });
}

#[test]
fn a_flush_commits_a_waiting_batch_at_once_and_tells_its_commit() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::from_mins(1), 1000, ByteSize::mib(8)).await;
        let writes = all(&database, (0..3).map(insert));
        let (receipts, flushed) = soon("a flush", futures_util::future::join(writes, database.flush())).await;
        let flushed = flushed.unwrap();
        for receipt in receipts {
            assert!(receipt.unwrap().commit <= flushed);
        }
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [3]);
        assert!(flushes(&database, FlushReason::Requested) > 0);
        // They are counted when all are answered. The table and the rows: a flush is no write.
        until("they are counted", || database.status().writer.committed >= 4).await;
        database.flush().await.unwrap();
        assert_eq!(database.status().writer.committed, 4);
    });
}

#[test]
fn the_writer_tells_what_its_time_went_into() {
    run(async {
        let place = Place::new();
        let opened = Instant::now();
        let database = open(&place, Duration::from_millis(20), 1000, ByteSize::mib(8)).await;
        let before = database.status().writer.time;
        for n in 0..3 {
            database.execute(insert(n)).await.unwrap();
        }
        let time = database.status().writer.time;
        assert!(time.statements_us > before.statements_us && time.commit_us > before.commit_us, "{time:?}");
        // Each of the three lingered.
        assert!(time.waiting_us - before.waiting_us >= 60_000, "{time:?}");
        let all = time.statements_us + time.commit_us + time.maintenance_us + time.waiting_us;
        assert!(u128::from(all) <= opened.elapsed().as_micros(), "{time:?}");
    });
}

#[test]
fn a_write_runs_while_its_batch_still_waits_for_company() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::from_mins(1), 10, ByteSize::mib(8)).await;
        let has_run = Arc::new(AtomicBool::new(false));
        let ran = Arc::clone(&has_run);
        let logic = database.transact(move |tx: &mut Tx<'_>| {
            tx.execute(("INSERT INTO t (x) VALUES (?1)", params![1]))?;
            ran.store(true, Ordering::Relaxed);
            Ok::<_, Abort>(())
        });
        let mut logic = Box::pin(logic);
        assert!((&mut logic).now_or_never().is_none());
        until("the statement has run", || has_run.load(Ordering::Relaxed)).await;
        assert_eq!(database.status().writer.in_hand, 1, "and is not committed");
        assert!((&mut logic).now_or_never().is_none());
        let (done, flushed) = futures_util::future::join(logic, database.flush()).await;
        assert_eq!(done.unwrap().commit, flushed.unwrap());
    });
}

#[test]
fn a_flush_with_nothing_to_commit_is_no_commit() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::ZERO, 10, ByteSize::mib(8)).await;
        database.execute(insert(1)).await.unwrap();
        let before = database.status().writer.commits;
        assert_eq!(database.flush().await.unwrap(), database.last_commit());
        assert_eq!(database.status().writer.commits, before);
    });
}

#[test]
fn what_a_soiled_batch_has_committed_does_not_wait_for_company() {
    run(async {
        let place = Place::new();
        let database = open(&place, Duration::from_mins(1), 10, ByteSize::mib(8)).await;
        let soils = Execute::new("INSERT OR ROLLBACK INTO t (id) VALUES (900), (900)");
        let results = soon("the answers", all(&database, [insert(1), soils])).await;
        assert_eq!(results[0].as_ref().map(|receipt| receipt.rows_affected), Ok(1));
        assert_eq!(results[1].as_ref().unwrap_err().code(), "constraint_violation");
    });
}
