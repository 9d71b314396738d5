//! Tables: these figures, that advice.

use super::super::report::{OneByOne, Reads, Shares};
use super::*;

const FSYNC: Fsync = Fsync { median_us: 300, p99_us: 900 };

fn spread(median: f64) -> Spread {
    Spread { median, least: median * 0.95, most: median * 1.05 }
}

/// A COMMIT and a write that cost so many microseconds, in batches of so many.
fn writes(callers: usize, commit: f64, write: f64, batch: f64) -> Writes {
    Writes {
        synchronous: Synchronous::Full,
        callers,
        per_second: spread(batch * 1e6 / (commit + batch * write)),
        plain_per_second: spread(1.0),
        of_plain: spread(1.0),
        of_full: None,
        other_linger: None,
        mean_batch: batch,
        p50_us: 1,
        p99_us: 1,
        us_per_commit: commit,
        us_per_write: write,
        shares: Shares::default(),
    }
}

fn figures(writes: Vec<Writes>, reads: &[(usize, bool, f64)]) -> Figures {
    let set = reads.iter().find(|(_, is_in_force, _)| *is_in_force).map(|(_, _, rate)| *rate);
    let reads = reads.iter().map(|(threads, is_in_force, rate)| Reads {
        threads: *threads,
        of_in_force: set.filter(|_| !is_in_force).map(|set| spread(rate / set)),
        per_second: spread(*rate),
        plain_per_second: spread(1.0),
        of_plain: spread(1.0),
        p50_us: 1,
        p99_us: 1,
    });
    Figures {
        version: "",
        sqlite_version: "",
        is_debug_build: false,
        directory: String::new(),
        seconds: 1.0,
        rounds: 3,
        fsync: FSYNC,
        one_by_one: Vec::<OneByOne>::new(),
        writes,
        reads: reads.collect(),
    }
}

#[test]
fn the_largest_share_of_the_writers_time_is_the_limit() {
    let share = |commit, statements, maintenance, waiting, queue| Shares {
        commit,
        statements,
        maintenance,
        waiting,
        queue,
    };
    for (shares, synchronous, us_per_commit, expected) in [
        (share(0.6, 0.2, 0.1, 0.1, 0.0), Synchronous::Full, 400.0, Limit::Fsync),
        (share(0.6, 0.2, 0.1, 0.1, 0.0), Synchronous::Full, 4_000.0, Limit::Log),
        (share(0.6, 0.2, 0.1, 0.1, 0.0), Synchronous::Normal, 400.0, Limit::Log),
        (share(0.2, 0.6, 0.1, 0.1, 0.0), Synchronous::Full, 400.0, Limit::Statements),
        (share(0.2, 0.2, 0.5, 0.1, 0.0), Synchronous::Full, 400.0, Limit::Checkpoints),
        (share(0.2, 0.2, 0.1, 0.5, 0.0), Synchronous::Full, 400.0, Limit::Callers),
        (share(0.2, 0.2, 0.1, 0.1, 0.4), Synchronous::Full, 400.0, Limit::Queue),
    ] {
        let writes = Writes { synchronous, us_per_commit, shares, ..writes(64, 1.0, 1.0, 1.0) };
        assert_eq!(limit(&writes, FSYNC), expected, "{shares:?}");
    }
}

#[test]
fn a_queue_holds_a_few_batches_and_no_more_than_a_second() {
    for (commit, write, batch, max_writes, expected) in [
        // A fast disk, the defaults: 10 000 writes are done in a tenth of a second.
        (300.0, 10.0, 200.0, 10_000, None),
        // A slow disk: with full batches it is fast enough.
        (20_000.0, 10.0, 60.0, 10_000, None),
        // Statements of 2 ms each: 500 a second, whatever the batch.
        (20_000.0, 2_000.0, 60.0, 10_000, Some(400)),
        // Hardly a batch.
        (300.0, 10.0, 1_000.0, 1_500, Some(4_000)),
        // A second would be less than four batches.
        (1_000.0, 5_000.0, 200.0, 5_000, Some(800)),
    ] {
        let (wanted, why) = queue(&writes(64, commit, write, batch), max_writes, 1_000);
        assert_eq!(wanted, expected, "{commit} {write} {batch} {max_writes}: {why}");
    }
}

#[test]
fn batches_are_large_enough_for_a_cheap_commit_and_are_committed_soon() {
    for (commit, write, batch_now, max_batch, expected) in [
        // The defaults on a fast disk, cut or not.
        (300.0, 10.0, 64.0, 1_000, None),
        (300.0, 10.0, 1_000.0, 1_000, None),
        // A slow disk: larger only if batches are cut, and not so large that they take long.
        (20_000.0, 10.0, 64.0, 1_000, None),
        (20_000.0, 10.0, 1_000.0, 1_000, Some(8_000)),
        (300.0, 10.0, 32.0, 32, Some(200)),
        // Slow statements: a full batch would take 2 s.
        (300.0, 2_000.0, 64.0, 1_000, Some(40)),
        // A COMMIT of a second: nothing makes that soon, and a batch that waits for it may as well be full.
        (1_000_000.0, 10.0, 64.0, 1_000, None),
    ] {
        let (wanted, why) = batch(&writes(64, commit, write, batch_now), max_batch);
        assert_eq!(wanted, expected, "{commit} {write} {batch_now} {max_batch}: {why}");
    }
}

