//! strace makes the n-th system call of the daemon fail, or kills it there: real calls of the real program, under callers
//! that write. What was acknowledged is there once, everything else is absent or whole; after an error every caller was
//! answered, and the daemon goes on or ends with an exit code that is not 0.
//!
//! Needs strace, and leave to trace (<https://strace.io>).

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_sqlite::rusqlite::Connection;
use actix_sqlite::rusqlite::config::DbConfig;
use serde_json::{Value, json};

use crate::on::{Daemon, PATIENCE, Place};
use crate::support::{Random, report, rounds, skipped};

const CALLERS: i64 = 4;

/// After so many writes of each caller any of the calls below has been made.
const WAVES: i64 = 60;

/// After the fault.
const MORE_WAVES: i64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Kill,
    IoError,
    NoSpace,
}

impl Effect {
    fn words(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::IoError => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Point {
    call: &'static str,
    effect: Effect,
    /// strace counts for each thread by itself; the writer's makes nearly all of these calls.
    nth: usize,
    for_ever: bool,
}

impl Point {
    fn any(effect: Effect, random: &mut Random) -> Self {
        let (call, most) = if random.coin() { ("pwrite64", 160) } else { ("fsync,fdatasync", 20) };
        let for_ever = effect != Effect::Kill && random.below(3) == 0;
        Self { call, effect, nth: 1 + random.below(most), for_ever }
    }

    /// Puts strace before the daemon. It traces as a grandchild (`-D`), so that the child is the daemon itself.
    fn trace(self, command: &mut Command, log: &Path) {
        let Self { call, effect, nth, for_ever } = self;
        let inject =
            format!("--inject={call}:{}:when={nth}{}", effect.words(), if for_ever { "+" } else { "" });
        // Quicker, but signals are not sent then (strace 6.1).
        let quick = if effect == Effect::Kill { &[][..] } else { &["--seccomp-bpf"] };
        put_strace_before(command, log, &[quick, &[&inject]].concat(), call);
    }
}

/// Has these calls of a command traced.
fn put_strace_before(command: &mut Command, log: &Path, options: &[&str], calls: &str) {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-q", "-o"]).arg(log).args(options).arg(format!("--trace={calls}"));
    strace.arg("--").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.current_dir(command.get_current_dir().unwrap());
    *command = strace;
}

/// What a caller was told of its write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    NotExecuted,
    /// The same, and that the database was given up: the daemon ends by itself.
    GivenUp,
    Unknown,
    /// Nothing: the connection was cut, or could not be made.
    Nothing,
}

/// Sends a write of two rows.
fn send(agent: &ureq::Agent, url: &str, id: i64) -> Told {
    let half =
        |half: i64| json!({"sql": "INSERT INTO pairs VALUES (?, ?, randomblob(300))", "params": [id, half]});
    let body = json!({"statements": [half(1), half(2)]});
    let answer = agent.post(format!("{url}/v1/transaction")).send_json(&body);
    let Ok(mut answer) = answer else { return Told::Nothing };
    let status = answer.status().as_u16();
    let Ok(body) = answer.body_mut().read_json::<Value>() else { return Told::Nothing };
    match (status, body["outcome"].as_str()) {
        (200, _) => Told::Committed,
        (_, Some("not_executed")) if body["code"] == "database_failed" => Told::GivenUp,
        (_, Some("not_executed")) => Told::NotExecuted,
        (_, Some("unknown")) => Told::Unknown,
        _ => panic!("{status}: {body}"),
    }
}

/// One write of each caller at once; what they were told.
fn wave(agent: &ureq::Agent, url: &str, wave: i64) -> BTreeMap<i64, Told> {
    let told = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for id in wave * CALLERS..(wave + 1) * CALLERS {
            let told = &told;
            scope.spawn(move || {
                let answer = send(agent, url, id);
                told.lock().unwrap().insert(id, answer);
            });
        }
    });
    told.into_inner().unwrap()
}

#[derive(Default, Debug)]
struct Counts {
    points: usize,
    while_opening: usize,
    went_on: usize,
    gave_up: usize,
    committed: usize,
    not_executed: usize,
    unknown: usize,
    unanswered: usize,
}

