//! The file system is shut down under the database while writes go on, unmounted, mounted again: every acknowledged
//! write is there. This is the promise of `synchronous=FULL` against a real file system: what was not synced is gone with
//! the page cache.
//!
//! One file lives through all rounds. As a control, `synchronous=OFF` has to lose writes.
//!
//! Linux may say of the one fsync that is under way while ext4 is shut down that it went well, and yet its data are gone
//! (seen on 6.18, with the calls traced). So what was answered after the shutdown began may be missing, up to the one
//! batch of that fsync; what was answered before may not.

use std::cell::RefCell;
use std::collections::BTreeMap;

use actix_sqlite::settings::Synchronous;
use futures_util::future::join_all;

use crate::mount::{Flush, Mount};
use crate::support::{Random, report, rounds, skipped};
use crate::workload::{Told, answers, halves, open_plainly, settings, told, untruths};

/// As the settings have it.
const BATCH: usize = 4;

const ROW: &str = "fs-shutdown";
const CALLERS: i64 = 4;
const AT_ONCE: i64 = 4;

/// When a write was acknowledged, as [`Told::Committed`] has it.
const BEFORE: usize = 0;
const DURING: usize = 1;

/// Far more than are ever sent by one caller.
const IDS: i64 = 1_000_000;

#[derive(Default)]
struct Counts {
    committed: usize,
    not_executed: usize,
    unknown: usize,
    there_after_all: usize,
    /// Acknowledged while the file system was being shut down, and not there.
    during: usize,
}

struct Disk {
    mount: Mount,
    synchronous: Synchronous,
    /// Of all rounds.
    told: BTreeMap<i64, Told>,
    counts: Counts,
}

impl Disk {
    fn new(synchronous: Synchronous, bytes: u64) -> Option<Self> {
        let mut mount = Mount::ext4(ROW, bytes)?;
        if let Err(error) = mount.shut_down(Flush::Everything) {
            skipped(&format!("{ROW}: this file system cannot be shut down: {error}"));
            return None;
        }
        mount.unmount();
        mount.mount().unwrap();
        Some(Self { mount, synchronous, told: BTreeMap::new(), counts: Counts::default() })
    }

    /// Writes until the file system is gone; the lies that were told, as the disk shows them.
    fn round(&mut self, random: &mut Random) -> Vec<String> {
        let path = self.mount.path().join("test.db");
        let mut settings = settings(&path);
        settings.database.synchronous = self.synchronous;
        let flush = match random.below(4) {
            0 => Flush::Everything,
            1 => Flush::TheJournal,
            _ => Flush::Nothing,
        };
        let acknowledged_before = random.below(60);
        let first = self.told.last_key_value().map_or(0, |(id, _)| id + 1);
        let round = RefCell::new(BTreeMap::new());
        actix_rt::System::new().block_on(async {
            let database = open_plainly(settings).await.unwrap();
            let shut_down = RefCell::new(false);
            let caller = async |caller: i64| {
                for wave in 0.. {
                    let begin = first + (wave * CALLERS + caller) * AT_ONCE;
                    let answers = answers(&database, begin..begin + AT_ONCE, |_| false).await;
                    let failed = answers.iter().any(|(_, answer)| answer.is_err());
                    let when = if *shut_down.borrow() { DURING } else { BEFORE };
                    round.borrow_mut().extend(answers.into_iter().map(|(id, answer)| match told(answer) {
                        Told::Committed(_) => (id, Told::Committed(when)),
                        told => (id, told),
                    }));
                    if failed {
                        assert!(*shut_down.borrow(), "a write failed before anything was wrong");
                        break;
                    }
                    assert!(begin - first < IDS, "nothing fails, and yet the file system is shut down");
                    // While the others' writes are under way.
                    if !*shut_down.borrow() && round.borrow().len() >= acknowledged_before {
                        *shut_down.borrow_mut() = true;
                        self.mount.shut_down(flush).unwrap();
                    }
                }
            };
            join_all((0..CALLERS).map(caller)).await;
            database.shutdown().await;
        });
        let round = round.into_inner();
        assert!(round.values().any(|told| !matches!(told, Told::Committed(_))), "it was not shut down");
        self.told.extend(round.iter().map(|(id, told)| (*id, *told)));
        self.mount.unmount();
        self.mount.mount().unwrap();
        let mut untruths = untruths(&path, &self.told, |when| when == BEFORE);
        let there = halves(&path).unwrap_or_default();
        let mut during = 0;
        for (id, told) in round {
            let is_there = there.contains_key(&id);
            match told {
                Told::Committed(when) => {
                    self.counts.committed += 1;
                    during += usize::from(when == DURING && !is_there);
                }
                Told::NotExecuted => self.counts.not_executed += 1,
                Told::Unknown => {
                    self.counts.unknown += 1;
                    self.counts.there_after_all += usize::from(is_there);
                }
            }
            // From here on it is certain.
            self.told.insert(id, if is_there { Told::Committed(BEFORE) } else { Told::NotExecuted });
        }
        self.counts.during += during;
        if during > BATCH {
            untruths.push(format!("{during} writes of the last fsync, and a batch is {BATCH}"));
        }
        untruths
    }
}

#[test]
fn what_was_acknowledged_survives_the_file_system_being_shut_down() {
    let count = rounds(30, 500);
    let Some(mut disk) = Disk::new(Synchronous::Full, (32 << 20) + count * (1 << 20)) else { return };
    let mut random = Random::seeded(6);
    for round in 0..count {
        let untruths = disk.round(&mut random);
        assert!(untruths.is_empty(), "round {round}: {untruths:#?}");
    }
    let Counts { committed, not_executed, unknown, there_after_all, during } = disk.counts;
    report(
        ROW,
        &format!(
            "{count} rounds on ext4; writes {committed} committed, {not_executed} not executed, {unknown} unknown, \
             {there_after_all} of them there after all; {during} gone whose fsync went well during the shutdown"
        ),
    );
}

#[test]
fn the_check_has_teeth_for_what_was_not_synced() {
    let Some(mut disk) = Disk::new(Synchronous::Off, 64 << 20) else { return };
    let mut random = Random::from_seed(6);
    let untruths = (0..5).find_map(|_| Some(disk.round(&mut random)).filter(|untruths| !untruths.is_empty()));
    let untruths = untruths.expect("OFF lost nothing");
    println!("OFF: {} untruths", untruths.len());
}
