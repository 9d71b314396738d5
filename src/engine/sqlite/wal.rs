//! Keeps the write-ahead log short: explicit checkpoints whose results are looked at and counted, and a limit past which
//! nothing is written.
//!
//! PASSIVE waits for nobody and is run when the log has passed a size: first by a thread beside the writer (`ahead.rs`), in
//! steps. Past some times that size the thread goes on until there is little left, and the writer moves that, after which the
//! log starts again. If pages come faster than they go, the writer waits for that thread now and then. TRUNCATE is run past a
//! larger size and when the file is closed (<https://sqlite.org/c3ref/wal_checkpoint_v2.html>). Both are tried again while no
//! writes come. At the limit, only a TRUNCATE that succeeds lets the next batch through: it alone proves that no reader is in
//! the log. If somebody else checkpoints, NOOP tells how far they are, and an empty COMMIT whether it starts the log again.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};

use super::ahead::Ahead;
use super::authorizer::Trusted;
use super::errors;
use super::own::{self, own};
use crate::engine::Occasion;
use crate::error::{Refusal, RefusedBecause, WriteError};
use crate::settings::DatabaseSettings;
use crate::stats::{self, Stats};

thread_local! {
    /// Pages in the log after the last COMMIT on this thread: the hook takes no closure.
    static WAL_PAGES: Cell<u64> = const { Cell::new(0) };
}

/// How long to wait for a write before a checkpoint is tried again without one; each further wait is twice as long ..
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// .. up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// At so many times `wal_checkpoint_size` the log is to start again.
const WHOLE: u64 = 8;

/// Past that size as much is moved at once as comes in so long a time. The more that is, the more often a page is among it
/// that need be moved only once, and the fewer the syncs; but it takes the longer, and a COMMIT meanwhile waits for the same
/// disk. So it is much where the log grows quickly, and little where it does not, and somebody would notice the wait.
const STEP: Duration = Duration::from_millis(75);

/// But no less than such a part of that size ..
const SHORTEST_STEP: u64 = 2;

/// .. and no more than so many times it.
const LONGEST_STEP: u64 = 2;

/// Such a part of that size is little enough for the writer.
const LITTLE: u64 = 16;

pub(super) struct Checkpointer {
    enabled: bool,
    ahead: Option<Ahead>,
    passive_pages: u64,
    truncate_pages: u64,
    /// Past these nothing is written, unless the log can be made shorter.
    max_pages: u64,
    /// A reader in the way stays there for a while: not tried again before the log has this many pages.
    next_pages: u64,
    /// How many pages are moved at once ahead of the writer: what was last found to be right, be it for an earlier log.
    step: u64,
    /// When, and at how many, the last step in this log began.
    begun: Option<(Instant, u64)>,
    /// How many were not in the file when the last checkpoint ahead began, once the log is to start again.
    left: Option<u64>,
    /// While that one runs the log may grow to so many.
    wait_at: u64,
    /// If the last checkpoint was not the whole of it.
    idle_pause: Option<Duration>,
    busy_timeout: Duration,
    /// Tells readers that the log is at its limit and cannot be made shorter.
    log_full: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

/// What SQLite says of a checkpoint.
pub(super) struct Checkpoint {
    busy: bool,
    in_log: i64,
    pub(super) moved: i64,
}

impl Checkpointer {
    pub(super) fn install(
        conn: &Connection,
        path: &Path,
        settings: &DatabaseSettings,
        stats: Arc<Stats>,
        log_full: Arc<AtomicBool>,
        ahead: Option<Ahead>,
    ) -> rusqlite::Result<Self> {
        /// Before each page in the log.
        const FRAME_HEADER: u64 = 24;
        let page_size = {
            let _trusted = Trusted::begin();
            conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?
        };
        let frame = u64::try_from(page_size).unwrap_or(4096).max(512) + FRAME_HEADER;
        let pages = |size: bytesize::ByteSize| (size.as_u64() / frame).max(1);
        let wal_pages = std::fs::metadata(log_path(path)).map_or(0, |file| file.len()) / frame;
        WAL_PAGES.set(wal_pages);
        conn.wal_hook(Some(count_pages));
        let passive_pages = pages(settings.wal_checkpoint_size);
        // What another writer said before it ended is looked at anew.
        log_full.store(false, Relaxed);
        Ok(Self {
            enabled: settings.checkpoint,
            ahead,
            passive_pages,
            truncate_pages: pages(settings.wal_truncate_size),
            max_pages: pages(settings.wal_max_size),
            next_pages: passive_pages,
            step: passive_pages * LONGEST_STEP,
            begun: None,
            left: None,
            wait_at: passive_pages,
            idle_pause: (settings.checkpoint && wal_pages >= passive_pages).then_some(FIRST_PAUSE),
            busy_timeout: settings.busy_timeout,
            log_full,
            stats,
        })
    }

