//! Panics that tests cause in the library's threads: counted by place, and kept out of the output. Any other panic in a
//! thread of the library is a defect that a restart would hide, so it is counted too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

const MARK: &str = "injected at ";

static FIRED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());
static STRAY: AtomicUsize = AtomicUsize::new(0);

fn fired_so_far() -> MutexGuard<'static, BTreeMap<&'static str, u64>> {
    FIRED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics, to be called from a failpoint.
pub(crate) fn panic_at(point: &'static str) {
    *fired_so_far().entry(point).or_default() += 1;
    panic!("{MARK}{point}");
}

/// How often it panicked, by place; begins anew.
pub(crate) fn take_fired() -> BTreeMap<&'static str, u64> {
    std::mem::take(&mut fired_so_far())
}

/// How many panics of the library's threads nobody asked for.
pub(crate) fn stray() -> usize {
    STRAY.load(SeqCst)
}

/// Keeps what is injected out of the output; everything else is shown as ever.
pub(crate) fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload_as_str().is_some_and(|text| text.starts_with(MARK)) {
                return;
            }
            if std::thread::current().name().is_some_and(|name| name.starts_with("actix-sqlite")) {
                STRAY.fetch_add(1, SeqCst);
            }
            shown(info);
        }));
    });
}