fn fired(log: &str) -> bool {
    log.contains("(INJECTED)") || log.contains("killed by SIGKILL")
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Whether this becomes true of the log: strace writes its last lines when the daemon is gone already.
fn soon(log: &Path, is_so: impl Fn(&str) -> bool) -> bool {
    let begun = Instant::now();
    while !is_so(&read(log)) && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(2));
    }
    is_so(&read(log))
}

fn run(point: Point, template: &[u8], counts: &mut Counts) {
    let place = Place::new();
    place.write("data.db", template);
    let log = place.path("strace.log");
    let mut daemon = Daemon::launch(&place, |command| {
        for (name, value) in [
            ("RELAY__MIGRATE", "false"),
            ("SUPERVISOR__MAX_RESTARTS", "3"),
            // Long enough for all of a wave to be in hand before the database is given up.
            ("SUPERVISOR__INITIAL_BACKOFF", "100ms"),
            ("SUPERVISOR__MAX_BACKOFF", "100ms"),
        ] {
            command.env(format!("ACTIX_SQLITE__{name}"), value);
        }
        point.trace(command, &log);
    });
    let mut all_told = BTreeMap::new();
    if daemon.url.is_empty() {
        counts.while_opening += 1;
    } else {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = ureq::Agent::new_with_config(config.build());
        let (mut more, mut ended) = (MORE_WAVES, false);
        for number in 0..WAVES {
            let told = wave(&agent, &daemon.url, number);
            let ends = |told: &Told| matches!(told, Told::Nothing | Told::Unknown | Told::GivenUp);
            ended = told.values().any(ends);
            all_told.extend(told);
            more -= i64::from(fired(&read(&log)));
            if more < 0 || ended {
                break;
            }
        }
        if !ended {
            daemon.signal("-TERM");
        }
    }
    let (status, stderr) = daemon.wait();
    assert!(soon(&log, fired), "{point:?} did not fire: {stderr}");
    counts.points += 1;
    let is_killed = status.signal() == Some(9);
    assert_eq!(is_killed, point.effect == Effect::Kill, "{point:?}: {status}: {stderr}");
    if !is_killed {
        assert!(!stderr.contains("panicked"), "{point:?}: {stderr}");
        assert!(!all_told.values().any(|told| *told == Told::Nothing), "{point:?}: {all_told:?}: {stderr}");
        *(if status.code() == Some(0) { &mut counts.went_on } else { &mut counts.gave_up }) += 1;
        assert!(matches!(status.code(), Some(0 | 1)), "{point:?}: {status}: {stderr}");
    }
    let untruths = untruths(&place, &all_told, counts);
    assert!(untruths.is_empty(), "{point:?}: {status}: {untruths:#?}: {stderr}");
    place.run(&["check", "--database", "data.db"]).ok();
    place.run(&["execute", "INSERT INTO pairs VALUES (-1, 1, NULL)", "--database", "data.db"]).ok();
}

/// How the file differs from what was told.
fn untruths(place: &Place, told: &BTreeMap<i64, Told>, counts: &mut Counts) -> Vec<String> {
    let conn = Connection::open(place.path("data.db")).unwrap();
    let mut halves: BTreeMap<i64, usize> = BTreeMap::new();
    let mut select = conn.prepare("SELECT id FROM pairs").unwrap();
    for id in select.query_map([], |row| row.get(0)).unwrap() {
        *halves.entry(id.unwrap()).or_default() += 1;
    }
    let mut untruths = Vec::new();
    for (id, told) in told {
        let there = halves.remove(id).unwrap_or(0);
        *(match told {
            Told::Committed => &mut counts.committed,
            Told::NotExecuted | Told::GivenUp => &mut counts.not_executed,
            Told::Unknown => &mut counts.unknown,
            Told::Nothing => &mut counts.unanswered,
        }) += 1;
        match (told, there) {
            (Told::Committed, 2)
            | (Told::NotExecuted | Told::GivenUp, 0)
            | (Told::Unknown | Told::Nothing, 0 | 2) => {}
            _ => untruths.push(format!("write {id}: told {told:?}, {there} halves are there")),
        }
    }
    untruths.extend(halves.keys().map(|id| format!("write {id} was never sent")));
    untruths
}

