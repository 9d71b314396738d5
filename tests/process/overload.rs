//! More is asked of the daemon than it can do: writes on a schedule, whether or not the ones before are answered, at twice
//! and at ten times of what it can commit, beside clients that take their answers slowly or not at all and clients that
//! send far too much.
//!
//! Each write takes its time in SQLite, so that the writer is what is short, and not the machine.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::alone;
use crate::caller::{Caller, Heard, prepare};
use crate::figures::{Held, Times, mib};
use crate::ledger::Ledger;
use crate::on::{Daemon, Place};
use crate::support::{memory, report, rounds, skipped};
use crate::wire::{Broken, Wire, address};

/// What the daemon may occupy at its peak: what it takes for itself in a debug build, and its bounds as they are set here.
const MEMORY_CAP: u64 = 128 << 20;

const SETTINGS: [(&str, &str); 9] = [
    ("ACTIX_SQLITE__DATABASE__CACHE_SIZE", "1 MiB"),
    ("ACTIX_SQLITE__QUEUE__MAX_WRITES", "32"),
    ("ACTIX_SQLITE__QUEUE__OVERFLOW", "reject"),
    ("ACTIX_SQLITE__WRITER__MAX_BATCH_WRITES", "8"),
    ("ACTIX_SQLITE__READERS__THREADS", "2"),
    ("ACTIX_SQLITE__READERS__MAX_STALL", "500ms"),
    ("ACTIX_SQLITE__READERS__MAX_RESULT_BYTES", "1 MiB"),
    ("ACTIX_SQLITE__SERVER__MAX_BODY", "256 KiB"),
    ("ACTIX_SQLITE__TELEMETRY__FILTER", "error"),
];

/// Half of the refusals take less; a debug build is slow at everything.
const QUICK: Duration = Duration::from_millis(if cfg!(debug_assertions) { 30 } else { 5 });

/// Steps of SQLite that a write takes: some 20 to 40 ms.
const STEPS: u64 = 120_000;

/// More than the queue, a batch and the refusals under way can occupy.
const CONNECTIONS: i64 = 96;

/// What came of a time of load.
#[derive(Default)]
struct Met {
    sent: u64,
    acknowledged: u64,
    refused: u64,
    refusals: Times,
    acknowledgements: Times,
    /// How much later than planned requests were sent.
    late: Times,
}

impl Met {
    fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.refusals.merge(other.refusals);
        self.acknowledgements.merge(other.acknowledgements);
        self.late.merge(other.late);
    }

    fn send(&mut self, caller: &mut Caller<'_>) {
        let begun = Instant::now();
        let write = caller.next();
        self.sent += 1;
        match caller.send(write) {
            Heard::Receipt(_) => {
                self.acknowledged += 1;
                self.acknowledgements.add(begun.elapsed());
            }
            Heard::Refused(code) => {
                assert_eq!(code, "queue_full");
                self.refused += 1;
                self.refusals.add(begun.elapsed());
            }
            heard => panic!("{write:?} was not answered: {heard:?}"),
        }
    }
}

/// Callers that each wait for their answer, so few that none is refused; how many writes a second that makes.
fn capacity(ledger: &Ledger, address: SocketAddr, time: Duration) -> f64 {
    let begun = Instant::now();
    let before = ledger.count();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let mut caller = Caller::new(number, ledger, address).slow(STEPS);
            scope.spawn(move || {
                let mut met = Met::default();
                while begun.elapsed() < time {
                    met.send(&mut caller);
                }
                assert_eq!(met.refused, 0, "the queue has room for all of them");
            });
        }
    });
    #[allow(clippy::cast_precision_loss)]
    let acknowledged = (ledger.count() - before) as f64;
    acknowledged / begun.elapsed().as_secs_f64()
}