#[test]
fn the_other_linger_is_recommended_if_it_is_faster_somewhere_and_slower_nowhere() {
    let zero = Linger::Fixed(Duration::ZERO);
    for (ratios, in_force, rounds, expected, reason) in [
        (&[1.0, 1.05][..], Linger::Auto, 3, None, "no clear difference"),
        (&[1.3, 1.0], Linger::Auto, 3, Some("0ms"), "1.30 (1.23 to 1.37) times as much with 64 callers"),
        (&[1.3, 1.0], Linger::Auto, 1, None, "too few"),
        (&[1.3, 0.7], Linger::Auto, 3, None, "and less with"),
        (&[0.5, 1.0], Linger::Auto, 3, None, "only 0.50 (0.47"),
        (&[2.0, 1.0], zero, 3, Some("auto"), "auto does 2.00 ("),
        (&[2.0, 1.0], Linger::Fixed(Duration::from_millis(5)), 3, Some("0ms"), "0ms does"),
        (&[], Linger::Auto, 3, None, "no company"),
    ] {
        let rows: Vec<_> = ratios
            .iter()
            .enumerate()
            .map(|(place, ratio)| Writes {
                other_linger: Some(spread(*ratio)),
                ..writes(64 << place, 300.0, 10.0, 32.0)
            })
            .collect();
        let (wanted, why) = linger(&rows.iter().collect::<Vec<_>>(), in_force, rounds);
        assert_eq!(wanted.as_deref(), expected, "{ratios:?}: {why}");
        assert!(why.contains(reason), "{why}");
    }
    // Faster in the middle, but not in every round.
    let unsteady = Spread { median: 1.3, least: 0.9, most: 1.5 };
    let row = Writes { other_linger: Some(unsteady), ..writes(64, 300.0, 10.0, 32.0) };
    assert_eq!(linger(&[&row], Linger::Auto, 3).0, None);
}

#[test]
fn nobody_is_told_to_give_up_durability() {
    for (gain, in_force, expected) in [
        (Some(1.1), Synchronous::Full, None),
        (Some(9.0), Synchronous::Full, None),
        (Some(1.1), Synchronous::Normal, Some("full")),
        (Some(9.0), Synchronous::Normal, None),
        (Some(1.1), Synchronous::Off, Some("full")),
        (Some(9.0), Synchronous::Off, Some("normal")),
        (None, Synchronous::Normal, None),
    ] {
        let row = Writes { of_full: gain.map(spread), ..writes(64, 300.0, 10.0, 32.0) };
        let (wanted, why) = synchronous(&[row], in_force);
        assert_eq!(wanted.as_deref(), expected, "{gain:?} {in_force:?}: {why}");
    }
}

#[test]
fn readers_are_as_many_as_read_fastest_if_that_is_clear() {
    for (reads, in_force, expected) in [
        (&[(1, false, 50e3), (2, true, 52e3), (4, false, 53e3)][..], 0, None),
        (&[(1, false, 50e3), (2, true, 52e3), (4, false, 99e3)], 0, Some(4)),
        // The fewest of those that are as fast.
        (&[(1, false, 98e3), (2, true, 52e3), (4, false, 99e3)], 2, Some(1)),
        (&[], 0, None),
    ] {
        let (wanted, why) = readers(&figures(Vec::new(), reads), in_force);
        assert_eq!(wanted, expected, "{reads:?}: {why}");
    }
    let mut unsteady = figures(Vec::new(), &[(2, true, 50e3), (4, false, 70e3)]);
    unsteady.reads[1].of_in_force = Some(Spread { median: 1.4, least: 0.9, most: 1.6 });
    assert_eq!(readers(&unsteady, 0).0, None);
    let few = Figures { rounds: 1, ..figures(Vec::new(), &[(2, true, 50e3), (4, false, 70e3)]) };
    assert_eq!(readers(&few, 0).0, None);
}

#[test]
fn it_is_said_plainly_that_the_defaults_are_right() {
    let row = |callers, batch| Writes {
        other_linger: (callers > 1).then(|| spread(1.0)),
        ..writes(callers, 300.0, 10.0, batch)
    };
    let figures = figures(vec![row(1, 1.0), row(64, 60.0)], &[(1, false, 50e3), (2, true, 52e3)]);
    let defaults = InForce::of(&Settings::default());
    let advice = advise(&figures, &defaults);
    assert_eq!(advice.len(), 5, "{advice:#?}");
    assert!(advice.iter().all(Advice::is_kept), "{advice:#?}");
    assert_eq!(conclusion(&advice), "the defaults are right for this disk and this machine");

    let other = InForce { max_writes: 20_000, ..defaults.clone() };
    let kept = advise(&figures, &other);
    assert_eq!(conclusion(&kept), "the settings in force are right for this disk and this machine");

    let small = InForce { max_batch_writes: 32, ..defaults };
    let figures = Figures { writes: vec![row(64, 32.0)], ..figures };
    let changed = advise(&figures, &small);
    let expected = "recommended here: writer.max_batch_writes = 200; the other settings are right";
    // Rounded down to one digit: 9 x 300 / 10 = 270.
    assert_eq!(conclusion(&changed), expected);
}

#[test]
fn recommended_numbers_have_one_digit() {
    for (number, expected) in
        [(0.3, 1), (1.0, 1), (9.9, 9), (10.0, 10), (270.0, 200), (1_000.0, 1_000), (123_456.0, 100_000)]
    {
        assert_eq!(tidy(number), expected, "{number}");
    }
}
