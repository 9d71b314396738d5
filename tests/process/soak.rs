//! The daemon is left to run under mixed load, at length with a kill now and then: what it holds (memory, descriptors,
//! threads, write-ahead log) stays level, and each caller finds its writes.
//!
//! Callers settle now and then: they compare what is there with what they were told, and delete it, so that neither the
//! file nor the test grows with time.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::alone;
use crate::caller::{Caller, Heard, prepare};
use crate::figures::{Held, mib};
use crate::kill::kill;
use crate::ledger::Ledger;
use crate::on::{Daemon, Place};
use crate::support::{Random, report, rounds, skipped};
use crate::wire::{Wire, address};

const CALLERS: i64 = 6;

/// Writes of a caller between two settlements.
const SETTLES_AFTER: i64 = 200;

/// Until a caller tries again.
const RETRY: Duration = Duration::from_millis(5);

const SETTINGS: [(&str, &str); 7] = [
    // Small, so that all is warm soon.
    ("ACTIX_SQLITE__DATABASE__CACHE_SIZE", "512 KiB"),
    ("ACTIX_SQLITE__DATABASE__WAL_CHECKPOINT_SIZE", "256 KiB"),
    ("ACTIX_SQLITE__DATABASE__WAL_TRUNCATE_SIZE", "1 MiB"),
    ("ACTIX_SQLITE__DATABASE__IDEMPOTENCY_MAX_KEYS", "1000"),
    ("ACTIX_SQLITE__READERS__THREADS", "2"),
    ("ACTIX_SQLITE__READERS__MAX_STALL", "500ms"),
    ("ACTIX_SQLITE__TELEMETRY__FILTER", "error"),
];

/// Where the daemon is, and what was done.
struct Run {
    address: Mutex<SocketAddr>,
    over: AtomicBool,
    /// While it is dead, connections may break.
    killed: AtomicU64,
    requests: AtomicU64,
    settled: AtomicU64,
    cut: AtomicU64,
    left: AtomicU64,
}

