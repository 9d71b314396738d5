//! The rowid a statement inserted, and never somebody else's: `sqlite3_last_insert_rowid` keeps what an earlier
//! statement on the connection inserted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use rusqlite::Connection;
use rusqlite::hooks::Action;

/// The last insert that the update hook saw (<https://sqlite.org/c3ref/update_hook.html>).
pub(super) struct Watch {
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    any: AtomicBool,
    rowid: AtomicI64,
}

impl Watch {
    pub(super) fn install(conn: &Connection) -> rusqlite::Result<Self> {
        let seen = Arc::new(Seen::default());
        let hook = Arc::clone(&seen);
        conn.update_hook(Some(move |action, _: &str, _: &str, rowid| {
            if action == Action::SQLITE_INSERT {
                hook.any.store(true, Relaxed);
                hook.rowid.store(rowid, Relaxed);
            }
        }))?;
        Ok(Self { seen })
    }

    /// To be called before a statement runs; the answer goes to [`Self::inserted_since`].
    pub(super) fn before(&self, conn: &Connection) -> i64 {
        self.seen.any.store(false, Relaxed);
        conn.last_insert_rowid()
    }

    /// The rowid that the statement inserted last. Either the connection's changed, or it is the same number again and
    /// the hook saw it; an UPDATE or DELETE whose trigger inserts has inserted nothing itself.
    pub(super) fn inserted_since(&self, before: i64, conn: &Connection, sql: &str) -> Option<i64> {
        let verb = sql.trim_start().get(..6).unwrap_or_default();
        if verb.eq_ignore_ascii_case("update") || verb.eq_ignore_ascii_case("delete") {
            return None;
        }
        let now = conn.last_insert_rowid();
        let again = self.seen.any.load(Relaxed) && self.seen.rowid.load(Relaxed) == now;
        (now != before || again).then_some(now)
    }
}
