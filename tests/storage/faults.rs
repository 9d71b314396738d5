//! The storage fails at the n-th call of a kind, once or for ever, for every n until it does not fire any more: each
//! caller is answered, each answer is true, and when the fault is over the database works again.

use actix_sqlite::rusqlite::ffi;
use actix_sqlite::{Database, State};

use crate::vfs::{Call, Fault, Turn};
use crate::workload::{Told, open, send, settings, untruths};

#[derive(Default, Debug)]
struct Counts {
    points: usize,
    committed: usize,
    not_executed: usize,
    unknown: usize,
    restarts: u64,
    given_up: usize,
    not_opened: usize,
}

/// One run with one fault. Whether it fired.
fn point(turn: &Turn, fault: Fault, at_open: bool, counts: &mut Counts) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let (fired, told) = actix_rt::System::new().block_on(async {
        if at_open {
            turn.arm(fault);
        }
        let database = match open(settings(&path)).await {
            Ok(database) => database,
            Err(error) => {
                counts.not_opened += 1;
                assert!(at_open, "{error}");
                let fired = turn.disarm();
                // Whatever the opening left behind, the next one copes with it.
                let database = open(settings(&path)).await.unwrap();
                let told = send(&database, 0..4, false).await;
                assert!(told.values().all(|told| matches!(told, Told::Committed(_))), "{fault:?}: {told:?}");
                database.shutdown().await;
                return (fired, told);
            }
        };
        if !at_open {
            turn.arm(fault);
        }
        let mut told = send(&database, 0..10, false).await;
        told.extend(send(&database, 10..14, false).await);
        let fired = turn.disarm();
        after_the_fault(&database, &mut told, fault, counts).await;
        (fired, told)
    });
    let untruths = untruths(&path, &told, |_| true);
    assert!(untruths.is_empty(), "{fault:?}, fired {fired} times: {untruths:#?}");
    counts.points += usize::from(fired > 0);
    for told in told.values() {
        *(match told {
            Told::Committed(_) => &mut counts.committed,
            Told::NotExecuted => &mut counts.not_executed,
            Told::Unknown => &mut counts.unknown,
        }) += 1;
    }
    fired > 0
}

/// With the storage mended the database works, unless it was given up: then it says so.
async fn after_the_fault(
    database: &Database,
    told: &mut std::collections::BTreeMap<i64, Told>,
    fault: Fault,
    counts: &mut Counts,
) {
    let later = send(database, 14..18, false).await;
    let status = database.status();
    counts.restarts += status.writer.restarts + status.readers.restarts;
    if status.state == State::Failed {
        counts.given_up += 1;
        assert!(status.reason.is_some());
        assert!(fault.sticky, "one failure is within the budget: {fault:?}, {:?}", status.reason);
    } else {
        assert!(later.values().all(|told| matches!(told, Told::Committed(_))), "{fault:?}: {later:?}");
    }
    told.extend(later);
    database.shutdown().await;
}

fn every_point(call: Call, code: i32, sticky: bool, at_open: bool) {
    let turn = Turn::take();
    let mut counts = Counts::default();
    for nth in 1.. {
        if !point(&turn, Fault { call, nth, code, sticky }, at_open, &mut counts) {
            break;
        }
    }
    println!("{call:?} code {code} sticky {sticky} at open {at_open}: {counts:?}");
    assert!(counts.points > 0, "the fault never fired");
    if !sticky {
        assert_eq!(counts.unknown, 0, "one failure leaves nothing unknown");
    }
}

#[test]
fn a_write_that_fails_once_or_for_ever() {
    for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_FULL] {
        for sticky in [false, true] {
            every_point(Call::Write, code, sticky, false);
        }
    }
}

#[test]
fn a_sync_that_fails_once_or_for_ever() {
    for sticky in [false, true] {
        every_point(Call::Sync, ffi::SQLITE_IOERR_FSYNC, sticky, false);
    }
}

#[test]
fn a_read_that_fails_once_or_for_ever() {
    for sticky in [false, true] {
        every_point(Call::Read, ffi::SQLITE_IOERR_READ, sticky, true);
    }
}

#[test]
fn a_truncate_that_fails() {
    for sticky in [false, true] {
        every_point(Call::Truncate, ffi::SQLITE_IOERR_TRUNCATE, sticky, true);
    }
}

#[test]
fn an_open_that_fails() {
    for sticky in [false, true] {
        every_point(Call::Open, ffi::SQLITE_CANTOPEN, sticky, true);
    }
}

#[test]
fn anything_that_fails_while_the_file_is_made() {
    for (call, code) in [
        (Call::Write, ffi::SQLITE_IOERR_WRITE),
        (Call::Write, ffi::SQLITE_FULL),
        (Call::Sync, ffi::SQLITE_IOERR_FSYNC),
    ] {
        every_point(call, code, false, true);
    }
}
