//! Whether the open transaction has foreign keys that are violated so far.
//!
//! A deferred foreign key lets its statement pass and fails the COMMIT, which would fail a whole batch for one write
//! and would let one caller's write be saved by a neighbour's. SQLite counts these violations while they are open.

use rusqlite::{Connection, ffi};

#[allow(unsafe_code, reason = "rusqlite has no safe form of sqlite3_db_status")]
pub(super) fn violations_pending(conn: &Connection) -> bool {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle belongs to `conn`, which lives throughout the call and is used by this thread only; both
    // pointers are to live integers; SQLITE_DBSTATUS_DEFERRED_FKS writes to nothing else.
    let code = unsafe {
        ffi::sqlite3_db_status(
            conn.handle(),
            ffi::SQLITE_DBSTATUS_DEFERRED_FKS,
            &raw mut current,
            &raw mut highest,
            0,
        )
    };
    code == ffi::SQLITE_OK && current != 0
}
