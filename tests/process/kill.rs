//! The daemon is killed again and again under callers that retry: what was acknowledged is there once, what was not is
//! there whole or not at all, and a retry is answered with the receipt of the first.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::alone;
use crate::caller::{Caller, Heard, prepare};
use crate::figures::Times;
use crate::ledger::{Ledger, Write};
use crate::on::{Daemon, PATIENCE, Place};
use crate::support::{Random, report, rounds};
use crate::wire::{Wire, address};

const CALLERS: i64 = 16;

/// From the start of the process to the first time it says that it is ready.
const LONGEST_START: Duration = Duration::from_secs(2);

/// Where the daemon is, if it is; and which callers have seen that it is gone.
#[derive(Default)]
struct Stage {
    state: Mutex<Life>,
    news: Condvar,
}

#[derive(Default)]
struct Life {
    number: u64,
    address: Option<SocketAddr>,
    over: bool,
    on_stage: i64,
}

impl Stage {
    /// Waits for the next life of the daemon; `None` when there is no further one.
    fn next(&self, seen: u64) -> Option<(u64, SocketAddr)> {
        let begun = self.state.lock().unwrap();
        let (mut life, waited) = self
            .news
            .wait_timeout_while(begun, PATIENCE, |life| {
                !life.over && (life.address.is_none() || life.number == seen)
            })
            .unwrap();
        assert!(!waited.timed_out(), "the daemon does not come back");
        let address = life.address.filter(|_| !life.over)?;
        life.on_stage += 1;
        Some((life.number, address))
    }

    fn leave(&self) {
        self.state.lock().unwrap().on_stage -= 1;
        self.news.notify_all();
    }

    fn begin(&self, address: SocketAddr) {
        let mut life = self.state.lock().unwrap();
        life.number += 1;
        life.address = Some(address);
        self.news.notify_all();
    }

    /// Waits until every caller has seen that this life is over.
    fn end(&self) {
        let mut life = self.state.lock().unwrap();
        life.address = None;
        let (life, waited) =
            self.news.wait_timeout_while(life, PATIENCE, |life| life.on_stage > 0 && !life.over).unwrap();
        assert!(!waited.timed_out(), "{} callers do not see that the daemon is gone", life.on_stage);
    }

    fn assert_open(&self) {
        assert!(!self.state.lock().unwrap().over, "a caller failed");
    }

    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.news.notify_all();
    }
}

/// What the callers met, all of them.
#[derive(Default)]
struct Met {
    cut: AtomicU64,
    retried: AtomicU64,
    /// Retries answered with the receipt of a commit from an earlier life.
    recovered: AtomicU64,
    given_up: AtomicU64,
    same_receipt: AtomicU64,
    conflicts: AtomicU64,
    reads: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// One caller's life through all lives of the daemon.
struct Persistent<'a> {
    caller: Caller<'a>,
    random: Random,
    met: &'a Met,
    /// Sent, and not answered yet.
    pending: Option<Write>,
    last: Option<(Write, String)>,
}

