//! What is measured in which turn. What is compared runs one after the other in each round, in an order that changes from
//! round to round, so that a busy machine is busy for all of it alike, and nobody always runs into the same mess.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::super::failure::Failure;
use super::advice::{self, InForce};
use super::load::{self, Latencies, Lines, Plain, Span, Stop, latencies, rate};
use super::report::{Figures, Fsync, OneByOne, Reads, Report, Shares, Spread, Writes, rounded};
use crate::settings::{Settings, Synchronous};
use crate::stats::WriterTime;
use crate::{Database, Linger};

/// What is to be measured.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    /// Where the files go.
    pub(super) directory: &'a Path,
    pub(super) part: Duration,
    pub(super) rounds: u32,
    pub(super) callers: Vec<usize>,
    pub(super) levels: &'static [Synchronous],
}

/// Rows of the file that is read.
const ROWS: usize = 10_000;
/// Who reads them at once.
const READING_CALLERS: usize = 64;

impl Plan<'_> {
    pub(super) async fn measure(&self) -> Result<Report, Failure> {
        let work = Work {
            plan: self,
            stop: Stop::listen()?,
            lines: Arc::new(Lines::new()),
            progress: progress(self.parts()),
        };
        let figures = work.figures().await;
        work.progress.finish_and_clear();
        let in_force = InForce::of(self.settings);
        Ok(figures?.conclude(&in_force))
    }

    fn parts(&self) -> u64 {
        let (rounds, levels) = (self.rounds as usize, self.levels.len());
        let contenders: usize = self.callers.iter().map(|callers| if *callers > 1 { 3 } else { 2 }).sum();
        let parts = 1 + rounds * (levels + levels * contenders + 2 * self.thread_counts().len());
        parts as u64
    }

    /// The number of readers that the settings say, and half and twice as many.
    fn thread_counts(&self) -> Vec<usize> {
        let threads = self.settings.readers.thread_count();
        let mut counts = vec![(threads / 2).max(1), threads, threads * 2];
        counts.dedup();
        counts
    }

    fn with(&self, file: &str, adjust: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = self.settings.clone();
        settings.database.path = self.directory.join(file);
        adjust(&mut settings);
        settings
    }
}

/// The work on it.
struct Work<'a> {
    plan: &'a Plan<'a>,
    stop: Stop,
    lines: Arc<Lines>,
    progress: ProgressBar,
}

/// One level of `synchronous` at one number of callers.
struct Bed {
    synchronous: Synchronous,
    ours: Database,
    /// The same with the other linger.
    other: Option<Database>,
    plain: Plain,
    taken: Latencies,
    /// Writes of a batch of ours in the last turn, on average.
    batch: usize,
    rates: [Vec<f64>; 3],
    done: Done,
}

/// Who takes turns, by the place of its rates.
const OURS: usize = 0;
const PLAIN: usize = 1;
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

