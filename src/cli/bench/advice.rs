//! What follows from the figures: what limits the writer, and which settings would do better. Functions of their
//! arguments, with tables of tests below; nothing is recommended that was not measured.

use std::time::Duration;

use serde::Serialize;

use super::report::{Figures, Fsync, Spread, Writes};
use super::rounds::name;
use crate::Linger;
use crate::settings::{Settings, Synchronous};

/// What most of the writer's time goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    Fsync,
    Log,
    Statements,
    Checkpoints,
    Queue,
    Callers,
}

impl Limit {
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Fsync => "fsync: the disk, once a COMMIT",
            Self::Log => "COMMIT: how much is written to the log",
            Self::Statements => "CPU: SQLite runs the statements",
            Self::Checkpoints => "checkpoints: moving the log into the file",
            Self::Queue => "queue: taking writes from it, and answering them",
            Self::Callers => "callers: the writer waits for them, and so for their CPU",
        }
    }
}

/// What limits these writes.
pub(super) fn limit(writes: &Writes, fsync: Fsync) -> Limit {
    let shares = writes.shares;
    #[allow(clippy::cast_precision_loss, reason = "a minute at the most")]
    let is_synced = writes.synchronous == Synchronous::Full
        // Most of a COMMIT is waiting for the disk.
        && fsync.median_us as f64 >= writes.us_per_commit / 2.0;
    [
        (shares.commit, if is_synced { Limit::Fsync } else { Limit::Log }),
        (shares.statements, Limit::Statements),
        (shares.maintenance, Limit::Checkpoints),
        (shares.queue, Limit::Queue),
        (shares.waiting, Limit::Callers),
    ]
    .into_iter()
    .max_by(|(one, _), (other, _)| one.total_cmp(other))
    .map_or(Limit::Callers, |(_, limit)| limit)
}

/// The settings that are judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InForce {
    pub(super) max_writes: usize,
    pub(super) max_batch_writes: usize,
    pub(super) linger: Linger,
    pub(super) synchronous: Synchronous,
    /// As set: 0 is one a core.
    pub(super) readers: usize,
}

impl InForce {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            max_writes: settings.queue.max_writes.get(),
            max_batch_writes: settings.writer.max_batch_writes.get(),
            linger: settings.writer.linger,
            synchronous: settings.database.synchronous,
            readers: settings.readers.threads,
        }
    }
}

/// A setting, and what it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Advice {
    pub(super) setting: &'static str,
    pub(super) in_force: String,
    pub(super) recommended: String,
    pub(super) is_default: bool,
    pub(super) why: String,
}

impl Advice {
    pub(super) fn is_kept(&self) -> bool {
        self.in_force == self.recommended
    }
}

/// What each of the settings should be.
pub(super) fn advise(figures: &Figures, in_force: &InForce) -> Vec<Advice> {
    let defaults = InForce::of(&Settings::default());
    let of_level: Vec<_> = {
        let is_judged = |writes: &&Writes| writes.synchronous == in_force.synchronous;
        let judged: Vec<_> = figures.writes.iter().filter(is_judged).collect();
        // The level in force was not measured: another one tells as much about the rest.
        if judged.is_empty() { figures.writes.iter().collect() } else { judged }
    };
    let fastest =
        of_level.iter().max_by(|one, other| one.per_second.median.total_cmp(&other.per_second.median));
    let mut advice = Vec::new();
    let mut say =
        |setting, in_force: String, default: String, (recommended, why): (Option<String>, String)| {
            let recommended = recommended.unwrap_or_else(|| in_force.clone());
            advice.push(Advice { setting, is_default: in_force == default, in_force, recommended, why });
        };
    if let Some(fastest) = fastest {
        let (set, default) = (in_force.max_writes, defaults.max_writes);
        let wanted = number(queue(fastest, set, in_force.max_batch_writes));
        say("queue.max_writes", set.to_string(), default.to_string(), wanted);
        let (set, default) = (in_force.max_batch_writes, defaults.max_batch_writes);
        let wanted = number(batch(fastest, set));
        say("writer.max_batch_writes", set.to_string(), default.to_string(), wanted);
        let wanted = linger(&of_level, in_force.linger, figures.rounds);
        say("writer.linger", linger_name(in_force.linger), linger_name(defaults.linger), wanted);
    }
    let (set, default) = (name(in_force.synchronous), name(defaults.synchronous));
    let wanted = synchronous(&figures.writes, in_force.synchronous);
    say("database.synchronous", set.into(), default.into(), wanted);
    let wanted = number(readers(figures, in_force.readers));
    say("readers.threads", in_force.readers.to_string(), defaults.readers.to_string(), wanted);
    advice
}

