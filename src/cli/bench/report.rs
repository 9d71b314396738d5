//! The figures, what follows from them, and how both are shown to people.

use std::fmt;

use serde::Serialize;

use super::super::table;
use super::advice::{self, Advice, InForce, Limit};
use super::rounds::name;
use crate::message::Value;
use crate::settings::Synchronous;
use crate::stats::WriterTime;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) version: &'static str,
    pub(super) sqlite_version: &'static str,
    pub(super) is_debug_build: bool,
    pub(super) directory: String,
    /// What each part of a round took.
    pub(super) seconds: f64,
    pub(super) rounds: u32,
    pub(super) fsync: Fsync,
    pub(super) one_by_one: Vec<OneByOne>,
    pub(super) writes: Vec<Writes>,
    pub(super) reads: Vec<Reads>,
}

/// Until a written page of 4 KiB is on the disk.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Fsync {
    pub(super) median_us: u64,
    pub(super) p99_us: u64,
}

/// A plain loop that commits each INSERT by itself.
#[derive(Debug, Serialize)]
pub(super) struct OneByOne {
    pub(super) synchronous: Synchronous,
    pub(super) per_second: Spread,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// Acknowledged inserts, each waited for by its caller.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Writes {
    pub(super) synchronous: Synchronous,
    pub(super) callers: usize,
    pub(super) per_second: Spread,
    /// Of a plain loop with batches of the same size.
    pub(super) plain_per_second: Spread,
    pub(super) of_plain: Spread,
    /// Of the same with `synchronous=FULL`, if that was measured too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) of_full: Option<Spread>,
    /// With the other linger, of this; none for one caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) other_linger: Option<Spread>,
    pub(super) mean_batch: f64,
    /// From sending to the receipt.
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    /// What a COMMIT took, on average.
    pub(super) us_per_commit: f64,
    /// What the writer spent on a write beside that, on average.
    pub(super) us_per_write: f64,
    #[serde(rename = "writer")]
    pub(super) shares: Shares,
}

/// Shares of the writer's time, which are 1 together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Shares {
    pub(super) commit: f64,
    pub(super) statements: f64,
    pub(super) maintenance: f64,
    pub(super) waiting: f64,
    /// Taking writes from the queue, and answering them.
    pub(super) queue: f64,
}

impl Shares {
    pub(super) fn of(time: WriterTime, wall_us: f64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "some hours at the most")]
        let share = |us: u64| rounded((us as f64 / wall_us.max(1.0)).min(1.0));
        let WriterTime { statements_us, commit_us, maintenance_us, waiting_us } = time;
        let [commit, statements, maintenance, waiting] =
            [commit_us, statements_us, maintenance_us, waiting_us].map(share);
        let queue = rounded((1.0 - commit - statements - maintenance - waiting).max(0.0));
        Self { commit, statements, maintenance, waiting, queue }
    }
}

/// Reads by key from the pool.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Reads {
    pub(super) threads: usize,
    pub(super) per_second: Spread,
    /// Of as many plain connections, on a thread each.
    pub(super) plain_per_second: Spread,
    pub(super) of_plain: Spread,
    /// Of as many threads as the settings say; none for these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) of_in_force: Option<Spread>,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// A figure in all rounds: its median and its extremes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |place: usize| figures.get(place).copied().unwrap_or_default();
        let last = figures.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median: rounded(median), least: rounded(at(0)), most: rounded(at(last)) }
    }
}

impl fmt::Display for Spread {
    /// With the precision asked for: `{:.2}`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(0);
        let Self { median, least, most } = self;
        write!(formatter, "{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}

/// To the digits that could mean something.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1e3).round() / 1e3
}

/// What was measured, and what follows from it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    figures: Figures,
    /// What limits the writes, in their order.
    limits: Vec<Limited>,
    settings: Vec<Advice>,
    conclusion: String,
    #[serde(skip)]
    pub(super) is_debug_build: bool,
}

#[derive(Debug, Serialize)]
struct Limited {
    synchronous: Synchronous,
    callers: usize,
    by: Limit,
    means: &'static str,
}

impl Figures {
    pub(super) fn conclude(self, in_force: &InForce) -> Report {
        let limited = |writes: &Writes| {
            let by = advice::limit(writes, self.fsync);
            Limited { synchronous: writes.synchronous, callers: writes.callers, by, means: by.meaning() }
        };
        let settings = advice::advise(&self, in_force);
        Report {
            limits: self.writes.iter().map(limited).collect(),
            conclusion: advice::conclusion(&settings),
            settings,
            is_debug_build: self.is_debug_build,
            figures: self,
        }
    }
}