impl Persistent<'_> {
    fn run(mut self, stage: &Stage) {
        let _close = CloseOnPanic(stage);
        let mut seen = 0;
        while let Some((life, address)) = stage.next(seen) {
            seen = life;
            self.caller.turn_to(address);
            let newest = newest_commit(address);
            while newest.is_some_and(|newest| self.step(newest)) {}
            if self.pending.is_some() && self.random.below(8) == 0 {
                self.pending = None;
                count(&self.met.given_up);
            }
            stage.leave();
        }
    }

    /// One request; false if the daemon is gone. `recovered`: the newest commit that this life of it began with.
    fn step(&mut self, recovered: u64) -> bool {
        if self.pending.is_none()
            && let Some((write, receipt)) = self.last.clone()
        {
            match self.random.below(16) {
                0 => return self.asks_again(write, &receipt),
                1 => return self.misuses_key(write),
                2 => return self.reads(write),
                _ => {}
            }
        }
        let again = self.pending.is_some();
        let write = self.pending.take().unwrap_or_else(|| self.caller.next());
        match self.caller.send(write) {
            Heard::Receipt(receipt) => {
                if again {
                    count(&self.met.retried);
                    let parsed: Value = serde_json::from_str(&receipt).unwrap();
                    if parsed["commit"].as_u64().unwrap() <= recovered {
                        count(&self.met.recovered);
                    }
                }
                self.last = Some((write, receipt));
                true
            }
            Heard::Cut(_) => {
                count(&self.met.cut);
                self.pending = Some(write);
                false
            }
            Heard::Unreachable => {
                self.pending = again.then_some(write);
                false
            }
            Heard::Refused(code) => panic!("{write:?} was refused: {code}"),
        }
    }

    fn asks_again(&mut self, write: Write, receipt: &str) -> bool {
        match self.caller.ask(write) {
            Heard::Receipt(again) => {
                assert_eq!(again, receipt, "the same key, another receipt");
                count(&self.met.same_receipt);
                true
            }
            Heard::Refused(code) => panic!("{write:?} was refused: {code}"),
            Heard::Cut(_) | Heard::Unreachable => false,
        }
    }

    fn misuses_key(&mut self, write: Write) -> bool {
        match self.caller.misuse_key(write) {
            Heard::Refused(code) => {
                assert_eq!(code, "idempotency_conflict");
                count(&self.met.conflicts);
                true
            }
            Heard::Receipt(receipt) => panic!("another write under the key of {write:?}: {receipt}"),
            Heard::Cut(_) | Heard::Unreachable => false,
        }
    }

    fn reads(&mut self, write: Write) -> bool {
        // Rows of everybody since, with room to spare.
        let Ok(seen) = self.caller.read(10_000) else { return false };
        assert!(seen.contains(&write.n), "a read after the answer to {write:?} sees {seen:?}");
        count(&self.met.reads);
        true
    }
}

/// What the daemon found in the file, or has added since.
fn newest_commit(address: SocketAddr) -> Option<u64> {
    let status = Wire::connect(address)?.get("/v1/status").ok()?;
    status.json()["writer"]["last_commit"].as_u64()
}

/// Starts the daemon, and says how long it took until it was ready.
fn start(place: &Place, random: &mut Random) -> (Daemon, Duration) {
    // Seldom, and all the time: both a long log and a checkpoint under way are to be met by a kill.
    let checkpoint = if random.coin() { "32 KiB" } else { "4 MiB" };
    let begun = Instant::now();
    let daemon = Daemon::start_with(place, |command| {
        command.env("ACTIX_SQLITE__DATABASE__WAL_CHECKPOINT_SIZE", checkpoint);
        command.env("ACTIX_SQLITE__TELEMETRY__FILTER", "error");
    });
    let address = address(&daemon.url);
    let ready = || Wire::connect(address).and_then(|mut wire| wire.get("/readyz").ok());
    while ready().is_none_or(|answer| answer.status != 200) {
        assert!(begun.elapsed() < PATIENCE, "not ready: {}", daemon.stderr());
    }
    (daemon, begun.elapsed())
}

/// Ends it as a crash would: nothing in it gets to run any more.
pub(crate) fn kill(daemon: &mut Daemon) {
    daemon.signal("-KILL");
    let (status, stderr) = daemon.wait();
    assert_eq!(status.signal(), Some(9), "it was killed: {stderr}");
}

/// Kills it before it is ready, at any moment of its start.
fn kill_at_start(place: &Place, within: Duration, random: &mut Random) {
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--database", "data.db"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(random_part(within, random));
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "it was killed");
}

/// No step to wait for: the moment is to be any.
fn random_part(whole: Duration, random: &mut Random) -> Duration {
    whole * u32::try_from(random.below(1 << 16)).unwrap() / (1 << 16)
}

