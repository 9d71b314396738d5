//! The system's allocator with counts for each thread, so that the bench can tell the caller's allocations from the
//! writer's. What SQLite allocates is not in them: it asks the C library itself.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; every call goes to the system's as it is"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a thread, or several, did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Memory that was asked for, and made longer.
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
    pub(crate) frees: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            allocations: self.allocations - earlier.allocations,
            bytes: self.bytes - earlier.bytes,
            frees: self.frees - earlier.frees,
        }
    }
}

/// Of one thread; apart from its neighbours, so that counting makes no thread wait for another.
#[repr(align(128))]
struct Slot {
    allocations: AtomicU64,
    bytes: AtomicU64,
    frees: AtomicU64,
}

/// More threads than these, if there were any, would share the last one.
const SLOTS: usize = 64;

static COUNTS: [Slot; SLOTS] =
    [const { Slot { allocations: AtomicU64::new(0), bytes: AtomicU64::new(0), frees: AtomicU64::new(0) } };
        SLOTS];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// It needs no destructor, so that it can be used at any time of a thread's life.
    static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The slot of this thread.
pub(crate) fn own() -> usize {
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(TAKEN.fetch_add(1, Relaxed).min(SLOTS - 1));
        }
        own.get()
    })
}

/// What the thread of this slot has done so far.
pub(crate) fn of(slot: usize) -> Counts {
    let slot = &COUNTS[slot];
    Counts {
        allocations: slot.allocations.load(Relaxed),
        bytes: slot.bytes.load(Relaxed),
        frees: slot.frees.load(Relaxed),
    }
}

/// What all threads have done so far.
pub(crate) fn of_all() -> Counts {
    (0..SLOTS).map(of).fold(Counts::default(), |sum, one| Counts {
        allocations: sum.allocations + one.allocations,
        bytes: sum.bytes + one.bytes,
        frees: sum.frees + one.frees,
    })
}

/// What SQLite occupies of the C library's memory, in MiB: its page caches, above all.
pub(crate) fn of_sqlite() -> f64 {
    // SAFETY: it may be called at any time, from any thread.
    let bytes = unsafe { actix_sqlite::rusqlite::ffi::sqlite3_memory_used() };
    f64::from(i32::try_from(bytes / 1024).unwrap()) / 1024.0
}

pub(crate) struct Counting;

impl Counting {
    fn count(bytes: usize) {
        let slot = &COUNTS[own()];
        slot.allocations.fetch_add(1, Relaxed);
        slot.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

// SAFETY: it does what `System` does, with the same arguments; counting neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as our caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as our caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size.saturating_sub(layout.size()));
        // SAFETY: as our caller promised.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        COUNTS[own()].frees.fetch_add(1, Relaxed);
        // SAFETY: as our caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}
