//! The storage fails at the n-th call of a kind, once, for a while or for ever: each caller is answered, each answer is
//! true, and when the fault is over the database works again. What nobody waits for is there, a dead letter, or counted as
//! lost.
//!
//! First for every n until it does not fire any more, each on a file of its own; then at random, again and again under
//! one database that lives through it.

use std::time::Duration;

use actix_sqlite::rusqlite::ffi;
use actix_sqlite::{Database, State};
use futures_util::future::join;

use crate::mixed::{Came, Kind, Sent, account, send, untruths};
use crate::support::{Random, report, rounds};
use crate::vfs::{Call, FOR_EVER, Fault, ONCE, Turn};
use crate::workload::{Told, answers, open, settings, told};

#[derive(Default, Debug)]
struct Counts {
    points: usize,
    fired: usize,
    committed: usize,
    not_executed: usize,
    unknown: usize,
    restarts: u64,
    given_up: usize,
    not_opened: usize,
    leases: usize,
    unattended: Came,
}

impl Counts {
    fn add(&mut self, sent: &Sent, came: Came) {
        self.unattended.committed += came.committed;
        self.unattended.letters += came.letters;
        self.unattended.lost += came.lost;
        for (id, told) in &sent.told {
            let is_lease = matches!(Kind::of(*id), Kind::Leased | Kind::Stumbling);
            self.leases += usize::from(is_lease && matches!(told, Told::Committed(_)));
            *(match told {
                Told::Committed(_) => &mut self.committed,
                Told::NotExecuted => &mut self.not_executed,
                Told::Unknown => &mut self.unknown,
            }) += 1;
        }
    }

    fn report(&self, what: &str) {
        let Self { points, fired, committed, not_executed, unknown, restarts, given_up, not_opened, .. } =
            self;
        let Self { leases, unattended: Came { committed: there, letters, lost }, .. } = self;
        report(
            "io-faults",
            &format!(
                "{what}: {points} points, fired {fired} times; writes {committed} committed ({leases} of them leases), \
                 {not_executed} not executed, {unknown} unknown; of those that nobody waited for {there} committed, \
                 {letters} dead letters, {lost} lost; {restarts} restarts, {given_up} given up, {not_opened} not opened"
            ),
        );
    }
}

/// What is written while a fault is armed.
#[derive(Debug, Clone, Copy)]
struct Work {
    at_once: i64,
    batch: usize,
    keyed: bool,
}

impl Work {
    const PLAIN: Self = Self { at_once: 10, batch: 4, keyed: false };
    const KEYED: Self = Self { keyed: true, ..Self::PLAIN };

    /// The plain and the keyed one, and in a long run others.
    fn all() -> impl Iterator<Item = Self> {
        let mut random = Random::from_seed(2);
        let more = rounds(2, 40).saturating_sub(2);
        let others = (0..more).map(move |_| Self {
            at_once: 1 + i64::try_from(random.below(16)).unwrap(),
            batch: 1 + random.below(9),
            keyed: random.coin(),
        });
        [Self::PLAIN, Self::KEYED].into_iter().chain(others)
    }

    async fn run(self, database: &Database) -> Sent {
        let mut sent = send(database, 0..self.at_once, |_| self.keyed).await;
        sent.extend(send(database, 100..104, |_| self.keyed).await);
        try_to_settle(database).await;
        sent
    }
}

/// The second one's turn comes after what failed before the first one was buried. The storage may still fail.
async fn try_to_settle(database: &Database) {
    for _ in 0..2 {
        let _ = database.flush().await;
    }
}

/// One run with one fault. Whether it fired.
fn point(turn: &Turn, work: Work, fault: Fault, at_open: bool, counts: &mut Counts) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let mut settings = settings(&path);
    settings.writer.max_batch_writes = work.batch.try_into().unwrap();
    let (fired, sent, (came, wrong_sum)) = actix_rt::System::new().block_on(async {
        if at_open {
            turn.arm(fault);
        }
        let database = match open(settings.clone()).await {
            Ok(database) => database,
            Err(error) => {
                counts.not_opened += 1;
                assert!(at_open, "{error}");
                let fired = turn.disarm();
                // Whatever the opening left behind, the next one copes with it.
                let again = open(settings).await;
                let database = again.unwrap_or_else(|error| panic!("{fault:?}, opened again: {error}"));
                let sent = send(&database, 0..8, |_| false).await;
                assert!(sent.is_well(), "{fault:?}: {sent:?}");
                assert!(database.shutdown().await.closed);
                let account = account(&path, &sent, &database);
                return (fired, sent, account);
            }
        };
        if !at_open {
            turn.arm(fault);
        }
        let mut sent = work.run(&database).await;
        let fired = turn.disarm();
        after_the_fault(&database, &mut sent, fault, counts).await;
        let account = account(&path, &sent, &database);
        (fired, sent, account)
    });
    let mut untruths = untruths(&path, &sent, |_| true);
    untruths.extend(wrong_sum);
    assert!(untruths.is_empty(), "{fault:?}, fired {fired} times: {untruths:#?}");
    counts.points += usize::from(fired > 0);
    counts.fired += fired;
    counts.add(&sent, came);
    fired > 0
}

