//! The disk is full, and has room again, many times over: writes are refused with an error that says so, reads go on,
//! writes go on as soon as there is room, and nothing is lost or there twice. What failed with nobody waiting is kept when
//! there is room again.
//!
//! Once on a small file system in memory, filled with ballast, and once under a VFS that plays a full disk, which can be
//! had everywhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_sqlite::{Database, Outcome, Settings, State, Transaction};

use crate::mixed::broken_half;
#[cfg(target_os = "linux")]
use crate::mount::{Mount, ballast};
use crate::support::{report, rounds};
use crate::vfs::Turn;
use crate::workload::{self, LONGEST, Told, answers, open, told, untruths};

/// The log has room inside while it is written again from its beginning; this much is beyond it.
const WAVES: usize = 200;
const AT_ONCE: i64 = 8;
const NONE: [i64; 0] = [];

#[derive(Default)]
struct Counts {
    committed: usize,
    refused: usize,
    reads: usize,
}

/// With a log that is cut when it is long: all that it ever had is room for writes while the disk is full.
fn settings(path: &Path) -> Settings {
    let mut settings = workload::settings(path);
    settings.database.wal_truncate_size = bytesize::ByteSize::kib(256);
    settings
}

/// Every second write has a key.
fn keyed(id: i64) -> bool {
    id % 2 == 0
}

struct Run<'a> {
    database: &'a Database,
    told: BTreeMap<i64, Told>,
    counts: Counts,
}

impl Run<'_> {
    /// Sends some writes; which of them were refused for want of room. No other error is right.
    async fn wave(&mut self, ids: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut refused = Vec::new();
        for (id, answer) in answers(self.database, ids, keyed).await {
            if let Err(error) = &answer {
                assert_eq!((error.code(), error.outcome()), ("storage", Outcome::NotExecuted), "{error}");
                assert!(error.is_retryable() && error.to_string().contains("disk is full"), "{error}");
                refused.push(id);
            }
            self.told.insert(id, told(answer));
        }
        self.counts.refused += refused.len();
        refused
    }

    async fn new_wave(&mut self) -> Vec<i64> {
        let next = self.told.last_key_value().map_or(0, |(id, _)| id + 1);
        self.wave(next..next + AT_ONCE).await
    }

    /// A read shows what was acknowledged, and nothing else.
    async fn read(&mut self) {
        // As many as there are rows, for none is ever removed; and quicker than counting them.
        let rows = self.database.query_as::<i64>("SELECT coalesce(max(rowid), 0) FROM pairs").await.unwrap();
        let committed = self.told.values().filter(|told| matches!(told, Told::Committed(_))).count();
        assert_eq!(rows, [2 * i64::try_from(committed).unwrap()]);
        self.counts.reads += 1;
    }

    async fn cycle(&mut self, fill: impl FnOnce(), make_room: impl FnOnce()) {
        assert_eq!(self.new_wave().await, NONE);
        fill();
        let mut waves = 0;
        let mut refused = loop {
            let refused = self.new_wave().await;
            self.read().await;
            if !refused.is_empty() {
                break refused;
            }
            waves += 1;
            assert!(waves < WAVES, "the disk was full and nothing was refused");
        };
        for _ in 0..2 {
            refused.extend(self.new_wave().await);
            self.read().await;
        }
        // Nobody waits for it, and there is no room for it to be kept in.
        let never_good = Transaction::new().then(broken_half(-1));
        self.database.enqueue(never_good).await.unwrap();
        self.database.flush().await.unwrap();
        make_room();
        // Refused means not executed, so they may be sent again, with a key or without.
        assert_eq!(self.wave(refused).await, NONE);
        assert_eq!(self.new_wave().await, NONE);
        self.read().await;
    }
}

async fn cycles(
    disk: &str,
    database: &Database,
    cycles: u64,
    mut fill: impl FnMut(),
    mut make_room: impl FnMut(),
) -> BTreeMap<i64, Told> {
    let mut run = Run { database, told: BTreeMap::new(), counts: Counts::default() };
    for _ in 0..cycles {
        run.cycle(&mut fill, &mut make_room).await;
    }
    let begun = Instant::now();
    while database.status().writer.buried < cycles {
        assert!(begun.elapsed() < LONGEST, "there is room, and what failed meanwhile is not kept");
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    let status = database.status();
    assert_eq!((status.writer.buried, status.writer.lost), (cycles, 0));
    assert_eq!((status.state, status.reason), (State::Running, None));
    assert_eq!((status.writer.restarts, status.readers.restarts), (0, 0), "a full disk is no writer's fault");
    assert!(database.shutdown().await.closed);
    run.counts.committed = run.told.values().filter(|told| matches!(told, Told::Committed(_))).count();
    let Counts { committed, refused, reads } = run.counts;
    report(
        "disk-full",
        &format!(
            "{disk}: {cycles} cycles; writes {committed} committed, {refused} refused; {cycles} dead letters; {reads} reads"
        ),
    );
    run.told
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_refuses_writes_until_there_is_room() {
    let count = rounds(20, 500);
    let Some(mount) = Mount::tmpfs("disk-full", (4 << 20) + count * (256 << 10)) else { return };
    let path = mount.path().join("test.db");
    let told = actix_rt::System::new().block_on(async {
        let database = workload::open_plainly(settings(&path)).await.unwrap();
        let fill = || drop(ballast(&mount.path()));
        let make_room = || std::fs::remove_file(mount.path().join("ballast")).unwrap();
        cycles("tmpfs", &database, count, fill, make_room).await
    });
    let untruths = untruths(&path, &told, |_| true);
    assert!(untruths.is_empty(), "{untruths:#?}");
}

#[test]
fn files_that_cannot_grow_refuse_writes_until_they_can() {
    let turn = Turn::take();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let told = actix_rt::System::new().block_on(async {
        let database = open(settings(&path)).await.unwrap();
        cycles("vfs", &database, rounds(20, 500), || turn.fill(), || turn.make_room()).await
    });
    let untruths = untruths(&path, &told, |_| true);
    assert!(untruths.is_empty(), "{untruths:#?}");
}