/// The file as the kill left it, on the side: looking at the file itself would mend it before the daemon does.
fn assert_image_agrees(place: &Place, ledger: &Ledger) {
    let aside = Place::new();
    for name in ["data.db", "data.db-wal"] {
        if place.path(name).exists() {
            std::fs::copy(place.path(name), aside.path(name)).unwrap();
        }
    }
    ledger.agrees_with(&aside.path("data.db")).unwrap();
}

#[test]
fn a_daemon_that_is_killed_has_what_it_acknowledged_once_and_the_rest_whole_or_not() {
    let _alone = alone();
    let rounds = rounds(200, 5_000);
    let mut random = Random::seeded(4);
    let (place, ledger, stage, met) = (Place::new(), Ledger::default(), Stage::default(), Met::default());
    let (mut starts, mut at_start, mut images) = (Times::default(), 0, 0);
    let (mut daemon, _) = start(&place, &mut random);
    prepare(address(&daemon.url));
    kill(&mut daemon);
    std::thread::scope(|scope| {
        for number in 1..=CALLERS {
            let caller = Caller::new(number, &ledger, SocketAddr::from(([127, 0, 0, 1], 1)));
            let random = Random::from_seed(random.next());
            let persistent = Persistent { caller, random, met: &met, pending: None, last: None };
            let stage = &stage;
            scope.spawn(move || persistent.run(stage));
        }
        let _close = CloseOnPanic(&stage);
        for round in 1..=rounds {
            if random.below(8) == 0 {
                kill_at_start(&place, starts.median(), &mut random);
                at_start += 1;
            }
            let (mut daemon, took) = start(&place, &mut random);
            starts.add(took);
            let goal = ledger.count() + random.below(100) as u64;
            stage.begin(address(&daemon.url));
            let begun = Instant::now();
            while ledger.count() < goal {
                stage.assert_open();
                assert!(begun.elapsed() < PATIENCE, "nobody is answered: {}", daemon.stderr());
                std::thread::sleep(Duration::from_micros(200));
            }
            std::thread::sleep(random_part(Duration::from_millis(3), &mut random));
            kill(&mut daemon);
            stage.end();
            stage.assert_open();
            if round % 20 == 0 {
                assert_image_agrees(&place, &ledger);
                images += 1;
            }
        }
        stage.close();
    });
    let (mut daemon, _) = start(&place, &mut random);
    // Half of those that were given up are sent again after all; whether or not they were there, they are now, once.
    let late: Vec<_> = ledger.unknown().into_iter().step_by(2).collect();
    for &write in &late {
        let mut caller = Caller::new(write.caller, &ledger, address(&daemon.url));
        // What was committed long ago has an old number, so the order of the answers says nothing here.
        let (Heard::Receipt(first), Heard::Receipt(second)) = (caller.ask(write), caller.ask(write)) else {
            panic!("{write:?} is not acknowledged")
        };
        assert_eq!(first, second);
    }
    daemon.signal("-TERM");
    assert_eq!(daemon.wait().0.code(), Some(0));
    let agreed = ledger.agrees_with(&place.path("data.db")).unwrap();
    assert!(agreed.unknown_there >= late.len(), "{agreed:?}");
    let Met { cut, retried, recovered, given_up, same_receipt, conflicts, reads } = &met;
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    assert!(of(cut) > 0 && of(retried) > 0, "kills met requests under way");
    report(
        "kill",
        &format!(
            "{rounds} kills under load, {at_start} more at start; start-up {starts}; {} writes acknowledged in {} \
             commits, {} cut, {} retried and acknowledged ({} of them with the receipt of an earlier life), {} given up \
             ({} there whole, {} absent, {} sent again late); {} receipts again, {} conflicts, {} reads; {images} images",
            agreed.acknowledged,
            ledger.newest(),
            of(cut),
            of(retried),
            of(recovered),
            of(given_up),
            agreed.unknown_there,
            agreed.unknown_absent,
            late.len(),
            of(same_receipt),
            of(conflicts),
            of(reads),
        ),
    );
    assert!(starts.max() < LONGEST_START, "start-up: {starts}");
}

/// A caller that fails ends the test at once.
struct CloseOnPanic<'a>(&'a Stage);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}
