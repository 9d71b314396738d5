//! What is measured in which turn. What is compared runs one after the other in each round, in an order that changes from
//! round to round, so that a busy machine is busy for all of it alike, and nobody always runs into the same mess.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::super::failure::Failure;
use super::advice::InForce;
use super::bed::{Bed, OURS, PLAIN, ratios};
use super::load::{self, Latencies, Lines, Plain, Span, Stop, latencies, rate};
use super::report::{Figures, Fsync, OneByOne, Reads, Report, Spread, Writes};
use crate::Database;
use crate::settings::{Settings, Synchronous};

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

    pub(super) fn with(&self, file: &str, adjust: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = self.settings.clone();
        settings.database.path = self.directory.join(file);
        adjust(&mut settings);
        settings
    }
}

/// The work on it.
pub(super) struct Work<'a> {
    pub(super) plan: &'a Plan<'a>,
    stop: Stop,
    pub(super) lines: Arc<Lines>,
    progress: ProgressBar,
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
    pub(super) fn span(&self, what: impl Into<std::borrow::Cow<'static, str>>, time: Duration) -> Span {
        self.progress.set_message(what);
        Span::new(time, &self.stop)
    }

    /// A part has ended.
    pub(super) fn ended(&self) -> Result<(), Failure> {
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
        let in_force = counts.iter().position(|threads| *threads == in_force).unwrap_or(0);
        let figures = counts.iter().zip(&rates).zip(&taken).map(|((threads, [ours, plain]), taken)| Reads {
            threads: *threads,
            per_second: Spread::of(ours.iter().copied()),
            plain_per_second: Spread::of(plain.iter().copied()),
            of_plain: ratios(ours, plain),
            of_in_force: (*threads != counts[in_force]).then(|| ratios(ours, &rates[in_force][OURS])),
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

/// The places of so many, beginning with another one each round.
pub(super) fn turns(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |place| (place + round) % count)
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