/// With the storage mended the database works, unless it was given up: then it says so.
async fn after_the_fault(database: &Database, sent: &mut Sent, fault: Fault, counts: &mut Counts) {
    let later = send(database, 200..208, |_| false).await;
    let status = database.status();
    counts.restarts += status.writer.restarts + status.readers.restarts;
    if status.state == State::Failed {
        counts.given_up += 1;
        assert!(status.reason.is_some());
        assert!(fault.times > ONCE, "one failure is within the budget: {fault:?}, {:?}", status.reason);
    } else {
        assert!(later.is_well(), "{fault:?}: {later:?}");
    }
    sent.extend(later);
    assert!(database.shutdown().await.closed, "{fault:?}");
}

fn every_point(call: Call, code: i32, times: usize, at_open: bool) {
    let turn = Turn::take();
    let mut counts = Counts::default();
    for work in Work::all() {
        let before = counts.points;
        for nth in 1.. {
            if !point(&turn, work, Fault { call, nth, code, times }, at_open, &mut counts) {
                break;
            }
        }
        assert!(counts.points > before, "the fault never fired: {work:?}");
    }
    let times = if times == ONCE { "once" } else { "for ever" };
    counts.report(&format!("{call:?} {code} {times}{}", if at_open { ", from the opening on" } else { "" }));
    if times == "once" {
        assert_eq!(counts.unknown, 0, "one failure leaves nothing unknown");
    }
}

#[test]
fn a_write_that_fails_once_or_for_ever() {
    for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_FULL] {
        for times in [ONCE, FOR_EVER] {
            every_point(Call::Write, code, times, false);
        }
    }
}

#[test]
fn a_sync_that_fails_once_or_for_ever() {
    for times in [ONCE, FOR_EVER] {
        every_point(Call::Sync, ffi::SQLITE_IOERR_FSYNC, times, false);
    }
}

#[test]
fn anything_else_that_fails_once_or_for_ever() {
    for (call, code) in [
        (Call::Read, ffi::SQLITE_IOERR_READ),
        (Call::Read, ffi::SQLITE_NOMEM),
        (Call::Truncate, ffi::SQLITE_IOERR_TRUNCATE),
        (Call::Open, ffi::SQLITE_CANTOPEN),
        (Call::Size, ffi::SQLITE_IOERR_FSTAT),
        (Call::Access, ffi::SQLITE_IOERR_ACCESS),
        (Call::Delete, ffi::SQLITE_IOERR_DELETE),
        (Call::Memory, ffi::SQLITE_IOERR_SHMOPEN),
        (Call::Memory, ffi::SQLITE_NOMEM),
        (Call::MemoryLock, ffi::SQLITE_IOERR_SHMLOCK),
    ] {
        for times in [ONCE, FOR_EVER] {
            every_point(call, code, times, true);
        }
    }
}

#[test]
fn a_write_or_sync_that_fails_while_the_file_is_made() {
    for (call, code) in [
        (Call::Write, ffi::SQLITE_IOERR_WRITE),
        (Call::Write, ffi::SQLITE_FULL),
        (Call::Sync, ffi::SQLITE_IOERR_FSYNC),
    ] {
        every_point(call, code, ONCE, true);
    }
}

/// What fails in the series, and with what: calls of every batch, and calls that are made only where a file is opened.
const COMMON: [(Call, i32); 6] = [
    (Call::Write, ffi::SQLITE_IOERR_WRITE),
    (Call::Write, ffi::SQLITE_FULL),
    (Call::Write, ffi::SQLITE_NOMEM),
    (Call::Sync, ffi::SQLITE_IOERR_FSYNC),
    (Call::Read, ffi::SQLITE_IOERR_READ),
    (Call::MemoryLock, ffi::SQLITE_IOERR_SHMLOCK),
];
const RARE: [(Call, i32); 5] = [
    (Call::Open, ffi::SQLITE_CANTOPEN),
    (Call::Access, ffi::SQLITE_IOERR_ACCESS),
    (Call::Size, ffi::SQLITE_IOERR_FSTAT),
    (Call::Memory, ffi::SQLITE_IOERR_SHMMAP),
    (Call::Truncate, ffi::SQLITE_IOERR_TRUNCATE),
];

