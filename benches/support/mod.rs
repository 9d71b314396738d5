//! What the benches share: the knobs from the environment, chat lines to write, and the middle of some figures.
//!
//! A bench is run by `cargo bench`, which passes `--bench`. Without that argument, as under `cargo test --all-targets`,
//! every bench makes one round of a fraction of a second: it shows that the bench works, and its figures mean nothing.

use std::path::Path;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use actix_sqlite::relay::AddMessageLog;

/// How many rounds, and how long each part of a round takes.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    pub(crate) rounds: usize,
    pub(crate) part: Duration,
}

impl Length {
    /// From `BENCH_ROUNDS` and `BENCH_SECONDS`.
    pub(crate) fn from_environment(rounds: usize, seconds: f64) -> Self {
        if !std::env::args().any(|argument| argument == "--bench") {
            return Self { rounds: 1, part: Duration::from_millis(200) };
        }
        let part = Duration::from_secs_f64(variable("BENCH_SECONDS", seconds).clamp(0.01, 3600.0));
        Self { rounds: variable("BENCH_ROUNDS", rounds).max(1), part }
    }
}

/// A variable of the environment. One that cannot be read ends the bench: its figures would be for something else.
pub(crate) fn variable<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| {
            eprintln!("{name} is {text:?}, which is no value for it");
            std::process::exit(2)
        }),
        Err(_) => default,
    }
}

/// An empty directory in `BENCH_DIR`, or where the system keeps temporary files. It is removed when dropped.
pub(crate) fn scratch_directory() -> std::io::Result<tempfile::TempDir> {
    match std::env::var_os("BENCH_DIR") {
        Some(directory) => tempfile::tempdir_in(directory),
        None => tempfile::tempdir(),
    }
}

/// Chat lines in the form of message logs: real ones if there are any at hand, else made ones of like lengths.
pub(crate) fn chat_lines() -> Rc<Vec<AddMessageLog>> {
    let file = std::env::var("ACTIX_SQLITE_CHAT")
        .unwrap_or_else(|_| format!("{}/../shared/data/chat.ndjson", env!("CARGO_MANIFEST_DIR")));
    let lines = std::fs::read_to_string(Path::new(&file)).unwrap_or_default();
    let real: Vec<AddMessageLog> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (lines, kind) = if real.is_empty() { (made_lines(), "made") } else { (real, "real") };
    let bytes: usize = lines.iter().map(|line| line.content.len()).sum();
    println!("{} {kind} chat lines, {} bytes of text each on average", lines.len(), bytes / lines.len());
    Rc::new(lines)
}

fn made_lines() -> Vec<AddMessageLog> {
    const WORDS: [&str; 8] = ["the", "server", "is", "back", "again", "since", "this", "morning"];
    let line = |n: usize| AddMessageLog {
        kook_message_id: format!("made-{n:016x}"),
        kook_channel_id: format!("channel-{}", n % 7),
        content: (0..=n * 7 % 31).map(|word| WORDS[(n + word) % WORDS.len()]).collect::<Vec<_>>().join(" "),
        message_type: "text".into(),
        sender_name: format!("sender{}", n % 97),
        target_platform: ["discord", "telegram", "feishu"][n % 3].into(),
        target_channel: "target".into(),
        status: "success".into(),
        error_message: None,
        latency_ms: i64::try_from(n % 400).ok(),
        created_at: None,
    };
    (0..10_000).map(line).collect()
}

/// For how long a virtual machine's processors were stopped so far although they had work, all of them together, by its host:
/// `steal` of <https://man7.org/linux/man-pages/man5/proc_stat.5.html>, in steps of 10 ms. Nothing where that is not told.
pub(crate) fn stopped() -> Duration {
    const TICKS: u64 = 100;
    let all = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let of_all = all.lines().next().unwrap_or_default();
    let ticks: u64 =
        of_all.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or_default();
    Duration::from_millis(ticks * (1000 / TICKS))
}

/// Some figures by their median and their extremes.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
        let (middle, last) = (figures.len() / 2, figures.len().saturating_sub(1));
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(at(last / 2), at(middle))
        } else {
            at(middle)
        };
        Self { median, least: at(0), most: at(last) }
    }
}

impl std::fmt::Display for Spread {
    /// With the precision asked for: `{:.2}`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = formatter.precision().unwrap_or(0);
        let Self { median, least, most } = self;
        write!(formatter, "{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}
