//! What is measured: times, and what Linux tells of a process.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::memory;

/// Times of one thing.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn merge(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The time within which this part of them stayed; 0 if there are none.
    pub(crate) fn within(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let place = (part * sorted.len() as f64) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.within(0.5)
    }

    pub(crate) fn max(&self) -> Duration {
        self.within(1.0)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, most, max) = (self.median(), self.within(0.99), self.max());
        write!(formatter, "median {median:.1?}, p99 {most:.1?}, max {max:.1?}")
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes of resident memory.
    pub(crate) memory: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Bytes of the write-ahead log.
    pub(crate) wal: u64,
}

impl Held {
    /// `None` where Linux does not tell, and of a process that is gone.
    pub(crate) fn by(process: u32, database: &std::path::Path) -> Option<Self> {
        let count = |what: &str| {
            let entries = std::fs::read_dir(format!("/proc/{process}/{what}")).ok()?;
            u64::try_from(entries.count()).ok()
        };
        let mut wal = database.as_os_str().to_owned();
        wal.push("-wal");
        Some(Self {
            memory: memory(process, "VmRSS")?,
            descriptors: count("fd")?,
            threads: count("task")?,
            wal: std::fs::metadata(PathBuf::from(wal)).map_or(0, |file| file.len()),
        })
    }
}

/// Bytes as whole MiB, for people.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