/// In a sentence.
pub(super) fn conclusion(advice: &[Advice]) -> String {
    let changed = advice.iter().filter(|advice| !advice.is_kept());
    let changed: Vec<_> =
        changed.map(|advice| format!("{} = {}", advice.setting, advice.recommended)).collect();
    if !changed.is_empty() {
        return format!("recommended here: {}; the other settings are right", changed.join(", "));
    }
    let whose =
        if advice.iter().all(|advice| advice.is_default) { "the defaults" } else { "the settings in force" };
    format!("{whose} are right for this disk and this machine")
}

/// What to set instead, if anything, and why, or why not.
type Wanted<T> = (Option<T>, String);

fn number((wanted, why): Wanted<usize>) -> Wanted<String> {
    (wanted.map(|number| number.to_string()), why)
}

/// Writes a second with full batches, from what a COMMIT and a write cost.
fn capacity(fastest: &Writes, max_batch_writes: usize) -> f64 {
    let writes = float(max_batch_writes);
    let full = writes * 1e6 / (fastest.us_per_commit + writes * fastest.us_per_write).max(1.0);
    full.max(fastest.per_second.median)
}

/// A queue holds a few batches, and no more than is committed within a second: who enters it last waits for all of it.
fn queue(fastest: &Writes, max_writes: usize, max_batch_writes: usize) -> Wanted<usize> {
    const LONGEST_S: f64 = 1.0;
    let capacity = capacity(fastest, max_batch_writes);
    let least = tidy(4.0 * fastest.mean_batch);
    let seconds = float(max_writes) / capacity;
    if float(max_writes) < 2.0 * fastest.mean_batch {
        let why = format!("it does not hold two batches of {:.0} writes", fastest.mean_batch);
        return (Some(least), why);
    }
    let shorter = tidy(capacity * LONGEST_S).max(least);
    if seconds > LONGEST_S && shorter < max_writes {
        return (
            Some(shorter),
            format!("at {capacity:.0} writes/s a full queue takes {seconds:.1} s to commit"),
        );
    }
    (None, format!("a full queue is committed in {:.0} ms, at {capacity:.0} writes/s", seconds * 1e3))
}

/// A batch is as large as makes its COMMIT cheap, and no larger than is committed soon.
fn batch(fastest: &Writes, max_batch_writes: usize) -> Wanted<usize> {
    /// A COMMIT that takes no more of its batch's time is not worth making rarer.
    const CHEAP: f64 = 0.1;
    const LONG_US: f64 = 250e3;
    const SHORT_US: f64 = 100e3;
    let Writes { us_per_commit: commit, us_per_write: write, .. } = *fastest;
    let (set, write) = (float(max_batch_writes), write.max(0.1));
    let whole = commit + set * write;
    let (share, is_cut) = (commit / whole, fastest.mean_batch >= 0.8 * set);
    // So many fit into the shorter time, and so many make the COMMIT cheap.
    let (soon, cheap) = ((SHORT_US - commit) / write, commit * (1.0 / CHEAP - 1.0) / write);
    if is_cut && share > CHEAP {
        let larger = tidy(cheap.min(soon));
        if larger > max_batch_writes {
            return (
                Some(larger),
                format!("batches are full, and COMMIT takes {:.0} % of their time", share * 100.0),
            );
        }
    }
    if whole > LONG_US {
        // Below this COMMIT would take more time than all else.
        let smaller = tidy(soon.max(commit / write));
        if smaller < max_batch_writes {
            return (
                Some(smaller),
                format!("a full batch keeps its callers waiting for {:.0} ms", whole / 1e3),
            );
        }
    }
    let why = format!(
        "a full batch takes {:.1} ms, {:.0} % of it COMMIT; those measured had {:.0} writes",
        whole / 1e3,
        share * 100.0,
        fastest.mean_batch
    );
    (None, why)
}

/// What the linger in force is compared with.
pub(super) fn other_linger(in_force: Linger) -> Linger {
    match in_force {
        Linger::Fixed(Duration::ZERO) => Linger::Auto,
        _ => Linger::Fixed(Duration::ZERO),
    }
}

fn linger_name(linger: Linger) -> String {
    match linger {
        Linger::Auto => "auto".into(),
        Linger::Fixed(Duration::ZERO) => "0ms".into(),
        Linger::Fixed(time) => format!("{time:?}"),
    }
}

/// So many rounds make a difference more than an accident.
const ENOUGH_ROUNDS: u32 = 3;

