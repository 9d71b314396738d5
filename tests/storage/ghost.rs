//! A COMMIT whose sync failed is rolled back for the process, and yet it may be there after a crash: a ghost. Callers are
//! told that the outcome is unknown; they send the write again under its key, and it is there once.

use std::time::Duration;

use crate::disk::{LOSSES, Loss, Recorded};
use crate::support::{Random, report, rounds};
use crate::vfs::{Call, FOR_EVER, Fault, ONCE, Turn};
use crate::workload::{Told, halves, open, pair, send, settings, told};
use actix_sqlite::rusqlite::ffi;

const BEFORE: i64 = 4;
const ALL: i64 = 12;
/// More than there are.
const SYNCS: usize = 24;

#[derive(Default, Debug)]
struct Counts {
    points: usize,
    crashes: usize,
    unknown: usize,
    ghosts: usize,
}

#[test]
fn a_ghost_is_neither_lost_nor_doubled_when_its_key_is_sent_again() {
    let turn = Turn::take();
    let mut counts = Counts::default();
    // Each round has a write more at once than the one before, so that syncs fall elsewhere.
    let points =
        (0..rounds(2, 20)).flat_map(|more| (1..=SYNCS).map(move |nth| (i64::try_from(more).unwrap(), nth)));
    for (more, nth) in points {
        let all = ALL + more;
        let directory = tempfile::tempdir().unwrap();
        turn.start_log();
        let (told, fired_at) = actix_rt::System::new().block_on(async {
            let database = open(settings(&directory.path().join("test.db"))).await.unwrap();
            let before = send(&database, 0..BEFORE, true).await;
            assert!(before.values().all(|told| matches!(told, Told::Committed(_))));
            // For ever, so that this process cannot resolve it.
            turn.arm(Fault { call: Call::Sync, nth, code: ffi::SQLITE_IOERR_FSYNC, times: FOR_EVER });
            let told = send(&database, BEFORE..all, true).await;
            let fired_at = turn.fired_at();
            turn.disarm();
            database.shutdown().await;
            (told, fired_at)
        });
        let recorded = Recorded::new(turn.end_log());
        let Some(crash) = fired_at else { continue };
        counts.points += 1;
        assert!(nth < SYNCS, "there are more syncs than these");
        counts.unknown += told.values().filter(|told| **told == Told::Unknown).count();
        for loss in LOSSES {
            let place = tempfile::tempdir().unwrap();
            let path = recorded.restore(crash, loss, &mut Random::from_seed(nth as u64), place.path());
            counts.crashes += 1;
            let there = halves(&path).unwrap();
            for (id, told) in &told {
                let is_there = there.contains_key(id);
                counts.ghosts += usize::from(is_there && *told == Told::Unknown);
            }
            let again = actix_rt::System::new().block_on(async {
                let database = open(settings(&path)).await.unwrap();
                let again = send(&database, 0..all, true).await;
                database.shutdown().await;
                again
            });
            assert!(again.values().all(|told| matches!(told, Told::Committed(_))), "{again:?}");
            let there = halves(&path).unwrap();
            for id in 0..all {
                assert_eq!(there.get(&id), Some(&2), "write {id} after sync {nth} failed, {loss:?}");
            }
        }
    }
    let Counts { points, crashes, unknown, ghosts } = counts;
    report(
        "ghosts",
        &format!(
            "{points} syncs failed, {crashes} crashes; writes {unknown} unknown, {ghosts} of them there after all"
        ),
    );
    assert!(counts.unknown > 0 && counts.ghosts > 0, "no ghost was seen: {counts:?}");
}

#[test]
fn a_ghost_stays_away_although_no_other_connection_keeps_the_index_of_the_log() {
    let turn = Turn::take();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let mut settings = settings(&path);
    // The last connection that is closed leaves the log, and with it the ghost.
    settings.database.checkpoint = false;
    // The reader is away until the writer has failed.
    settings.supervisor.initial_backoff = Duration::from_millis(100);
    settings.supervisor.max_backoff = Duration::from_millis(100);
    let restarts = actix_rt::System::new().block_on(async {
        let database = open(settings).await.unwrap();
        database.transaction(pair(1)).await.unwrap();
        turn.arm(Fault { call: Call::Read, nth: 1, code: ffi::SQLITE_IOERR_READ, times: ONCE });
        let read = database.query("SELECT count(*) FROM pairs").await;
        assert_eq!(read.unwrap_err().code(), "storage");
        turn.arm(Fault { call: Call::Sync, nth: 1, code: ffi::SQLITE_IOERR_FSYNC, times: ONCE });
        // Without a key: only if the first attempt is gone may there be another.
        database.transaction(pair(2)).await.unwrap();
        turn.disarm();
        let restarts = database.status().writer.restarts;
        database.shutdown().await;
        restarts
    });
    assert_eq!(restarts, 1, "a COMMIT failed");
    assert_eq!(halves(&path).unwrap(), [(1, 2), (2, 2)].into());
}

#[test]
fn a_write_that_may_come_back_is_never_called_not_executed() {
    let turn = Turn::take();
    let mut seen = 0;
    for nth in 1..=6 {
        let directory = tempfile::tempdir().unwrap();
        turn.start_log();
        let (told, log_len) = actix_rt::System::new().block_on(async {
            let mut settings = settings(&directory.path().join("test.db"));
            // Its time is up before the next writer can run it again.
            settings.supervisor.initial_backoff = Duration::from_millis(50);
            settings.supervisor.max_backoff = Duration::from_millis(50);
            let database = open(settings).await.unwrap();
            turn.arm(Fault { call: Call::Sync, nth, code: ffi::SQLITE_IOERR_FSYNC, times: ONCE });
            let write = pair(1).timeout(Duration::from_millis(20));
            let told = told(database.transaction(write).await);
            let log_len = Turn::log_len();
            turn.disarm();
            database.shutdown().await;
            (told, log_len)
        });
        let recorded = Recorded::new(turn.end_log());
        let place = tempfile::tempdir().unwrap();
        let path = recorded.restore(log_len, Loss::KeepAll, &mut Random::from_seed(1), place.path());
        let there = halves(&path).unwrap().contains_key(&1);
        assert!(!(there && told == Told::NotExecuted), "sync {nth}: told {told:?}, and there it is");
        seen += usize::from(there);
    }
    assert!(seen > 0);
}