/// So many writes a second, on schedule. The callers' numbers begin here.
fn open_loop(ledger: &Ledger, address: SocketAddr, first: i64, rate: f64, time: Duration) -> Met {
    let (begun, turn) = (Instant::now(), AtomicU64::new(0));
    let mut all = Met::default();
    std::thread::scope(|scope| {
        let one = |number| {
            let mut caller = Caller::new(number, ledger, address).slow(STEPS);
            let turn = &turn;
            move || {
                let mut met = Met::default();
                loop {
                    #[allow(clippy::cast_precision_loss)]
                    let due = Duration::from_secs_f64(turn.fetch_add(1, Relaxed) as f64 / rate);
                    if due >= time {
                        caller.hang_up();
                        return met;
                    }
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    met.late.add(begun.elapsed().saturating_sub(due));
                    met.send(&mut caller);
                }
            }
        };
        let callers: Vec<_> = (first..first + CONNECTIONS).map(|number| scope.spawn(one(number))).collect();
        for caller in callers {
            all.merge(caller.join().unwrap());
        }
    });
    all
}

/// What is beside the load.
#[derive(Default)]
struct Beside {
    over: AtomicBool,
    /// Slow readers that were served.
    slow: AtomicU64,
    /// Bodies that were too large and were told so; and those whose answer was lost on the way, because the daemon does
    /// not read on.
    too_large: AtomicU64,
    cut: AtomicU64,
}

