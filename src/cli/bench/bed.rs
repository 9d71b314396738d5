//! One level of `synchronous` at one number of callers: our database, the same with the other linger, and a plain loop, each
//! on a file of its own, and what they did so far.

use std::time::{Duration, Instant};

use super::super::failure::Failure;
use super::advice;
use super::load::{self, Latencies, Plain, Span, latencies, rate};
use super::report::{Shares, Spread, Writes, rounded};
use super::rounds::{Work, name};
use crate::settings::Synchronous;
use crate::stats::WriterTime;
use crate::{Database, Linger};

/// One level of `synchronous` at one number of callers.
pub(super) struct Bed {
    synchronous: Synchronous,
    ours: Database,
    /// The same with the other linger.
    pub(super) other: Option<Database>,
    plain: Plain,
    taken: Latencies,
    /// Writes of a batch of ours in the last turn, on average.
    batch: usize,
    pub(super) rates: [Vec<f64>; 3],
    done: Done,
}

/// Who takes turns, by the place of its rates.
pub(super) const OURS: usize = 0;
pub(super) const PLAIN: usize = 1;
const OTHER: usize = 2;

/// What one of our databases did.
#[derive(Default, Clone, Copy)]
struct Done {
    writes: usize,
    commits: u64,
    elapsed: Duration,
    /// Of the writer, and the clock's beside it.
    time: WriterTime,
    wall: Duration,
}

impl Done {
    fn add(&mut self, part: Self) {
        self.writes += part.writes;
        self.commits += part.commits;
        self.elapsed += part.elapsed;
        self.wall += part.wall;
        self.time.statements_us += part.time.statements_us;
        self.time.commit_us += part.time.commit_us;
        self.time.maintenance_us += part.time.maintenance_us;
        self.time.waiting_us += part.time.waiting_us;
    }

    fn rate(&self) -> f64 {
        rate(self.writes, self.elapsed)
    }

    fn batch(&self) -> usize {
        self.writes / usize::try_from(self.commits).unwrap_or(1).max(1)
    }
}

impl Bed {
    pub(super) async fn open(work: &Work<'_>, level: Synchronous, callers: usize) -> Result<Self, Failure> {
        let of = |who: &str, linger: Option<Linger>| {
            let file = format!("{who}-{}-{callers}.db", name(level));
            work.plan.with(&file, |settings| {
                settings.database.synchronous = level;
                settings.writer.linger = linger.unwrap_or(settings.writer.linger);
            })
        };
        let plain = of("plain", None);
        let plain = Plain::open(&plain.database.path, &plain, &work.lines)?;
        let ours = Database::open(of("ours", None)).await?;
        let other = advice::other_linger(work.plan.settings.writer.linger);
        let other = match callers {
            // One caller never has company.
            1 => None,
            _ => Some(Database::open(of("other", Some(other))).await?),
        };
        let (taken, rates) = (latencies()?, [Vec::new(), Vec::new(), Vec::new()]);
        Ok(Self { synchronous: level, ours, other, plain, taken, batch: 1, rates, done: Done::default() })
    }

    pub(super) async fn warm_up(&mut self, work: &Work<'_>, callers: usize) -> Result<(), Failure> {
        let unheard = latencies()?;
        let part = work.plan.part / 5;
        for database in [Some(&self.ours), self.other.as_ref()].into_iter().flatten() {
            let done = run(work, database, callers, &unheard, work.span("warming up", part)).await?;
            self.batch = done.batch();
        }
        Ok(())
    }

    pub(super) async fn turn(&mut self, work: &Work<'_>, callers: usize, who: usize) -> Result<(), Failure> {
        let what = |who: &str| format!("{who}, {}, {callers} callers", name(self.synchronous));
        let part = work.plan.part;
        let rate = match (who, &self.other) {
            (PLAIN, _) => {
                let span = work.span(what("plain loop"), part);
                self.plain.writes(self.batch, span).await?.0
            }
            (OTHER, Some(other)) => {
                let unheard = latencies()?;
                let span = work.span(what("inserts, other linger"), part);
                run(work, other, callers, &unheard, span).await?.rate()
            }
            _ => {
                let span = work.span(what("inserts"), part);
                let done = run(work, &self.ours, callers, &self.taken, span).await?;
                self.batch = done.batch();
                self.done.add(done);
                done.rate()
            }
        };
        self.rates[who].push(rate);
        work.ended()
    }

    pub(super) fn figures(&self, callers: usize) -> Writes {
        let [ours, plain, other] = &self.rates;
        let Done { writes, commits, time, wall, .. } = self.done;
        let wall = wall.as_secs_f64() * 1e6;
        let [writes, commits] = [writes, usize::try_from(commits).unwrap_or(0)].map(|count| {
            #[allow(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^52")]
            let count = count.max(1) as f64;
            count
        });
        let shares = Shares::of(time, wall);
        Writes {
            synchronous: self.synchronous,
            callers,
            per_second: Spread::of(ours.iter().copied()),
            plain_per_second: Spread::of(plain.iter().copied()),
            of_plain: ratios(ours, plain),
            of_full: None,
            other_linger: self.other.as_ref().map(|_| ratios(other, ours)),
            mean_batch: rounded(writes / commits),
            p50_us: self.taken.borrow().value_at_quantile(0.5),
            p99_us: self.taken.borrow().value_at_quantile(0.99),
            us_per_commit: rounded(shares.commit * wall / commits),
            us_per_write: rounded((1.0 - shares.commit - shares.waiting).max(0.0) * wall / writes),
            shares,
        }
    }

    pub(super) async fn close(self) {
        for database in [Some(self.ours), self.other].into_iter().flatten() {
            database.shutdown().await;
        }
    }
}

/// Inserts, and what the writer says of them.
async fn run(
    work: &Work<'_>,
    database: &Database,
    callers: usize,
    taken: &Latencies,
    span: Span,
) -> Result<Done, Failure> {
    // Ends the wait that began when the part before ended.
    database.flush().await?;
    let (begun, before) = (Instant::now(), database.status().writer);
    let (writes, elapsed) = load::writes(database, callers, &work.lines, taken, span).await?;
    // The last batch is counted when all of it is answered; a flush itself commits nothing.
    database.flush().await?;
    let (wall, after) = (begun.elapsed(), database.status().writer);
    let (then, now) = (before.time, after.time);
    let time = WriterTime {
        statements_us: now.statements_us - then.statements_us,
        commit_us: now.commit_us - then.commit_us,
        maintenance_us: now.maintenance_us - then.maintenance_us,
        waiting_us: now.waiting_us - then.waiting_us,
    };
    Ok(Done { writes, commits: after.last_commit - before.last_commit, elapsed, time, wall })
}

/// Of each round.
pub(super) fn ratios(these: &[f64], to: &[f64]) -> Spread {
    Spread::of(these.iter().zip(to).map(|(this, to)| this / to))
}
