//! A thread with a connection of its own that moves pages from the log into the file while the writer goes on. What it has
//! moved the writer's own checkpoint, which alone starts the log again, need not move any more.
//!
//! A PASSIVE checkpoint goes beside any writer (<https://sqlite.org/wal.html#concurrency>), but never reaches the end of a
//! log that grows; so it is asked for while the log is short of the size at which the writer does the rest. Where it fails
//! nothing is lost: the writer's own checkpoint has more to move, and tells what is wrong.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::wal;
use crate::stats::{self, Stats};

pub(super) struct Ahead {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where the writer and the thread meet.
#[derive(Default)]
struct Desk {
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Order {
    #[default]
    None,
    Checkpoint,
    /// To be left for good.
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
    /// Nothing is opened before the first order.
    pub(super) fn start(
        open: impl Fn() -> rusqlite::Result<Connection> + Send + 'static,
        stats: Arc<Stats>,
    ) -> std::io::Result<Self> {
        let desk = Arc::<Desk>::default();
        let thread = std::thread::Builder::new().name("actix-sqlite-checkpoint".into()).spawn({
            let desk = Arc::clone(&desk);
            move || serve(&desk, &open, &stats)
        })?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Asks for a checkpoint, unless one is on its way.
    pub(super) fn begin(&self) {
        self.desk.set(Order::Checkpoint);
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
            // It cannot panic, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

fn serve(desk: &Desk, open: &dyn Fn() -> rusqlite::Result<Connection>, stats: &Stats) {
    let mut conn = None;
    while desk.wait_while(Order::None) == Order::Checkpoint {
        let opened = conn.take().map_or_else(open, Ok);
        match opened.and_then(|conn| wal::checkpoint(&conn, "PASSIVE").map(|_| conn)) {
            Ok(good) => {
                stats::add(&stats.checkpoints_ahead, 1);
                conn = Some(good);
            }
            Err(error) => tracing::debug!(%error, "a checkpoint ahead of the writer failed"),
        }
        desk.set(Order::None);
    }
}