impl Run {
    fn at(address: SocketAddr) -> Self {
        let zero = AtomicU64::default;
        let (over, address) = (AtomicBool::default(), Mutex::new(address));
        Self { address, over, killed: zero(), requests: zero(), settled: zero(), cut: zero(), left: zero() }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Relaxed)
    }

    fn address(&self) -> SocketAddr {
        *self.address.lock().unwrap()
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// One caller: writes and reads, on one connection or another, and again under the same key when it breaks.
fn call(mut caller: Caller<'_>, run: &Run, ledger: &Ledger, mut random: Random) {
    let (mut pending, mut unsettled) = (None, 0);
    while run.goes_on() {
        count(&run.requests);
        let write = pending.take().unwrap_or_else(|| caller.next());
        match caller.send(write) {
            Heard::Receipt(_) => unsettled += 1,
            Heard::Cut(_) | Heard::Unreachable => {
                assert!(run.killed.load(Relaxed) > 0, "{write:?}: the connection broke, and nobody broke it");
                count(&run.cut);
                pending = Some(write);
                std::thread::sleep(RETRY);
                caller.turn_to(run.address());
                continue;
            }
            Heard::Refused(code) => panic!("{write:?} was refused: {code}"),
        }
        match random.below(32) {
            0 => caller.hang_up(),
            1 | 2 => drop(caller.read(1_000)),
            3 => drop(caller.answer(|wire| wire.get("/v1/status"))),
            4 => drop(caller.answer(|wire| wire.get("/v1/message-logs?limit=20"))),
            5 => {
                let log = json!({"kook_message_id": random.below(2_000).to_string(), "kook_channel_id": "c", "content": "x",
                    "target_platform": "p", "target_channel": "t", "status": "success"});
                drop(caller.answer(|wire| wire.post("/v1/message-logs", "", &log.to_string())));
            }
            6 => leaves(run),
            _ => {}
        }
        if unsettled >= SETTLES_AFTER && settle(&mut caller, run, ledger) {
            unsettled = 0;
            count(&run.settled);
        }
    }
    // What is still open is settled with the file at the end.
    if let Some(write) = pending {
        caller.turn_to(run.address());
        assert!(matches!(caller.send(write), Heard::Receipt(_)), "{write:?}");
    }
}

/// Asks for a long answer and goes away after its beginning.
fn leaves(run: &Run) {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT printf('%01000d', i) FROM n";
    let body = json!({"sql": sql}).to_string();
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nhost: localhost\r\naccept: text/csv\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    if let Some(mut wire) = Wire::connect(run.address()) {
        wire.send((head + &body).as_bytes());
        wire.byte();
        count(&run.left);
    }
}

/// All of the caller's writes are there, in order, once; then they are deleted. False if a kill came between.
fn settle(caller: &mut Caller<'_>, run: &Run, ledger: &Ledger) -> bool {
    let Ok(seen) = caller.read(i64::MAX) else { return false };
    let (there, unknown) = ledger.settle(caller.number);
    assert_eq!((seen, unknown), (there, vec![]), "caller {}", caller.number);
    let delete =
        |table| json!({"sql": format!("DELETE FROM {table} WHERE caller = ?1"), "params": [caller.number]});
    let body = json!({"statements": [delete("parts"), delete("heads")]}).to_string();
    // Deleted or not when the connection broke: once more does no harm.
    while !caller
        .answer(|wire| wire.post("/v1/transaction", "", &body))
        .is_ok_and(|answer| answer.status == 200)
    {
        assert!(run.killed.load(Relaxed) > 0, "refused to delete");
        std::thread::sleep(RETRY);
        caller.turn_to(run.address());
    }
    true
}

/// What rises from the first half to the second, after a part in which all warms up.
fn rises(samples: &[Held]) -> Option<String> {
    let warm = &samples[samples.len() / 5..];
    let (first, second) = warm.split_at(warm.len() / 2);
    // By how much the most of each may differ by chance; the log is as long as the longest time a reader was in its way.
    let figures = |held: &Held| {
        [
            ("memory", held.memory, 8 << 20),
            ("descriptors", held.descriptors, 12),
            ("threads", held.threads, 1),
            ("log", held.wal, 4 << 20),
        ]
    };
    (0..4).find_map(|place| {
        let most = |half: &[Held]| half.iter().map(|held| figures(held)[place].1).max().unwrap_or_default();
        let (before, after) = (most(first), most(second));
        let (name, _, slack) = figures(warm.first()?)[place];
        (after > before + slack).then(|| format!("{name} from {before} to {after}"))
    })
}

#[test]
fn what_rises_is_seen_and_what_only_moves_is_not() {
    let level = Held { memory: 40 << 20, descriptors: 30, threads: 12, wal: 1 << 20 };
    let all = |change: fn(&mut Held, u64)| {
        let samples = (0..100).map(|n| {
            let mut held = level;
            change(&mut held, n);
            held
        });
        rises(&samples.collect::<Vec<_>>())
    };
    assert_eq!(all(|held, n| held.memory += (n % 7) << 20), None);
    assert_eq!(all(|held, n| held.memory = (n.min(15) + 20) << 20), None, "warming up");
    assert!(all(|held, n| held.memory += n << 19).unwrap().starts_with("memory"));
    assert!(all(|held, n| held.descriptors += n).unwrap().starts_with("descriptors"));
    assert!(all(|held, n| held.threads += n / 10).unwrap().starts_with("threads"));
    assert!(all(|held, n| held.wal += n << 17).unwrap().starts_with("log"));
}

/// Watches a life of the daemon.
fn watch(place: &Place, daemon: &Daemon, length: Duration) -> Vec<Held> {
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < length {
        samples.extend(Held::by(daemon.id(), &place.path("data.db")));
        std::thread::sleep((length / 200).clamp(Duration::from_millis(50), Duration::from_secs(5)));
    }
    samples
}

fn start(place: &Place) -> Daemon {
    Daemon::start_with(place, |command| {
        command.envs(SETTINGS);
    })
}

#[test]
fn a_daemon_that_runs_on_holds_no_more_than_before_and_every_caller_finds_its_writes() {
    let _alone = alone();
    let whole = Duration::from_secs(rounds(120, 28_800));
    let (place, ledger, mut random) = (Place::new(), Ledger::default(), Random::seeded(18));
    let mut daemon = start(&place);
    let run = Run::at(address(&daemon.url));
    prepare(run.address());
    let (begun, mut lives) = (Instant::now(), Vec::new());
    std::thread::scope(|scope| {
        for number in 1..=CALLERS {
            let caller = Caller::new(number, &ledger, run.address());
            let (run, ledger, random) = (&run, &ledger, Random::from_seed(random.next()));
            scope.spawn(move || call(caller, run, ledger, random));
        }
        let _over = OverAtEnd(&run.over);
        loop {
            let left = whole.saturating_sub(begun.elapsed());
            // A short run has one life; in a long one many are long enough to see what rises.
            let length = Duration::from_secs(20 + random.below(1_800) as u64);
            let is_last = whole < Duration::from_mins(10) || left < length + Duration::from_secs(20);
            lives.push(watch(&place, &daemon, if is_last { left } else { length.min(whole / 3) }));
            if is_last {
                break;
            }
            count(&run.killed);
            kill(&mut daemon);
            daemon = start(&place);
            *run.address.lock().unwrap() = address(&daemon.url);
        }
    });
    daemon.signal("-TERM");
    let (status, stderr) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let agreed = ledger.agrees_with(&place.path("data.db")).unwrap();
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let last = lives.last().unwrap();
    let steps = last.iter().step_by((last.len() / 8).max(1));
    let course: Vec<_> = steps.map(told).collect();
    report(
        "soak",
        &format!(
            "{:.0?} in {} lives: {} acknowledged, {} requests, {} settlements, {} answers left, {} kills, {} cut; {} rows agree; \
             memory/descriptors/threads/log over the last life: {}",
            begun.elapsed(),
            lives.len(),
            ledger.count(),
            of(&run.requests),
            of(&run.settled),
            of(&run.left),
            of(&run.killed),
            of(&run.cut),
            agreed.acknowledged,
            course.join(", "),
        ),
    );
    assert!(of(&run.settled) > 0 && of(&run.left) > 0, "the load was mixed");
    if last.is_empty() {
        skipped("what the daemon holds under long load: Linux tells it in /proc");
    }
    for life in &lives {
        assert_eq!(rises(life), None, "{:?}", life.iter().map(told).collect::<Vec<_>>());
    }
}

fn told(held: &Held) -> String {
    format!("{}/{}/{}/{}", mib(held.memory), held.descriptors, held.threads, mib(held.wal))
}

/// Ends the callers also when the test fails.
struct OverAtEnd<'a>(&'a AtomicBool);

impl Drop for OverAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
