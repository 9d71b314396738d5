//! A VFS between SQLite and the system's (<https://sqlite.org/vfs.html>): it lets every call through, fails the ones it
//! is told to, can be as full as a disk, and keeps a log of what was written, cut and synced, from which the disk after a
//! power loss is rebuilt. `table.rs` is the VFS as SQLite sees it.
//!
//! There is one, for the whole process: the tests of this binary take turns.
mod table;

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Under this name it is registered.
pub(crate) const NAME: &str = "actix_sqlite_test";

/// A call that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    /// How long a file is.
    Size,
    /// Whether a file is there.
    Access,
    Delete,
    /// The index of the log, which is shared memory: a part of it.
    Memory,
    /// The index of the log: a lock on it.
    MemoryLock,
}

pub(crate) const ONCE: usize = 1;
pub(crate) const FOR_EVER: usize = usize::MAX;

/// A failure to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) call: Call,
    /// The n-th such call fails, counted from 1 ..
    pub(crate) nth: usize,
    /// .. with this result code ..
    pub(crate) code: c_int,
    /// .. and so many calls in all, [`ONCE`] or [`FOR_EVER`] if not in between.
    pub(crate) times: usize,
}

/// One change of a file, in the order of time.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write { file: usize, offset: usize, data: Vec<u8> },
    Truncate { file: usize, size: usize },
    Sync { file: usize },
}

#[derive(Default)]
struct State {
    /// With how many such calls there were since.
    faults: Vec<(Fault, usize)>,
    fired: usize,
    /// How long the log was when the fault fired first.
    fired_at: Option<usize>,
    log: Option<Vec<Op>>,
    names: Vec<String>,
    /// No file can grow.
    full: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    faults: Vec::new(),
    fired: 0,
    fired_at: None,
    log: None,
    names: Vec::new(),
    full: false,
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps other tests away from the VFS as long as it lives.
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
}

#[allow(clippy::unused_self, reason = "only who has the turn may")]
impl Turn {
    pub(crate) fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        table::register();
        *state() = State::default();
        Self { _turn: turn }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        self.arm_all(&[fault]);
    }

    pub(crate) fn arm_all(&self, faults: &[Fault]) {
        let mut state = state();
        state.faults = faults.iter().map(|fault| (*fault, 0)).collect();
        (state.fired, state.fired_at) = (0, None);
    }

    /// Lets everything through again. How often they fired.
    pub(crate) fn disarm(&self) -> usize {
        let mut state = state();
        state.faults.clear();
        state.fired
    }

    /// From now on no file can grow, as on a full disk.
    pub(crate) fn fill(&self) {
        state().full = true;
    }

    /// There is room again.
    pub(crate) fn make_room(&self) {
        state().full = false;
    }

    pub(crate) fn start_log(&self) {
        state().log = Some(Vec::new());
    }

    /// How long the log is by now.
    pub(crate) fn log_len() -> usize {
        state().log.as_ref().map_or(0, Vec::len)
    }

    /// How long the log was when the fault fired first.
    pub(crate) fn fired_at(&self) -> Option<usize> {
        state().fired_at
    }

    /// The log, and the names its file numbers stand for.
    pub(crate) fn end_log(&self) -> (Vec<Op>, Vec<String>) {
        let mut state = state();
        (state.log.take().unwrap_or_default(), state.names.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *state() = State::default();
    }
}

/// How long each sync takes more than it does, in microseconds.
static SYNC_DELAY: AtomicU64 = AtomicU64::new(0);

/// From now on each sync takes so much longer: a slower disk.
#[allow(dead_code, reason = "for benches")]
pub(crate) fn delay_syncs(delay: Duration) {
    table::register();
    SYNC_DELAY.store(u64::try_from(delay.as_micros()).unwrap(), Relaxed);
}

/// Counts a call, and says whether it fails.
fn failure(call: Call) -> Option<c_int> {
    let mut state = state();
    let mut code = None;
    for (fault, calls) in state.faults.iter_mut().filter(|(fault, _)| fault.call == call) {
        *calls += 1;
        if *calls >= fault.nth && *calls - fault.nth < fault.times {
            code = Some(fault.code);
        }
    }
    if code.is_some() {
        state.fired += 1;
        let now = state.log.as_ref().map_or(0, Vec::len);
        state.fired_at.get_or_insert(now);
    }
    code
}

fn record(op: impl FnOnce() -> Op) {
    if let Some(log) = &mut state().log {
        log.push(op());
    }
}