    pub(super) fn run(&mut self, conn: &Connection, occasion: Occasion) -> rusqlite::Result<()> {
        let pages = WAL_PAGES.get();
        let mode = if pages >= self.truncate_pages { "TRUNCATE" } else { "PASSIVE" };
        let ran = match occasion {
            Occasion::Idle if !self.enabled => self.has_room_again(conn),
            _ if !self.enabled => return Ok(()),
            Occasion::Close => {
                self.ahead = None;
                self.checkpoint(conn, "TRUNCATE")
            }
            Occasion::Commit if pages < self.passive_pages => {
                self.start_again();
                return Ok(());
            }
            Occasion::Commit if pages < self.next_pages => return Ok(()),
            Occasion::Commit if self.begin_ahead(pages) => {
                // If no more writes come the writer does the rest.
                self.idle_pause.get_or_insert(FIRST_PAUSE);
                return Ok(());
            }
            Occasion::Idle | Occasion::Commit => self.checkpoint(conn, mode),
        };
        match ran {
            // With a full disk the log is still good, and commits that fit go on.
            Err(error) if is_disk_full(&error) => Ok(()),
            ran => ran.map(|_| ()),
        }
    }

    /// The log is short.
    fn start_again(&mut self) {
        (self.next_pages, self.wait_at) = (self.passive_pages, self.passive_pages);
        (self.left, self.begun) = (None, None);
        self.idle_pause = None;
        if let Some(ahead) = &self.ahead {
            ahead.forget();
        }
    }

    /// Whether the log can still grow while somebody else moves it.
    fn begin_ahead(&mut self, pages: u64) -> bool {
        let longest = self.truncate_pages.min(self.max_pages);
        let whole = (self.passive_pages * WHOLE).min(longest);
        let longest_step = self.passive_pages * LONGEST_STEP;
        let Some(ahead) = &mut self.ahead else { return false };
        // That it comes to little is not waited for without end.
        if pages >= (whole * 2).min(longest) {
            return false;
        }
        if ahead.is_underway() {
            if pages < self.wait_at {
                return true;
            }
            // Writes come faster than pages go. Who waits now waits for less than at the end.
            ahead.finish();
            if self.left.is_none() {
                // How quickly the log grows is not seen from that, and short steps are not what makes the thread quicker.
                (self.step, self.begun) = (longest_step, None);
            }
        }
        let is_last = pages >= whole;
        let left = pages.saturating_sub(ahead.moved());
        let is_little = left <= self.passive_pages.div_ceil(LITTLE);
        // It does not while a reader is in the way.
        let becomes_less = self.left.is_none_or(|before| left * 4 < before * 3);
        if is_last && (is_little || !becomes_less) || !ahead.begin() {
            return false;
        }
        // Past the end it is looked at after each COMMIT, and comes to about half as much each time.
        (self.left, self.next_pages, self.wait_at) = if is_last {
            (Some(left), pages, longest.min(pages + left / 2))
        } else {
            let next = pages + self.next_step(pages);
            (None, whole.min(next), longest.min(pages + longest_step))
        };
        true
    }