/// One or two faults, of which one makes the writer open the file again where the other lies in wait.
fn any_faults(random: &mut Random) -> Vec<Fault> {
    let times = if random.coin() { ONCE } else { 2 + random.below(6) };
    if random.below(4) > 0 {
        let (call, code) = COMMON[random.below(COMMON.len())];
        let nth = 1 + random.below(if call == Call::Sync { 2 } else { 8 });
        return vec![Fault { call, nth, code, times }];
    }
    let (call, code) = RARE[random.below(RARE.len())];
    let first = Fault { call: Call::Sync, nth: 1, code: ffi::SQLITE_IOERR_FSYNC, times: ONCE };
    vec![first, Fault { call, nth: 1 + random.below(2), code, times }]
}

/// With a budget without end nothing is given up, so each fault has to be got over, and nothing may stay unknown.
#[test]
fn faults_without_number_under_one_database() {
    let turn = Turn::take();
    let mut random = Random::seeded(2);
    let mut counts = Counts::default();
    let points = usize::try_from(rounds(3_200, 80_000)).unwrap();
    while counts.points < points {
        series(&turn, &mut random, &mut counts);
    }
    counts.report("any call, at random");
    assert_eq!((counts.unknown, counts.given_up), (0, 0), "{counts:?}");
    assert!(counts.restarts > 0 && counts.not_executed > 0, "{counts:?}");
}

/// A hundred faults under one database; then the file is compared with what was told.
fn series(turn: &Turn, random: &mut Random, counts: &mut Counts) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let mut settings = settings(&path);
    settings.writer.max_batch_writes = (1 + random.below(8)).try_into().unwrap();
    settings.supervisor.max_restarts = usize::MAX;
    settings.supervisor.initial_backoff = Duration::ZERO;
    let mut all_sent = Sent::default();
    let mut last = Vec::new();
    let (restarts, came, wrong_sum) = actix_rt::System::new().block_on(async {
        let database = open(settings).await.unwrap();
        let mut next = 0;
        for _ in 0..100 {
            let faults = any_faults(random);
            let ids = next..next + 1 + i64::try_from(random.below(8)).unwrap();
            next = ids.end;
            let keys = random.next();
            let keyed = move |id: i64| keys >> (id % 64) & 1 == 1;
            turn.arm_all(&faults);
            let is_waited = |id: &i64| Kind::of(*id) == Kind::Waited;
            let others = ids.clone().filter(|id| !is_waited(id));
            let (answered, others) =
                join(answers(&database, ids.filter(is_waited), keyed), send(&database, others, keyed)).await;
            try_to_settle(&database).await;
            let fired = turn.disarm();
            counts.points += usize::from(fired > 0);
            counts.fired += fired;
            all_sent.told.extend(answered.iter().map(|(id, answer)| (*id, told(answer.clone()))));
            all_sent.extend(others);
            // The same keys again, now that nothing fails: the same receipts, or the first ones.
            let first: Vec<_> = answered.into_iter().filter(|(id, _)| keyed(*id)).collect();
            let again = answers(&database, first.iter().map(|(id, _)| *id), |_| true).await;
            for ((id, first), (_, again)) in first.into_iter().zip(again) {
                let again =
                    again.unwrap_or_else(|error| panic!("{faults:?}: write {id}, sent again: {error}"));
                if let Ok(first) = first {
                    assert_eq!(first, again, "{faults:?}: write {id}");
                }
                all_sent.told.insert(id, Told::Committed(0));
            }
            last = faults;
        }
        let status = database.status();
        assert_ne!(status.state, State::Failed, "{:?}", status.reason);
        assert!(database.shutdown().await.closed);
        let (came, wrong_sum) = account(&path, &all_sent, &database);
        (status.writer.restarts + status.readers.restarts, came, wrong_sum)
    });
    counts.restarts += restarts;
    counts.add(&all_sent, came);
    let mut untruths = untruths(&path, &all_sent, |_| true);
    untruths.extend(wrong_sum);
    assert!(untruths.is_empty(), "last {last:?}: {untruths:#?}");
}