/// Whether this machine has strace, and lets it trace.
fn can_trace() -> bool {
    let mut trial = Command::new("strace");
    trial.args(["-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "--trace=fsync", "--", "true"]);
    match trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => true,
        Ok(_) => {
            skipped("strace: it may not trace here");
            false
        }
        Err(error) => {
            skipped(&format!("strace: it cannot be run: {error}"));
            false
        }
    }
}

#[test]
fn a_call_that_fails_or_kills_loses_nothing_that_was_acknowledged() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    let template = place.path("template.db");
    Connection::open(&template)
        .unwrap()
        .execute_batch("CREATE TABLE pairs (id INTEGER NOT NULL, half INTEGER NOT NULL, filler BLOB)")
        .unwrap();
    let template = std::fs::read(template).unwrap();
    let mut random = Random::seeded(5);
    for effect in [Effect::Kill, Effect::IoError, Effect::NoSpace] {
        let mut counts = Counts::default();
        for _ in 0..rounds(100, 500) {
            run(Point::any(effect, &mut random), &template, &mut counts);
        }
        let Counts { points, while_opening, went_on, gave_up, .. } = counts;
        let Counts { committed, not_executed, unknown, unanswered, .. } = counts;
        report(
            "strace",
            &format!(
                "{}: {points} points, {while_opening} of them while it opens; {went_on} went on, {gave_up} gave up; \
                 writes {committed} committed, {not_executed} not executed, {unknown} unknown, {unanswered} unanswered",
                effect.words()
            ),
        );
    }
}

#[test]
fn a_log_that_another_process_left_is_synced_before_anything_else() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    let path = place.path("data.db");
    {
        let conn = Connection::open(&path).unwrap();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
        conn.execute_batch("CREATE TABLE left (x); INSERT INTO left VALUES (1)").unwrap();
    }
    let start = |trace: bool| {
        let point = Point { call: "fsync,fdatasync", effect: Effect::IoError, nth: 1, for_ever: false };
        let launch = |command: &mut Command| {
            if trace {
                point.trace(command, &place.path("strace.log"));
            }
        };
        Daemon::launch(&place, launch)
    };
    let (status, stderr) = start(true).wait();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("data.db-wal"), "{stderr}");
    let mut daemon = start(false);
    assert!(!daemon.url.is_empty());
    daemon.signal("-TERM");
    assert_eq!(daemon.wait().0.code(), Some(0));
    place.run(&["query", "SELECT x FROM left", "--database", "data.db"]).ok();
}

#[test]
fn a_checkpoint_beside_the_writer_syncs_what_it_has_moved() {
    if !can_trace() {
        return;
    }
    let (place, calls) = (Place::new(), "fsync,fdatasync");
    let log = place.path("strace.log");
    let mut daemon = Daemon::start_with(&place, |command| put_strace_before(command, &log, &["-y"], calls));
    let agent =
        ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build());
    let execute = |sql: &str| {
        agent.post(format!("{}/v1/execute", daemon.url)).send_json(json!({"sql": sql})).unwrap();
    };
    let checkpoints = || -> (u64, u64) {
        let mut status = agent.get(format!("{}/v1/status", daemon.url)).call().unwrap();
        let database = &status.body_mut().read_json::<Value>().unwrap()["database"];
        (database["checkpoints"].as_u64().unwrap(), database["checkpoints_ahead"].as_u64().unwrap())
    };
    execute("CREATE TABLE t (x)");
    while checkpoints().1 < 4 {
        execute("INSERT INTO t VALUES (zeroblob(100000))");
    }
    let (whole, ahead) = checkpoints();
    daemon.signal("-TERM");
    let (status, stderr) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let syncs = |log: &str| log.lines().filter(|line| line.contains("data.db>")).count() as u64;
    let is_enough = soon(&log, |log| syncs(log) >= whole + ahead);
    assert!(is_enough, "{} syncs of the file, {whole} checkpoints and {ahead} ahead", syncs(&read(&log)));
}