    /// In how many pages the next step is to begin, if one begins now.
    fn next_step(&mut self, pages: u64) -> u64 {
        let now = Instant::now();
        if let Some((begun, before)) = self.begun.replace((now, pages)) {
            self.step = step(pages.saturating_sub(before), now - begun, self.passive_pages);
        }
        self.step
    }

    /// How long to wait for a write before [`Occasion::Idle`].
    pub(super) fn idle_pause(&self) -> Option<Duration> {
        self.idle_pause
    }

    /// Whether the log was as long as it may be after the last COMMIT.
    pub(super) fn is_at_limit(&self) -> bool {
        WAL_PAGES.get() >= self.max_pages
    }

    /// To be asked before each BEGIN: why nothing may be written now, if the log is at its limit and stays there.
    pub(super) fn refusal(&mut self, conn: &Connection) -> rusqlite::Result<Option<WriteError>> {
        if !self.is_at_limit() {
            return Ok(None);
        }
        let shorter =
            if self.enabled { self.checkpoint(conn, "TRUNCATE") } else { self.has_room_again(conn) };
        match shorter {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(Refusal::new(RefusedBecause::LogFull).into())),
            Err(error) if is_disk_full(&error) => Ok(Some(errors::statement_error(&error).into())),
            Err(error) => Err(error),
        }
    }

    /// Whether the whole log was moved.
    fn checkpoint(&mut self, conn: &Connection, mode: &str) -> rusqlite::Result<bool> {
        if let Some(ahead) = &self.ahead {
            ahead.finish();
        }
        let pages = WAL_PAGES.get();
        // TRUNCATE would wait for readers, and every write with it.
        conn.busy_timeout(Duration::ZERO)?;
        let result = checkpoint(conn, mode);
        conn.busy_timeout(self.busy_timeout)?;
        if let Ok(Checkpoint { busy: false, in_log, moved }) = result
            && in_log == moved
        {
            stats::add(&self.stats.checkpoints, 1);
            // The next COMMIT starts the log again from its beginning.
            WAL_PAGES.set(0);
            self.start_again();
            self.tell_full(false);
            return Ok(true);
        }
        self.next_pages = pages + self.passive_pages.div_ceil(4);
        // Once whoever is in the way has gone, the most of it is for the thread again.
        self.left = None;
        self.tell_full(self.is_at_limit());
        self.try_again_later();
        match result {
            Ok(_) => {
                stats::add(&self.stats.checkpoints_busy, 1);
                Ok(false)
            }
            Err(error) => {
                stats::add(&self.stats.checkpoints_failed, 1);
                tracing::warn!(%error, mode, "checkpoint failed");
                Err(error)
            }
        }
    }

    /// Whether somebody else has made the log shorter, or has moved all of it so that it starts again.
    fn has_room_again(&mut self, conn: &Connection) -> rusqlite::Result<bool> {
        let Checkpoint { in_log, moved, .. } = checkpoint(conn, "NOOP")?;
        WAL_PAGES.set(u64::try_from(in_log).unwrap_or_default());
        if self.is_at_limit() && in_log == moved {
            commit_nothing(conn)?;
        }
        let full = self.is_at_limit();
        self.tell_full(full);
        if full {
            self.try_again_later();
        } else {
            self.idle_pause = None;
        }
        Ok(!full)
    }

    fn tell_full(&self, full: bool) {
        match (self.log_full.swap(full, Relaxed), full) {
            (false, true) => tracing::warn!("the write-ahead log is at its limit; writes are refused"),
            (true, false) => tracing::info!("the write-ahead log is short again"),
            _ => {}
        }
    }

    fn try_again_later(&mut self) {
        let pause = self.idle_pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.idle_pause = Some(pause);
    }
}

