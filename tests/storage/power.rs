//! Power goes after any operation. From the log of what was written and synced the disk is rebuilt under five models of
//! loss; on each image every acknowledged write is there, whole, and no other write by halves. So are leases, of which those
//! that were not committed are absent; and what nobody waits for is there or a dead letter once it is settled, never both.
//!
//! The promise holds provided the disk honours fsync, which all five models do. As a control, `synchronous=OFF` must be
//! caught, and `NORMAL` must lose acknowledged writes: else the check has no teeth.

use actix_sqlite::settings::Synchronous;

use crate::disk::{LOSSES, Recorded};
use crate::mixed::{Sent, send, untruths};
use crate::support::{Random, report, rounds, seeds};
use crate::vfs::Turn;
use crate::workload::{open, settings};

/// What was written during a run, and what callers were told.
struct Run {
    recorded: Recorded,
    /// How many operations the making of the file took; power goes after those.
    opened: usize,
    sent: Sent,
}

fn record(turn: &Turn, synchronous: Synchronous, writes: i64) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let mut settings = settings(&path);
    settings.database.synchronous = synchronous;
    actix_rt::System::new().block_on(async {
        turn.start_log();
        let database = open(settings).await.unwrap();
        let opened = Turn::log_len();
        let mut sent = Sent::default();
        for first in (0..writes).step_by(5) {
            sent.extend(send(&database, first..first + 5, |_| false).await);
            sent.settle(&database).await;
        }
        let recorded = Recorded::new(turn.end_log());
        assert!(sent.is_well(), "{sent:?}");
        database.shutdown().await;
        Run { recorded, opened, sent }
    })
}

struct Verdict {
    images: usize,
    untruths: Vec<String>,
}

/// Images after every `step`-th operation.
fn survey(synchronous: Synchronous, seed: u64, writes: i64, step: usize) -> Verdict {
    let turn = Turn::take();
    let run = record(&turn, synchronous, writes);
    let place = tempfile::tempdir().unwrap();
    let mut random = Random::from_seed(seed);
    let mut verdict = Verdict { images: 0, untruths: Vec::new() };
    let first = run.opened + random.below(step);
    for count in (first..=run.recorded.ops.len()).step_by(step) {
        for loss in LOSSES {
            verdict.images += 1;
            let path = run.recorded.restore(count, loss, &mut random, place.path());
            let acknowledged = |answered| answered != 0 && answered <= count;
            for untruth in untruths(&path, &run.sent, acknowledged) {
                verdict.untruths.push(format!("after {count} operations, {loss:?}: {untruth}"));
            }
        }
    }
    verdict
}

#[test]
fn an_acknowledged_write_survives_a_power_loss_after_any_operation() {
    let mut images = 0;
    for seed in seeds(rounds(10, 1_000)) {
        let verdict = survey(Synchronous::Full, seed, 200, 9);
        assert!(verdict.untruths.is_empty(), "SEED={seed}: {:#?}", verdict.untruths);
        images += verdict.images;
    }
    report("power-loss", &format!("{images} images, nothing lost"));
    assert!(images > 1_000, "only {images} images");
}

#[test]
fn the_check_has_teeth() {
    let off = survey(Synchronous::Off, 1, 100, 5);
    assert!(
        off.untruths.iter().any(|untruth| untruth.contains("integrity")
            || untruth.contains("cannot be read")
            || untruth.contains("halves")),
        "OFF was not caught"
    );
    let normal = survey(Synchronous::Normal, 1, 100, 5);
    let lost = normal.untruths.iter().filter(|untruth| untruth.contains("0 halves")).count();
    assert!(lost > 0, "NORMAL lost nothing");
    let inconsistent = normal.untruths.len() - lost;
    assert_eq!(inconsistent, 0, "NORMAL keeps the file consistent: {:#?}", normal.untruths);
    println!(
        "OFF: {} untruths in {} images; NORMAL: {lost} lost in {}",
        off.untruths.len(),
        off.images,
        normal.images
    );
}
