//! Files that were damaged while nobody had them open: flipped bytes, cut ends, pages of noise, wrong headers, of the
//! database, its log and its index. Opening one and using it works or gives a clear error; it never panics, hangs, or
//! ends the process; and a file that is refused stays as it is, byte by byte.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_sqlite::{Database, IdempotencyKey, ReadError, Settings, StartError, State, WriteError};

use crate::support::{Random, report, rounds};
use crate::workload::{answers, open_plainly, pair, settings};

/// No step takes longer, whatever is damaged.
const LONGEST: Duration = Duration::from_secs(20);

/// The database, its log, and the index of that.
const FILES: [&str; 3] = ["test.db", "test.db-wal", "test.db-shm"];

type Files = BTreeMap<&'static str, Vec<u8>>;

/// Panics on the threads of the database; its supervision would hide them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("actix-sqlite")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            usual(panic);
        }));
    });
}

/// Nothing is restarted for long, and a page is read from the file as often as possible.
fn quick(path: &Path) -> Settings {
    let mut settings = settings(path);
    settings.database.cache_size = bytesize::ByteSize::kib(16);
    settings
}

fn read_files(directory: &Path) -> Files {
    let read = |name| std::fs::read(directory.join(name)).ok().map(|bytes| (name, bytes));
    FILES.into_iter().filter_map(read).collect()
}

/// A sound database of some hundred rows, an index and a trigger, a part of it in the log only.
fn sound() -> Files {
    let directory = tempfile::tempdir().unwrap();
    actix_rt::System::new().block_on(async {
        let database = open_plainly(settings(&directory.path().join("test.db"))).await.unwrap();
        for sql in [
            "CREATE INDEX pairs_by_id ON pairs (id)",
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT UNIQUE) STRICT",
            "CREATE TRIGGER noted AFTER INSERT ON pairs WHEN new.half = 1 BEGIN
                INSERT OR IGNORE INTO notes (note) VALUES ('pair ' || new.id); END",
        ] {
            database.execute(sql).await.unwrap();
        }
        // One by one, so that the same seed damages the same pages.
        for id in 0..120 {
            let written = answers(&database, [id], |id| id % 3 == 0).await;
            assert!(written.iter().all(|(_, answer)| answer.is_ok()));
        }
        let files = read_files(directory.path());
        assert_eq!(files.len(), FILES.len());
        assert!(files.values().all(|bytes| bytes.len() > 4096), "each has something to be damaged");
        database.shutdown().await;
        files
    })
}

/// Damages one of the files, seldom two; says how.
fn damage(files: &mut Files, random: &mut Random) -> String {
    let mut said = Vec::new();
    for _ in 0..if random.below(4) == 0 { 2 } else { 1 } {
        let name = FILES[[0, 0, 0, 1, 1, 2][random.below(6)]];
        let bytes = files.get_mut(name).unwrap();
        let length = bytes.len();
        let how = match random.below(7) {
            0 => {
                let kept = random.below(length + 1);
                bytes.truncate(kept);
                format!("cut to {kept} of {length} bytes")
            }
            1 => {
                let kept = random.below(length / 4096 + 1) * 4096;
                bytes.truncate(kept);
                format!("cut to {kept} of {length} bytes")
            }
            2 => {
                let flips = 1 + random.below(4);
                // The headers of a file are 100, 32 and 136 bytes long.
                flip(bytes, flips, 136, random);
                format!("{flips} bytes of the header flipped")
            }
            3 => {
                let flips = 1 + random.below(64);
                flip(bytes, flips, length, random);
                format!("{flips} bytes flipped")
            }
            4 => {
                let start = random.below(length / 4096 + 1) * 4096;
                let end = length.min(start + 4096);
                let noise = random.coin();
                for byte in &mut bytes[start.min(end)..end] {
                    *byte = if noise { random.next().to_le_bytes()[0] } else { 0 };
                }
                format!("the page at {start} is {}", if noise { "noise" } else { "empty" })
            }
            5 => {
                // Where a page says what it is and where its cells are.
                let page = random.below(length / 4096 + 1) * 4096;
                let end = length.min(page + 16);
                let part = &mut bytes[page.min(end)..end];
                if !part.is_empty() {
                    flip(part, 2, part.len(), random);
                }
                format!("the head of the page at {page} is wrong")
            }
            _ => {
                let more = 1 + random.below(9000);
                bytes.extend((0..more).map(|_| random.next().to_le_bytes()[0]));
                format!("{more} bytes of noise at the end")
            }
        };
        said.push(format!("{name}: {how}"));
    }
    said.join(", ")
}

fn flip(bytes: &mut [u8], count: usize, within: usize, random: &mut Random) {
    let within = within.min(bytes.len());
    for _ in 0..count.min(within) {
        bytes[random.below(within)] ^= 1 << random.below(8);
    }
}