impl Beside {
    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    /// A long result, taken byte by byte or not at all: streamed, or as one document.
    fn read_slowly(&self, address: SocketAddr, streamed: bool, takes: bool) {
        let (accept, rows) = if streamed { ("application/x-ndjson", 1_000_000) } else { ("*/*", 900) };
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})
             SELECT printf('%01000d', i) AS text FROM n"
        );
        let body = json!({"sql": sql}).to_string();
        let head = format!(
            "POST /v1/query HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        while self.goes_on() {
            let mut wire = Wire::connect(address).unwrap();
            wire.send((head.clone() + &body).as_bytes());
            assert_eq!(wire.byte(), Some(b'H'), "it is served in the end");
            self.slow.fetch_add(1, Relaxed);
            let begun = Instant::now();
            while self.goes_on() && begun.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(5));
                if takes && wire.byte().is_none() {
                    break;
                }
            }
        }
    }

    /// A body of four times the limit, with its length told before or not.
    fn send_too_much(&self, address: SocketAddr, announced: bool) {
        const LENGTH: usize = 1 << 20;
        const CHUNK: usize = 1 << 16;
        let length = if announced {
            format!("content-length: {LENGTH}")
        } else {
            "transfer-encoding: chunked".to_owned()
        };
        let head = format!("POST /v1/execute HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n");
        let chunk = "x".repeat(CHUNK);
        let chunk = if announced { chunk } else { format!("{CHUNK:x}\r\n{chunk}\r\n") };
        while self.goes_on() {
            let mut wire = Wire::connect(address).unwrap();
            let mut taken = wire.send(head.as_bytes());
            for _ in 0..LENGTH / CHUNK {
                taken = taken && wire.send(chunk.as_bytes());
            }
            match wire.answer() {
                Ok(answer) => {
                    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
                    self.too_large.fetch_add(1, Relaxed);
                }
                // Bytes that nobody reads make the system take back what was sent.
                Err(Broken::Unanswered | Broken::HalfAnswered) => drop(self.cut.fetch_add(1, Relaxed)),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Until a write is acknowledged as quickly as if nothing had been.
fn recovery(ledger: &Ledger, address: SocketAddr) -> Duration {
    const QUICKLY: Duration = Duration::from_millis(200);
    let begun = Instant::now();
    let mut caller = Caller::new(-1, ledger, address).slow(STEPS);
    loop {
        let (sent, write) = (Instant::now(), caller.next());
        if matches!(caller.send(write), Heard::Receipt(_)) && sent.elapsed() < QUICKLY {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "not recovered");
    }
}

#[test]
fn a_daemon_asked_for_too_much_refuses_quickly_keeps_its_memory_and_recovers() {
    let _alone = alone();
    // Of capacity, of twice, of ten times.
    let seconds = rounds(60, 3_600);
    let phase = Duration::from_secs(seconds) * 2 / 5;
    let (place, ledger, beside) = (Place::new(), Ledger::default(), Beside::default());
    let mut daemon = Daemon::start_with(&place, |command| {
        command.envs(SETTINGS);
    });
    let (address, process) = (address(&daemon.url), daemon.id());
    prepare(address);
    let capacity = capacity(&ledger, address, (phase / 2).min(Duration::from_secs(10)));
    let (twice, tenfold, samples) = std::thread::scope(|scope| {
        let beside = &beside;
        for streamed in [true, false] {
            for takes in [true, false] {
                scope.spawn(move || beside.read_slowly(address, streamed, takes));
            }
        }
        for announced in [true, true, false, false] {
            scope.spawn(move || beside.send_too_much(address, announced));
        }
        let database = place.path("data.db");
        let samples = scope.spawn(move || {
            let mut samples = Vec::new();
            while beside.goes_on() {
                samples.extend(Held::by(process, &database).map(|held| held.memory));
                std::thread::sleep(Duration::from_millis(100));
            }
            samples
        });
        let _over = OverAtEnd(&beside.over);
        let twice = open_loop(&ledger, address, 1_000, capacity * 2.0, phase);
        let tenfold = open_loop(&ledger, address, 2_000, capacity * 10.0, phase);
        beside.over.store(true, Relaxed);
        (twice, tenfold, samples.join().unwrap())
    });
    let recovery = recovery(&ledger, address);
    let peak = memory(process, "VmHWM");
    daemon.signal("-TERM");
    let (status, stderr) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let agreed = ledger.agrees_with(&place.path("data.db")).unwrap();
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let told = |name: &str, met: &Met| {
        let Met { sent, acknowledged, refused, refusals, acknowledgements, late } = met;
        format!(
            "{name}: {sent} sent ({late:.0?} late at p99), {acknowledged} acknowledged ({acknowledgements}), {refused} \
             refused ({refusals})",
            late = late.within(0.99),
        )
    };
    let level: Vec<_> = samples.iter().step_by((samples.len() / 8).max(1)).map(|&bytes| mib(bytes)).collect();
    report(
        "overload",
        &format!(
            "capacity {capacity:.0} writes/s; {}; {}; recovered in {recovery:.1?}; {} slow readers, {} bodies too large, \
             {} cut; memory {} at its peak, over time {}; {} rows agree, {} are absent",
            told("2x", &twice),
            told("10x", &tenfold),
            of(&beside.slow),
            of(&beside.too_large),
            of(&beside.cut),
            peak.map_or("unknown".to_owned(), mib),
            level.join(" "),
            agreed.acknowledged,
            agreed.not_executed,
        ),
    );
    assert_eq!((agreed.unknown_there, agreed.unknown_absent), (0, 0), "each request was answered");
    for (met, what) in [(&twice, "twice"), (&tenfold, "ten times")] {
        assert!(met.refused > 0 && met.acknowledged > 0, "{what} was too much, and work went on");
        assert!(met.refusals.median() < QUICK, "{what}: {}", met.refusals);
        assert!(met.refusals.within(0.99) < Duration::from_secs(1), "{what}: {}", met.refusals);
        // Work that is done does not suffer from what is refused. On a shared machine it does, some.
        #[allow(clippy::cast_precision_loss)]
        let rate = met.acknowledged as f64 / phase.as_secs_f64();
        assert!(rate > capacity / 4.0, "{what}: {rate:.0} of {capacity:.0} writes/s");
    }
    assert!(tenfold.refused > tenfold.acknowledged, "ten times was far too much");
    assert!(of(&beside.slow) > 0 && of(&beside.too_large) > 0, "the others were there too");
    match peak {
        Some(peak) => assert!(peak < MEMORY_CAP, "{} at its peak", mib(peak)),
        None => skipped("memory of the daemon under overload: Linux tells it in /proc"),
    }
}

/// Ends those beside also when the test fails.
struct OverAtEnd<'a>(&'a AtomicBool);

impl Drop for OverAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
