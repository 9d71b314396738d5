//! The daemon is told to stop while callers are at work: whatever was sent is answered, refused or not executed, what was
//! acknowledged is in the file, and the daemon is gone soon after.
//!
//! Exactly: a request that is answered with a receipt is in the file; one that is refused (503), that finds nobody
//! listening, or whose connection is closed without an answer, is not. Nothing is in the file whose caller heard nothing.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::alone;
use crate::caller::{Caller, Heard, prepare};
use crate::figures::Times;
use crate::ledger::Ledger;
use crate::on::{Daemon, PATIENCE, Place};
use crate::support::{Random, report, rounds};
use crate::wire::{Broken, Wire, address};

const CALLERS: i64 = 8;

/// From the signal to the end of the process.
const LONGEST_END: Duration = Duration::from_secs(5);

/// So many daemons at once: most of an end is waiting.
const LANES: i64 = 5;

/// What the callers heard at the end.
#[derive(Default)]
struct Met {
    refused: AtomicU64,
    unreachable: AtomicU64,
    closed: AtomicU64,
    queries: AtomicU64,
    /// Writes that the daemon's own report says it committed after the signal.
    drained: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// How a caller treats its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Keeps it, and goes when it is refused.
    Keeps,
    /// Takes a new one for each request.
    Renews,
    /// Keeps it, and goes on when it is refused, until nobody listens any more.
    Insists,
}

fn call(mut caller: Caller<'_>, manner: Manner, met: &Met) {
    loop {
        if manner == Manner::Renews {
            caller.hang_up();
        }
        let write = caller.next();
        let heard = caller.send(write);
        let queried = caller.number % 4 == 0;
        if queried && matches!(heard, Heard::Receipt(_)) {
            match caller.read(10_000) {
                Ok(seen) => assert!(seen.contains(&write.n), "a read after the answer"),
                Err(Heard::Refused(code)) => assert_eq!(code, "shutting_down"),
                Err(_) => {}
            }
            count(&met.queries);
        }
        match heard {
            Heard::Receipt(_) => {}
            Heard::Refused(code) => {
                assert_eq!(code, "shutting_down");
                count(&met.refused);
                if manner != Manner::Insists {
                    return caller.hang_up();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Heard::Unreachable => return count(&met.unreachable),
            Heard::Cut(Broken::Unanswered) => count(&met.closed),
            Heard::Cut(Broken::HalfAnswered) => panic!("half an answer to {write:?}"),
        }
    }
}

/// Connections that would rather have the daemon wait: one says nothing, one sends half a write, one half an import, and
/// one takes nothing of its long answer. The write's number is its caller's only one.
fn hangers_on(ledger: &Ledger, number: i64, address: SocketAddr) -> [Wire; 4] {
    let mut caller = Caller::new(number, ledger, address);
    let write = caller.next();
    ledger.sent(write);
    let (path, write) = caller.request(write);
    let write = write.to_string();
    let log = r#"{"kook_message_id":"m","kook_channel_id":"c","content":"","target_platform":"p","target_channel":"c","status":"success"}"#;
    let long = r#"{"sql": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT printf('%01000d', i) AS text FROM n"}"#;
    let open = |path: &str, headers: &str, length: usize, body: &str| {
        let mut wire = Wire::connect(address).unwrap();
        if length > 0 {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n"
            );
            assert!(wire.send((head + body).as_bytes()));
        }
        wire
    };
    [
        open("", "", 0, ""),
        open(path, "", write.len(), &write[..write.len() / 2]),
        open("/v1/message-logs/import", "", 1 << 20, &format!("{log}\n{log}")),
        open("/v1/query", "accept: application/x-ndjson\r\n", long.len(), long),
    ]
}

/// One daemon from its start to its end; returns how long the end took.
fn round(place: &Place, ledger: &Ledger, number: i64, random: &mut Random, met: &Met) -> Duration {
    let mut daemon = Daemon::start_with(place, |command| {
        command.env("ACTIX_SQLITE__TELEMETRY__FILTER", "error");
    });
    let address = address(&daemon.url);
    prepare(address);
    let goal = ledger.count() + random.below(200) as u64;
    let took = std::thread::scope(|scope| {
        for caller in 1..=CALLERS {
            let manner = [Manner::Keeps, Manner::Renews, Manner::Insists][random.below(3)];
            let caller = Caller::new(number * (CALLERS + 2) + caller, ledger, address);
            scope.spawn(move || call(caller, manner, met));
        }
        let hanging = random.coin().then(|| hangers_on(ledger, number * (CALLERS + 2), address));
        let begun = Instant::now();
        while ledger.count() < goal {
            assert!(begun.elapsed() < PATIENCE, "nobody is answered: {}", daemon.stderr());
            std::thread::sleep(Duration::from_micros(200));
        }
        let told = Instant::now();
        daemon.signal("-TERM");
        let (status, stderr) = daemon.wait();
        let took = told.elapsed();
        assert_eq!(status.code(), Some(0), "{stderr}");
        let report = stderr.lines().last().unwrap_or_default();
        assert!(report.contains(" 0 failed, 0 refused; files closed"), "{stderr}");
        met.drained.fetch_add(drained(report), Relaxed);
        drop(hanging);
        took
    });
    let wal = place.path("data.db-wal");
    assert!(std::fs::metadata(wal).map_or(0, |file| file.len()) == 0, "the log is not in the file");
    took
}

/// The number before "queued writes committed".
fn drained(report: &str) -> u64 {
    let (before, _) = report.split_once(" queued writes committed").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_daemon_that_is_told_to_stop_under_load_answers_or_refuses_each_request() {
    let _alone = alone();
    let rounds = rounds(50, 500);
    let seed = Random::seeded(16).next();
    let (met, times, begun) = (Met::default(), Mutex::new(Times::default()), AtomicU64::new(0));
    let totals = Mutex::new([0, 0]);
    std::thread::scope(|scope| {
        for _ in 1..=LANES {
            let (met, times, begun, totals) = (&met, &times, &begun, &totals);
            scope.spawn(move || {
                // Each end is followed by a start on the same file.
                let (place, ledger) = (Place::new(), Ledger::default());
                loop {
                    let number = begun.fetch_add(1, Relaxed);
                    if number >= rounds {
                        break;
                    }
                    let mut random = Random::from_seed(seed ^ number);
                    let number = i64::try_from(number).unwrap();
                    let took = round(&place, &ledger, number, &mut random, met);
                    times.lock().unwrap().add(took);
                    // Whoever heard nothing can be sure that nothing was done.
                    for write in ledger.unknown() {
                        ledger.not_executed(write);
                    }
                    ledger.agrees_with(&place.path("data.db")).unwrap();
                }
                let agreed = ledger.agrees_with(&place.path("data.db")).unwrap();
                let mut totals = totals.lock().unwrap();
                totals[0] += agreed.acknowledged;
                totals[1] += agreed.not_executed;
            });
        }
    });
    let (times, [acknowledged, not_executed]) = (times.into_inner().unwrap(), totals.into_inner().unwrap());
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    report(
        "shutdown",
        &format!(
            "{rounds} signals under load; end {times}; {acknowledged} writes acknowledged and there ({} of them committed \
             after the signal), {not_executed} absent: {} refused, {} closed without an answer; {} callers found nobody; \
             {} queries",
            of(&met.drained),
            of(&met.refused),
            of(&met.closed),
            of(&met.unreachable),
            of(&met.queries),
        ),
    );
    assert!(of(&met.drained) > 0 && of(&met.refused) > 0, "the signals met requests under way");
    assert!(times.max() < LONGEST_END, "end: {times}");
}