impl Report {
    pub(super) fn as_text(&self) -> String {
        let figures = &self.figures;
        let Fsync { median_us, p99_us } = figures.fsync;
        let mut text = format!(
            "{} rounds of {} s for each figure, in {}; median (least to most)\n\
             one fsync of a written page takes {median_us} us (99 of 100: {p99_us} us)\n",
            figures.rounds, figures.seconds, figures.directory,
        );
        for (title, table) in [
            ("a plain loop that commits each INSERT by itself", self.one_by_one()),
            ("acknowledged inserts, each waited for by its caller", self.writes()),
            ("what the writer's time went into, and what limits it", self.limits()),
            ("reads by key from the pool, of 64 callers", self.reads()),
            ("settings", self.settings()),
        ] {
            text.extend(["\n", title, "\n", &table]);
        }
        text.extend(["\n", &self.conclusion, "\n"]);
        text
    }

    fn one_by_one(&self) -> String {
        let row = |figures: &OneByOne| {
            vec![
                name(figures.synchronous).into(),
                format!("{:.0}", figures.per_second).into(),
                integer(figures.p50_us),
                integer(figures.p99_us),
            ]
        };
        titled(&["synchronous", "writes/s", "p50, us", "p99, us"], self.figures.one_by_one.iter().map(row))
    }

    fn writes(&self) -> String {
        let row = |figures: &Writes| {
            vec![
                name(figures.synchronous).into(),
                integer(figures.callers as u64),
                format!("{:.0}", figures.per_second).into(),
                format!("{:.0}", figures.plain_per_second).into(),
                format!("{:.2}", figures.of_plain).into(),
                format!("{:.1}", figures.mean_batch).into(),
                integer(figures.p50_us),
                integer(figures.p99_us),
            ]
        };
        let names = [
            "synchronous",
            "callers",
            "writes/s",
            "plain loop, same batches",
            "of plain",
            "writes a batch",
            "p50, us",
            "p99, us",
        ];
        titled(&names, self.figures.writes.iter().map(row))
    }

    fn limits(&self) -> String {
        let percent = |share: f64| Value::from(format!("{:.0} %", share * 100.0));
        let row = |(figures, limited): (&Writes, &Limited)| {
            let Shares { commit, statements, maintenance, waiting, queue } = figures.shares;
            let mut row = vec![name(figures.synchronous).into(), integer(figures.callers as u64)];
            row.extend([commit, statements, maintenance, queue, waiting].map(percent));
            row.push(limited.means.into());
            row
        };
        let names = [
            "synchronous",
            "callers",
            "COMMIT",
            "statements",
            "checkpoints",
            "queue",
            "waiting",
            "limited by",
        ];
        titled(&names, self.figures.writes.iter().zip(&self.limits).map(row))
    }

    fn reads(&self) -> String {
        let row = |figures: &Reads| {
            vec![
                integer(figures.threads as u64),
                format!("{:.0}", figures.per_second).into(),
                format!("{:.0}", figures.plain_per_second).into(),
                format!("{:.2}", figures.of_plain).into(),
                integer(figures.p50_us),
                integer(figures.p99_us),
            ]
        };
        let names = ["threads", "reads/s", "as many plain connections", "of plain", "p50, us", "p99, us"];
        titled(&names, self.figures.reads.iter().map(row))
    }

    fn settings(&self) -> String {
        let row = |advice: &Advice| {
            let wanted = if advice.is_kept() { "keep" } else { &advice.recommended };
            vec![
                advice.setting.into(),
                advice.in_force.as_str().into(),
                wanted.into(),
                advice.why.as_str().into(),
            ]
        };
        titled(&["setting", "in force", "recommended", "why"], self.settings.iter().map(row))
    }
}

fn titled(columns: &[&str], rows: impl Iterator<Item = Vec<Value>>) -> String {
    let columns: Vec<_> = columns.iter().map(ToString::to_string).collect();
    table::rows(&columns, &rows.collect::<Vec<_>>())
}

fn integer(count: u64) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_extremes() {
        for (figures, shown) in [
            (&[3.0, 1.0, 2.0][..], "2.0 (1.0 to 3.0)"),
            (&[4.0, 1.0, 2.0, 3.0], "2.5 (1.0 to 4.0)"),
            (&[7.0], "7.0 (7.0 to 7.0)"),
            (&[], "0.0 (0.0 to 0.0)"),
        ] {
            assert_eq!(format!("{:.1}", Spread::of(figures.iter().copied())), shown);
        }
    }

    #[test]
    fn shares_are_one_together() {
        let time = WriterTime { statements_us: 200, commit_us: 300, maintenance_us: 50, waiting_us: 400 };
        let Shares { commit, statements, maintenance, waiting, queue } = Shares::of(time, 1_000.0);
        let shares = [commit, statements, maintenance, waiting, queue].map(|share| format!("{share:.2}"));
        assert_eq!(shares, ["0.30", "0.20", "0.05", "0.40", "0.05"]);
        // Clocks are read at different times.
        assert!(Shares::of(time, 940.0).queue.abs() < f64::EPSILON);
    }
}