/// The other one, if it is clearly faster somewhere and clearly slower nowhere.
fn linger(writes: &[&Writes], in_force: Linger, rounds: u32) -> Wanted<String> {
    const FASTER: f64 = 1.15;
    let other = linger_name(other_linger(in_force));
    let compared: Vec<_> =
        writes.iter().filter_map(|writes| Some((writes.callers, writes.other_linger?))).collect();
    let is_faster = |(_, ratio): &&(usize, Spread)| ratio.median >= FASTER && ratio.least > 1.0;
    let is_slower = |(_, ratio): &&(usize, Spread)| ratio.median <= 1.0 / FASTER;
    let (faster, slower) = (compared.iter().find(is_faster), compared.iter().find(is_slower));
    match (faster, slower) {
        _ if compared.is_empty() => (None, "one caller has no company to wait for".into()),
        (Some((callers, ratio)), None) if rounds >= ENOUGH_ROUNDS => {
            (Some(other.clone()), format!("{other} does {ratio:.2} times as much {}", with(*callers)))
        }
        (Some(_), None) => (None, format!("{rounds} rounds are too few to say that {other} is better")),
        (Some((more, _)), Some((less, _))) => {
            (None, format!("{other} does more {}, and less {}", with(*more), with(*less)))
        }
        (None, Some((callers, ratio))) => {
            (None, format!("{other} does only {ratio:.2} times as much {}", with(*callers)))
        }
        (None, None) => (None, format!("{other} makes no clear difference")),
    }
}

/// FULL if it costs little. What NORMAL gains is told, and left to whoever knows what the last writes are worth.
fn synchronous(writes: &[Writes], in_force: Synchronous) -> Wanted<String> {
    const LITTLE: f64 = 1.2;
    let of_full = writes.iter().filter_map(|writes| Some((writes.of_full?.median, writes.callers)));
    let Some((gain, callers)) = of_full.max_by(|(one, _), (other, _)| one.total_cmp(other)) else {
        return (None, "FULL and NORMAL were not both measured".into());
    };
    let gains = format!("NORMAL does {gain:.1} times as much as FULL {}", with(callers));
    let full = || Some(name(Synchronous::Full).to_owned());
    match in_force {
        Synchronous::Full if gain < LITTLE => {
            (None, format!("{gains} at the best; not worth losing the last commits with the power"))
        }
        Synchronous::Full => (None, format!("{gains}, and may lose the last commits with the power")),
        Synchronous::Normal if gain < LITTLE => (full(), format!("{gains} at the best; FULL loses nothing")),
        Synchronous::Normal => (None, format!("{gains}; FULL if no acknowledged write may be lost")),
        Synchronous::Off if gain < LITTLE => {
            (full(), format!("OFF may damage the file; {gains} at the best"))
        }
        Synchronous::Off => {
            (Some(name(Synchronous::Normal).into()), format!("OFF may damage the file; {gains}"))
        }
    }
}

/// As many as read fastest, if those in force are slower in every round, and clearly.
fn readers(figures: &Figures, in_force: usize) -> Wanted<usize> {
    const FASTER: f64 = 1.15;
    const AS_FAST: f64 = 0.95;
    let Some(set) = figures.reads.iter().find(|reads| reads.of_in_force.is_none()) else {
        return (None, "reads were not measured".into());
    };
    let is_faster = |ratio: &Spread| ratio.median >= FASTER && ratio.least > 1.0;
    let faster: Vec<_> = figures
        .reads
        .iter()
        .filter_map(|reads| Some((reads.threads, reads.of_in_force.filter(is_faster)?.median)))
        .collect();
    let best = faster.iter().map(|(_, ratio)| *ratio).fold(0.0, f64::max);
    let here = if in_force == 0 { format!("{} here", set.threads) } else { format!("{in_force}") };
    let Some((fewest, ratio)) = faster.iter().find(|(_, ratio)| *ratio >= AS_FAST * best) else {
        let rate = set.per_second.median;
        let why = format!("{here}: {rate:.0} reads/s by key; half and twice as many are not clearly faster");
        return (None, why);
    };
    let found = format!("{fewest} threads read {ratio:.2} times as fast as {here}");
    if figures.rounds >= ENOUGH_ROUNDS {
        return (Some(*fewest), found);
    }
    (None, format!("{found}, but {} rounds are too few to say", figures.rounds))
}

fn with(callers: usize) -> String {
    if callers == 1 { "with one caller".into() } else { format!("with {callers} callers") }
}

#[allow(clippy::cast_precision_loss, reason = "settings are far below 2^52")]
fn float(number: usize) -> f64 {
    number as f64
}

/// A number with one digit that is not 0, rounded down: more would claim a precision that there is not. At least 1.
fn tidy(number: f64) -> usize {
    let number = number.clamp(1.0, 1e9);
    let unit = 10_f64.powf(number.log10().floor());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 1e9")]
    let tidied = ((number / unit + 1e-9).floor() * unit).round() as usize;
    tidied
}

#[cfg(test)]
mod tests;