/// How many pages to move at once where so many came in that time.
fn step(came: u64, time: Duration, passive_pages: u64) -> u64 {
    let comes = u128::from(came) * STEP.as_micros() / time.as_micros().max(1);
    let (shortest, longest) = (passive_pages.div_ceil(SHORTEST_STEP), passive_pages * LONGEST_STEP);
    u64::try_from(comes).unwrap_or(longest).clamp(shortest, longest)
}

/// The file beside a database that is its log (<https://sqlite.org/fileformat2.html#walformat>).
pub(crate) fn log_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

pub(super) fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<Checkpoint> {
    let _trusted = Trusted::begin();
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(Checkpoint { busy: row.get::<_, i64>(0)? != 0, in_log: row.get(1)?, moved: row.get(2)? })
    })
}

/// Writes one page as it was.
///
/// Of a log that was moved as a whole only a COMMIT can tell whether it starts again: a reader that is still in it prevents
/// that, and a whole batch would make it so much longer each time.
pub(super) fn commit_nothing(conn: &Connection) -> rusqlite::Result<()> {
    own::run(conn, own!("BEGIN IMMEDIATE"))?;
    // SQLite sees through what changes nothing at once, and commits nothing then.
    let committed = own::run(conn, own!("UPDATE _actix_sqlite_commit SET seq = seq + 1"))
        .and_then(|()| own::run(conn, own!("UPDATE _actix_sqlite_commit SET seq = seq - 1")))
        .and_then(|()| own::run(conn, own!("COMMIT")));
    if committed.is_err() && !conn.is_autocommit() {
        own::run(conn, own!("ROLLBACK"))?;
    }
    committed
}

pub(super) fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

