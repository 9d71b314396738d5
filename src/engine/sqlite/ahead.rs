//! A thread with a connection of its own that moves pages from the log into the file while the writer goes on. What it has
//! moved the writer's own checkpoint, after which the log starts again, need not move any more.
//!
//! A PASSIVE checkpoint goes beside any writer (<https://sqlite.org/wal.html#concurrency>), but does not reach the end of a
//! log that grows meanwhile: the writer does the rest. Where it fails nothing is lost: the writer's own checkpoint has more to
//! move, and tells what is wrong.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, ffi};

use super::wal;
use crate::stats::{self, Stats};

/// The connection, or why there is none.
type Open = dyn Fn() -> Result<Connection, String> + Send + Sync;

pub(super) struct Ahead {
    open: Arc<Open>,
    stats: Arc<Stats>,
    desk: Arc<Desk>,
    /// Started by the first order: most files never need it.
    thread: Option<JoinHandle<()>>,
}

/// Where the writer and the thread meet.
#[derive(Default)]
struct Desk {
    order: Mutex<Order>,
    changed: Condvar,
    /// Pages of the log that are in the file.
    moved: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    #[default]
    None,
    Checkpoint,
    /// There is nobody there any more, or is to be.
    End,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, order: Order) {
        *self.lock() = order;
        self.changed.notify_all();
    }

    /// Waits as long as this is the order, and says what it is then.
    fn wait_while(&self, order: Order) -> Order {
        let waited = self.changed.wait_while(self.lock(), |now| *now == order);
        *waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ahead {
    /// Nothing is started or opened before the first order.
    pub(super) fn new(
        open: impl Fn() -> Result<Connection, String> + Send + Sync + 'static,
        stats: Arc<Stats>,
    ) -> Self {
        Self { open: Arc::new(open), stats, desk: Arc::default(), thread: None }
    }

    /// Asks for a checkpoint, unless one is on its way. Whether there is anybody to ask.
    pub(super) fn begin(&mut self) -> bool {
        if self.thread.is_none() {
            let thread = std::thread::Builder::new().name("actix-sqlite-checkpoint".into());
            let (open, stats) = (Arc::clone(&self.open), Arc::clone(&self.stats));
            let desk = Arc::clone(&self.desk);
            self.thread = thread.spawn(move || serve(&desk, open.as_ref(), &stats)).ok();
        }
        let mut order = self.desk.lock();
        let is_served = self.thread.is_some() && *order != Order::End;
        if is_served {
            *order = Order::Checkpoint;
            self.desk.changed.notify_all();
        }
        is_served
    }

    /// So many pages of the log are in the file, from its beginning, after the last checkpoint here.
    pub(super) fn moved(&self) -> u64 {
        self.desk.moved.load(Relaxed)
    }

    /// The log begins again.
    pub(super) fn forget(&self) {
        self.desk.moved.store(0, Relaxed);
    }

    /// Whether one is on its way.
    pub(super) fn is_underway(&self) -> bool {
        *self.desk.lock() == Order::Checkpoint
    }

    /// Waits for the one that is on its way: two at once are in each other's way.
    pub(super) fn finish(&self) {
        self.desk.wait_while(Order::Checkpoint);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.finish();
        self.desk.set(Order::End);
        if let Some(thread) = self.thread.take() {
            // If it panicked, that was told, and nothing depends on it.
            let _ = thread.join();
        }
    }
}

/// Whatever ends the thread, nobody waits for it.
struct Served<'a>(&'a Desk);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.set(Order::End);
    }
}

fn serve(desk: &Desk, open: &Open, stats: &Stats) {
    let _served = Served(desk);
    let mut conn = None;
    while desk.wait_while(Order::None) == Order::Checkpoint {
        let opened = conn.take().map_or_else(open, Ok);
        let checkpoint =
            |conn| match wal::checkpoint(&conn, "PASSIVE").and_then(|it| sync(&conn).map(|()| it)) {
                Ok(wal::Checkpoint { moved, .. }) => {
                    desk.moved.store(u64::try_from(moved).unwrap_or_default(), Relaxed);
                    Ok(conn)
                }
                Err(error) => Err(error.to_string()),
            };
        match opened.and_then(checkpoint) {
            Ok(good) => {
                stats::add(&stats.checkpoints_ahead, 1);
                conn = Some(good);
            }
            Err(reason) => tracing::debug!(reason, "a checkpoint ahead of the writer failed"),
        }
        desk.set(Order::None);
    }
}

/// SQLite syncs the file only after a checkpoint that has reached the end of the log, and such a sync would have all the
/// pages to write that others have moved. By the connection's own handle: to close another one would let go of the
/// locks that SQLite has on the file (<https://sqlite.org/howtocorrupt.html>, 2.2).
#[allow(unsafe_code, reason = "rusqlite has no safe form of sqlite3_file_control")]
fn sync(conn: &Connection) -> rusqlite::Result<()> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the connection is open and used by this thread alone. What is asked for is a pointer to its file, which lives
    // as long as it does; its methods, if it has any, are those of the VFS, and `xSync` may be called at any time.
    let code = unsafe {
        let name = c"main".as_ptr();
        let place = (&raw mut file).cast();
        match ffi::sqlite3_file_control(conn.handle(), name, ffi::SQLITE_FCNTL_FILE_POINTER, place) {
            ffi::SQLITE_OK if !file.is_null() && !(*file).pMethods.is_null() => {
                (*(*file).pMethods).xSync.map_or(ffi::SQLITE_OK, |sync| sync(file, ffi::SQLITE_SYNC_NORMAL))
            }
            code => code,
        }
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}