#[derive(Default, Debug)]
struct Counts {
    refused: BTreeMap<&'static str, usize>,
    opened: usize,
    given_up: usize,
    reads: usize,
    read_errors: BTreeMap<&'static str, usize>,
    writes: usize,
    write_errors: BTreeMap<&'static str, usize>,
}

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    actix_rt::time::timeout(LONGEST, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Codes of a storage that is to blame, and of a schema that lost something; an error says something, too.
fn is_clear(code: &str, text: &str) -> bool {
    let to_blame =
        ["storage", "invalid_sql", "sqlite", "database_failed", "constraint_violation", "invalid_text"];
    let also = ["type_mismatch", "too_large", "outcome_unknown", "idempotency_conflict"];
    (to_blame.contains(&code) || also.contains(&code)) && !text.is_empty()
}

/// Reads and writes whatever there is.
async fn use_it(database: &Database, counts: &RefCell<Counts>) {
    for sql in [
        "SELECT id, half, filler FROM pairs",
        "SELECT count(*) FROM pairs WHERE id > 50",
        "SELECT * FROM notes ORDER BY note",
        "SELECT name, sql FROM sqlite_schema",
        "PRAGMA integrity_check",
        "SELECT n.note FROM notes n JOIN pairs p ON n.note = 'pair ' || p.id",
    ] {
        let answer: Result<_, ReadError> = soon(sql, database.query(sql)).await;
        let mut counts = counts.borrow_mut();
        match answer {
            Ok(_) => counts.reads += 1,
            Err(error) => {
                assert!(is_clear(error.code(), &error.to_string()), "{sql}: {}: {error}", error.code());
                *counts.read_errors.entry(error.code()).or_default() += 1;
            }
        }
    }
    let key = |id: i64| IdempotencyKey::new(format!("write {id}")).unwrap();
    let writes: Vec<Result<(), WriteError>> = vec![
        soon("a write", database.transaction(pair(1000))).await.map(drop),
        soon("a keyed write", database.transaction(pair(3).idempotency_key(key(3)))).await.map(drop),
        soon("a new key", database.transaction(pair(1001).idempotency_key(key(1001)))).await.map(drop),
        soon("a change", database.execute("UPDATE pairs SET half = half WHERE id % 7 = 0")).await.map(drop),
        soon("a removal", database.execute("DELETE FROM pairs WHERE id < 10")).await.map(drop),
        soon("an index", database.execute("REINDEX")).await.map(drop),
    ];
    let mut counts = counts.borrow_mut();
    for answer in writes {
        match answer {
            Ok(()) => counts.writes += 1,
            Err(error) => {
                assert!(is_clear(error.code(), &error.to_string()), "{}: {error}", error.code());
                *counts.write_errors.entry(error.code()).or_default() += 1;
            }
        }
    }
}

/// Opens the file and uses it; the error, if it is refused.
async fn open_and_use(path: &Path, counts: &RefCell<Counts>) -> Option<StartError> {
    let database = match soon("opening", open_plainly(quick(path))).await {
        Ok(database) => database,
        Err(error) => return Some(error),
    };
    counts.borrow_mut().opened += 1;
    use_it(&database, counts).await;
    let status = database.status();
    counts.borrow_mut().given_up += usize::from(status.state == State::Failed);
    assert!(soon("the shutdown", database.shutdown()).await.closed);
    None
}

#[test]
fn a_damaged_file_is_refused_untouched_or_answers_without_panic() {
    count_panics();
    let sound = sound();
    let mut random = Random::seeded(17);
    let count = rounds(500, 20_000);
    let counts = RefCell::new(Counts::default());
    for number in 0..count {
        let directory = tempfile::tempdir().unwrap();
        let mut files = sound.clone();
        let how = damage(&mut files, &mut random);
        for (name, bytes) in &files {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        let path = directory.path().join("test.db");
        let refused = actix_rt::System::new().block_on(open_and_use(&path, &counts));
        if let Some(error) = refused {
            assert!(
                ["not_a_database", "cannot_open", "migration", "newer_schema"].contains(&error.code()),
                "{how}: {error}"
            );
            *counts.borrow_mut().refused.entry(error.code()).or_default() += 1;
            let after = read_files(directory.path());
            for name in ["test.db", "test.db-wal"] {
                let lengths = (files[name].len(), after.get(name).map(Vec::len));
                assert!(
                    after.get(name) == files.get(name),
                    "number {number}, {how}: refused ({error}), and {name} is changed, its length {lengths:?}"
                );
            }
        }
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "number {number}, {how}");
    }
    let Counts { refused, opened, given_up, reads, read_errors, writes, write_errors } = counts.into_inner();
    let told = format!(
        "{count} files: {refused:?} refused, {opened} opened ({given_up} given up later); {reads} reads and \
         {read_errors:?} not; {writes} writes and {write_errors:?} not"
    );
    report("damaged", &told);
    assert!(!refused.is_empty() && !read_errors.is_empty(), "the damage was not met: {told}");
}