#[allow(clippy::unnecessary_wraps, reason = "the hook's signature is rusqlite's")]
fn count_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    WAL_PAGES.set(u64::try_from(pages).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer, and another connection to the same file.
    fn two(path: &Path) -> (Connection, Connection) {
        let writer = Connection::open(path).unwrap();
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        (writer, Connection::open(path).unwrap())
    }

    #[test]
    fn a_noop_tells_how_far_somebody_else_has_come_and_moves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, other) = two(&directory.path().join("a.db"));
        writer.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        for _ in 0..2 {
            let Checkpoint { busy, in_log, moved } = checkpoint(&writer, "NOOP").unwrap();
            assert!(!busy && in_log > 0 && moved == 0, "{in_log} {moved}");
        }
        checkpoint(&other, "PASSIVE").unwrap();
        let Checkpoint { in_log, moved, .. } = checkpoint(&writer, "NOOP").unwrap();
        assert!(in_log > 0 && moved == in_log, "{in_log} {moved}");
        // The next COMMIT starts the log again.
        writer.execute("INSERT INTO t VALUES (2)", []).unwrap();
        let Checkpoint { in_log, moved, .. } = checkpoint(&writer, "NOOP").unwrap();
        assert_eq!((in_log, moved), (1, 0));
    }

    #[test]
    fn a_checkpoint_that_a_reader_keeps_from_finishing_is_tried_again_less_and_less_often() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let (writer, other) = two(&path);
        let settings = DatabaseSettings {
            wal_checkpoint_size: bytesize::ByteSize::kib(4),
            wal_truncate_size: bytesize::ByteSize::kib(8),
            wal_max_size: bytesize::ByteSize::kib(16),
            ..DatabaseSettings::default()
        };
        let full = Arc::new(AtomicBool::new(true));
        let install = || {
            let (stats, full) = (Arc::new(Stats::new()), Arc::clone(&full));
            Checkpointer::install(&writer, &path, &settings, stats, full, None).unwrap()
        };
        let mut checkpointer = install();
        assert!(!full.load(Relaxed), "what was said before is looked at anew");
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        other.execute_batch("BEGIN").unwrap();
        other.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        assert_eq!((checkpointer.idle_pause(), checkpointer.is_at_limit()), (None, false));
        for _ in 0..10 {
            writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
        }
        let refusal = checkpointer.refusal(&writer).unwrap().unwrap();
        assert_eq!(refusal.code(), "wal_full");
        assert!(full.load(Relaxed));
        let mut pauses = vec![checkpointer.idle_pause().unwrap()];
        for _ in 0..6 {
            checkpointer.run(&writer, Occasion::Idle).unwrap();
            pauses.push(checkpointer.idle_pause().unwrap());
        }
        assert_eq!(
            pauses.iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [100, 200, 400, 800, 1600, 2000, 2000]
        );
        assert_eq!(install().idle_pause(), Some(FIRST_PAUSE), "a log that was left long is looked at soon");
        other.execute_batch("COMMIT").unwrap();
        checkpointer.run(&writer, Occasion::Idle).unwrap();
        assert_eq!((checkpointer.idle_pause(), full.load(Relaxed)), (None, false));
        assert!(checkpointer.refusal(&writer).unwrap().is_none());
    }

    /// A writer with a thread ahead of it that takes so long before it moves the first page.
    fn with_ahead(path: &Path, delay: Duration, settings: &DatabaseSettings) -> (Connection, Checkpointer) {
        let (writer, _) = two(path);
        writer.pragma_update(None, "synchronous", "off").unwrap();
        let stats = Arc::new(Stats::new());
        let file = path.to_owned();
        let open = move || {
            std::thread::sleep(delay);
            Connection::open(&file).map_err(|error| error.to_string())
        };
        let ahead = Some(Ahead::new(open, Arc::clone(&stats)));
        let checkpointer =
            Checkpointer::install(&writer, path, settings, stats, Arc::default(), ahead).unwrap();
        writer.execute_batch("CREATE TABLE t (x)").unwrap();
        (writer, checkpointer)
    }

    fn from_a_mebibyte() -> DatabaseSettings {
        DatabaseSettings { wal_checkpoint_size: bytesize::ByteSize::mib(1), ..DatabaseSettings::default() }
    }

    /// A COMMIT. How many pages there are in the log.
    fn commit(writer: &Connection) -> u64 {
        writer.execute("INSERT INTO t VALUES (zeroblob(3000))", []).unwrap();
        WAL_PAGES.get()
    }

    /// How many of them are not in the file, as far as is known.
    fn not_moved(pages: u64, checkpointer: &Checkpointer) -> u64 {
        pages.saturating_sub(checkpointer.ahead.as_ref().unwrap().moved())
    }

    #[test]
    fn what_is_left_for_the_writer_is_little() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer) =
            with_ahead(&directory.path().join("a.db"), Duration::ZERO, &from_a_mebibyte());
        let mut left = Vec::new();
        while left.len() < 5 {
            let pages = commit(&writer);
            // What `run` does, with a look at what is left before that is moved.
            if pages < checkpointer.passive_pages {
                checkpointer.start_again();
            } else if pages >= checkpointer.next_pages && !checkpointer.begin_ahead(pages) {
                assert!(pages >= checkpointer.passive_pages * WHOLE, "{pages}");
                left.push(not_moved(pages, &checkpointer));
                assert!(checkpointer.checkpoint(&writer, "PASSIVE").unwrap());
            }
        }
        let most = left.iter().max().unwrap();
        assert!(*most <= checkpointer.passive_pages.div_ceil(LITTLE), "{left:?}");
    }

    #[test]
    fn a_log_is_truncated_where_it_is_to_be_whatever_the_steps() {
        for passive in 1..=9 {
            let directory = tempfile::tempdir().unwrap();
            let settings = DatabaseSettings {
                wal_checkpoint_size: bytesize::ByteSize::kib(100 * passive),
                wal_truncate_size: bytesize::ByteSize::kib(1_000),
                ..DatabaseSettings::default()
            };
            let (writer, mut checkpointer) =
                with_ahead(&directory.path().join("a.db"), Duration::ZERO, &settings);
            let mut longest = 0;
            while stats::get(&checkpointer.stats.checkpoints) == 0 {
                longest = commit(&writer);
                checkpointer.run(&writer, Occasion::Commit).unwrap();
            }
            assert!(longest <= checkpointer.truncate_pages + 10, "{passive}: {longest}");
        }
    }

    #[test]
    fn a_step_is_as_long_as_the_log_grows_quickly() {
        for (came, millis, expected) in [
            (1000, 75, 1000),
            (2000, 150, 1000),
            (1000, 1000, 500),
            (0, 10, 500),
            (1500, 75, 1500),
            (2000, 75, 2000),
            (2000, 10, 2000),
            (1, 0, 2000),
            (u64::MAX, 1, 2000),
        ] {
            let step = step(came, Duration::from_millis(millis), 1000);
            assert_eq!(step, expected, "{came} in {millis} ms");
        }
        assert_eq!(step(0, Duration::ZERO, 1), 1, "never nothing");
    }

    #[test]
    fn a_log_that_grows_slowly_is_moved_in_short_steps() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer) =
            with_ahead(&directory.path().join("a.db"), Duration::ZERO, &from_a_mebibyte());
        let next_step = |checkpointer: &mut Checkpointer| {
            while commit(&writer) < checkpointer.next_pages {}
            let pages = WAL_PAGES.get();
            checkpointer.run(&writer, Occasion::Commit).unwrap();
            // Nobody is to wait for it later.
            checkpointer.ahead.as_ref().unwrap().finish();
            pages
        };
        let first = next_step(&mut checkpointer);
        checkpointer.begun = Instant::now().checked_sub(STEP * 6).map(|begun| (begun, first));
        let [second, third] = [next_step(&mut checkpointer), next_step(&mut checkpointer)];
        // As long as it can be before it is known how quickly the log grows; then a quarter of that.
        assert!((third - second) * 3 < second - first, "{first} {second} {third}");
    }

    #[test]
    fn a_step_is_counted_in_its_own_log() {
        let directory = tempfile::tempdir().unwrap();
        let (_writer, mut checkpointer) =
            with_ahead(&directory.path().join("a.db"), Duration::ZERO, &from_a_mebibyte());
        let size = checkpointer.passive_pages;
        checkpointer.begun = Some((Instant::now(), size));
        assert_eq!(checkpointer.next_step(size * 100), size * LONGEST_STEP);
        checkpointer.start_again();
        assert_eq!(checkpointer.next_step(size), size * LONGEST_STEP, "as it was");
        checkpointer.begun = Instant::now().checked_sub(STEP * 10).map(|begun| (begun, size));
        assert_eq!(checkpointer.next_step(size * 2), size.div_ceil(SHORTEST_STEP));
    }

    #[test]
    fn a_slow_disk_does_not_shorten_the_steps() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer) =
            with_ahead(&directory.path().join("a.db"), STEP * 20, &from_a_mebibyte());
        let size = checkpointer.passive_pages;
        checkpointer.step = size;
        while commit(&writer) < size {}
        checkpointer.run(&writer, Occasion::Commit).unwrap();
        while commit(&writer) < checkpointer.wait_at {}
        checkpointer.run(&writer, Occasion::Commit).unwrap();
        assert_eq!(checkpointer.step, size * LONGEST_STEP);
    }

    #[test]
    fn pages_come_no_faster_than_they_go() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut checkpointer) =
            with_ahead(&directory.path().join("a.db"), Duration::from_millis(500), &from_a_mebibyte());
        // What came before the thread began, as much again while it is at it, and a COMMIT.
        let most = checkpointer.passive_pages * LONGEST_STEP * 2 + 10;
        loop {
            let pages = commit(&writer);
            let not_moved = not_moved(pages, &checkpointer);
            assert!(not_moved <= most, "{not_moved} of {pages}");
            if pages > 2 * most || stats::get(&checkpointer.stats.checkpoints) == 2 {
                break;
            }
            checkpointer.run(&writer, Occasion::Commit).unwrap();
        }
    }
}
