//! What all test binaries have in common: random numbers that can be had again, how much a torture test does, and how
//! what was done and what was left out is told.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::Write;
use std::path::{Path, PathBuf};

/// Random numbers that can be had again: printed, and overridden with `SEED=`.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// From the seed that was asked for, else from this one.
    pub(crate) fn seeded(default: u64) -> Self {
        let seed = asked_seed().unwrap_or(default);
        println!("SEED={seed}");
        Self(seed)
    }

    /// From this seed and no other, for who prints it himself.
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not including `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// `SEED=`, if it is set.
fn asked_seed() -> Option<u64> {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok())
}

/// The seeds of a test that runs once a seed: the one that was asked for, or so many.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    asked_seed().map_or_else(|| (1..=count).collect(), |seed| vec![seed])
}

/// How much a torture test does: `short` in the test command, `long` with `TORTURE=long`, or the number that `TORTURE=`
/// says.
pub(crate) fn rounds(short: u64, long: u64) -> u64 {
    match std::env::var("TORTURE").as_deref() {
        Ok("long") => long,
        Ok(number) => number.parse().unwrap_or(short),
        Err(_) => short,
    }
}

/// A test's result in figures, on a line of its own that `tests/torture` collects; `row` is the name of the test.
pub(crate) fn report(row: &str, figures: &str) {
    println!("torture {row}: {figures}");
    // The test runner keeps what a test prints that passed.
    append("TORTURE_REPORT", &format!("{row}: {figures}"));
}

/// Says what a test did not have, and so did not do; the test command counts it.
pub(crate) fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
    append("ACTIX_SQLITE_SKIPS", what);
}

/// Adds a line to the file that this variable names, if it names one.
fn append(variable: &str, line: &str) {
    if let Some(file) = std::env::var_os(variable) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// The file of real chat, if there is one; its lack is told.
pub(crate) fn chat_file() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/chat.ndjson");
    let file = std::env::var_os("ACTIX_SQLITE_CHAT").map_or(beside, PathBuf::from);
    if file.is_file() {
        return Some(file);
    }
    skipped(
        "real chat: set ACTIX_SQLITE_CHAT to a file of message logs; made up ones are used where they will do",
    );
    None
}

/// What Linux tells of a process's memory under this name (`VmHWM`: the most it ever had; `VmRSS`: now), in bytes;
/// `None` on other systems, and of a process that is gone.
pub(crate) fn memory(process: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// The names of this process's threads that begin so, as Linux cuts them (after 15 bytes), in order; `None` on other
/// systems.
pub(crate) fn threads(beginning: &str) -> Option<Vec<String>> {
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    // A thread that ends meanwhile has no name.
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    let mut names: Vec<_> =
        names.map(|name| name.trim_end().to_owned()).filter(|name| name.starts_with(beginning)).collect();
    names.sort();
    Some(names)
}