impl Work<'_> {
    async fn figures(&self) -> Result<Figures, Failure> {
        let Plan { settings, directory, part, rounds, .. } = *self.plan;
        let log = settings.database.wal_checkpoint_size.as_u64();
        let taken = load::fsyncs(directory, log, self.span("fsync", part)).await?;
        self.ended()?;
        let one_by_one = self.one_by_one().await?;
        self.clear();
        let mut writes = Vec::new();
        for callers in &self.plan.callers {
            writes.extend(self.writes(*callers).await?);
        }
        let at = |quantile| taken.value_at_quantile(quantile);
        Ok(Figures {
            version: env!("CARGO_PKG_VERSION"),
            sqlite_version: rusqlite::version(),
            is_debug_build: cfg!(debug_assertions),
            directory: directory.parent().unwrap_or(directory).display().to_string(),
            seconds: part.as_secs_f64(),
            rounds,
            fsync: Fsync { median_us: at(0.5), p99_us: at(0.99) },
            one_by_one,
            writes,
            reads: self.reads().await?,
        })
    }

    /// A part begins.
    fn span(&self, what: impl Into<std::borrow::Cow<'static, str>>, time: Duration) -> Span {
        self.progress.set_message(what);
        Span::new(time, &self.stop)
    }

    /// A part has ended.
    fn ended(&self) -> Result<(), Failure> {
        self.progress.inc(1);
        self.stop.check()
    }

    /// Removes the files that were closed: the next ones need the room.
    fn clear(&self) {
        let Ok(entries) = std::fs::read_dir(self.plan.directory) else { return };
        for entry in entries.flatten() {
            // What cannot be removed now goes with its directory.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    async fn one_by_one(&self) -> Result<Vec<OneByOne>, Failure> {
        let mut loops = Vec::new();
        for level in self.plan.levels {
            let file = format!("one-by-one-{}.db", name(*level));
            let settings = self.plan.with(&file, |settings| settings.database.synchronous = *level);
            let plain = Plain::open(&settings.database.path, &settings, &self.lines)?;
            loops.push((*level, plain, Vec::new(), load::histogram()?));
        }
        for round in 0..self.plan.rounds as usize {
            for place in turns(loops.len(), round) {
                let (level, plain, rates, all) = &mut loops[place];
                let span = self.span(format!("plain loop, {}", name(*level)), self.plan.part);
                let (rate, taken) = plain.writes(1, span).await?;
                self.ended()?;
                rates.push(rate);
                // Both have three digits, and grow.
                let _ = all.add(&taken);
            }
        }
        let figures = loops.into_iter().map(|(synchronous, _, rates, all)| OneByOne {
            synchronous,
            per_second: Spread::of(rates),
            p50_us: all.value_at_quantile(0.5),
            p99_us: all.value_at_quantile(0.99),
        });
        Ok(figures.collect())
    }

    async fn writes(&self, callers: usize) -> Result<Vec<Writes>, Failure> {
        let mut beds = Vec::new();
        let measured = self.writes_in(&mut beds, callers).await;
        let (rates, figures) = (
            beds.iter().map(|bed| bed.rates[OURS].clone()).collect::<Vec<_>>(),
            beds.iter().map(|bed| bed.figures(callers)).collect::<Vec<_>>(),
        );
        for bed in beds {
            bed.close().await;
        }
        self.clear();
        measured?;
        let full = figures.iter().position(|figures| figures.synchronous == Synchronous::Full);
        let with_full = |(place, mut figures): (usize, Writes)| {
            if let Some(full) = full.filter(|full| *full != place) {
                figures.of_full = Some(ratios(&rates[place], &rates[full]));
            }
            figures
        };
        Ok(figures.into_iter().enumerate().map(with_full).collect())
    }

    async fn writes_in(&self, beds: &mut Vec<Bed>, callers: usize) -> Result<(), Failure> {
        for level in self.plan.levels {
            beds.push(Bed::open(self, *level, callers).await?);
        }
        for bed in beds.iter_mut() {
            bed.warm_up(self, callers).await?;
        }
        for round in 0..self.plan.rounds as usize {
            for place in turns(beds.len(), round) {
                let bed = &mut beds[place];
                for who in turns(if bed.other.is_some() { 3 } else { 2 }, round) {
                    bed.turn(self, callers, who).await?;
                }
            }
        }
        Ok(())
    }

    /// From each number of threads in turn, and from as many plain connections.
    async fn reads(&self) -> Result<Vec<Reads>, Failure> {
        let counts = self.plan.thread_counts();
        let settings = self.plan.with("reads.db", |_| {});
        let path = &settings.database.path;
        self.progress.set_message("rows to read");
        Plain::open(path, &settings, &self.lines)?.fill(ROWS).await?;
        let mut rates = vec![[Vec::new(), Vec::new()]; counts.len()];
        let taken = counts.iter().map(|_| latencies()).collect::<Result<Vec<_>, _>>()?;
        for round in 0..self.plan.rounds as usize {
            for place in turns(counts.len(), round) {
                let mut settings = settings.clone();
                settings.readers.threads = counts[place];
                let database = Database::open(settings).await?;
                let done = self.reads_in(&database, counts[place], &taken[place], path).await;
                database.shutdown().await;
                let (ours, plain) = done?;
                rates[place][OURS].push(ours);
                rates[place][PLAIN].push(plain);
            }
        }
        let in_force = self.plan.settings.readers.thread_count();
        let figures = counts.iter().zip(&rates).zip(&taken).map(|((threads, [ours, plain]), taken)| Reads {
            threads: *threads,
            is_in_force: *threads == in_force,
            per_second: Spread::of(ours.iter().copied()),
            plain_per_second: Spread::of(plain.iter().copied()),
            of_plain: ratios(ours, plain),
            p50_us: taken.borrow().value_at_quantile(0.5),
            p99_us: taken.borrow().value_at_quantile(0.99),
        });
        Ok(figures.collect())
    }

    async fn reads_in(
        &self,
        database: &Database,
        threads: usize,
        taken: &Latencies,
        path: &Path,
    ) -> Result<(f64, f64), Failure> {
        let (part, what) = (self.plan.part, format!("reads, {threads} threads"));
        let unheard = latencies()?;
        load::reads(database, READING_CALLERS, ROWS, &unheard, self.span(what.clone(), part / 5)).await?;
        let (count, elapsed) =
            load::reads(database, READING_CALLERS, ROWS, taken, self.span(what, part)).await?;
        self.ended()?;
        let span = self.span(format!("plain reads, {threads} threads"), part);
        let plain = load::plain_reads(PathBuf::from(path), threads, ROWS, span).await?;
        self.ended()?;
        Ok((rate(count, elapsed), plain))
    }
}

impl Bed {
    async fn open(work: &Work<'_>, level: Synchronous, callers: usize) -> Result<Self, Failure> {
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

    async fn warm_up(&mut self, work: &Work<'_>, callers: usize) -> Result<(), Failure> {
        let unheard = latencies()?;
        let part = work.plan.part / 5;
        for database in [Some(&self.ours), self.other.as_ref()].into_iter().flatten() {
            let done = run(work, database, callers, &unheard, work.span("warming up", part)).await?;
            self.batch = done.batch();
        }
        Ok(())
    }

    async fn turn(&mut self, work: &Work<'_>, callers: usize, who: usize) -> Result<(), Failure> {
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

    fn figures(&self, callers: usize) -> Writes {
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

    async fn close(self) {
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

/// The places of so many, beginning with another one each round.
fn turns(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + round) % count)
}

fn ratios(these: &[f64], to: &[f64]) -> Spread {
    Spread::of(these.iter().zip(to).map(|(this, to)| this / to))
}

pub(super) fn name(level: Synchronous) -> &'static str {
    match level {
        Synchronous::Full => "full",
        Synchronous::Normal => "normal",
        Synchronous::Off => "off",
    }
}

/// Parts on stderr; nothing unless that is a terminal.
fn progress(parts: u64) -> ProgressBar {
    let bar = ProgressBar::new(parts);
    match ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
