//! The rowid a statement inserted, and never somebody else's: `sqlite3_last_insert_rowid` keeps what an earlier
//! statement on the connection inserted.
//!
//! It is set to 0 before each write, so any other number is the write's own. Only where the number stays the same (two
//! statements of one transaction, a rowid of 0) the update hook has to say whether it was inserted again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use rusqlite::hooks::Action;
use rusqlite::{Connection, ffi};

/// Watches for one rowid being inserted (<https://sqlite.org/c3ref/update_hook.html>).
pub(super) struct Watch {
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    wanted: AtomicI64,
    again: AtomicBool,
}

/// To be called before each write: what others inserted is no business of its caller.
pub(super) fn forget(conn: &Connection) {
    set(conn, 0);
}

/// To be called before a caller goes on who inserted this rowid on what is to look like a connection of its own.
#[allow(unsafe_code, reason = "rusqlite has no safe form of sqlite3_set_last_insert_rowid")]
pub(super) fn set(conn: &Connection, rowid: i64) {
    // SAFETY: the handle belongs to `conn`, which lives throughout the call and is used by this thread only.
    unsafe { ffi::sqlite3_set_last_insert_rowid(conn.handle(), rowid) }
}

impl Watch {
    pub(super) fn install(conn: &Connection) -> rusqlite::Result<Self> {
        let seen = Arc::new(Seen::default());
        let hook = Arc::clone(&seen);
        conn.update_hook(Some(move |action, _: &str, _: &str, rowid| {
            if action == Action::SQLITE_INSERT && rowid == hook.wanted.load(Relaxed) {
                hook.again.store(true, Relaxed);
            }
        }))?;
        Ok(Self { seen })
    }

    /// To be called before a statement runs; the answer goes to [`Self::inserted_since`].
    pub(super) fn before(&self, conn: &Connection) -> i64 {
        let before = conn.last_insert_rowid();
        self.seen.wanted.store(before, Relaxed);
        self.seen.again.store(false, Relaxed);
        before
    }

    /// The rowid that the statement inserted last. Either the connection's changed, or it is the same number again and
    /// the hook saw it; an UPDATE or DELETE whose trigger inserts has inserted nothing itself.
    pub(super) fn inserted_since(&self, before: i64, conn: &Connection, sql: &str) -> Option<i64> {
        let verb = sql.trim_start().get(..6).unwrap_or_default();
        if verb.eq_ignore_ascii_case("update") || verb.eq_ignore_ascii_case("delete") {
            return None;
        }
        let now = conn.last_insert_rowid();
        (now != before || self.seen.again.load(Relaxed)).then_some(now)
    }
}
