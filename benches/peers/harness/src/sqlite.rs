//! What peers built on rusqlite do alike: a connection with the pragmas, and the insert by a statement that stays prepared.

use rusqlite::{Connection, Result};

use crate::{CACHE_SIZE, CREATED_AT, INSERT, Row, SCHEMA};

/// Sets what has to be alike on a new connection. How long it waits for a lock is left at rusqlite's 5 s.
pub fn set_up(conn: &Connection, synchronous: &str) -> Result<()> {
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "cache_size", CACHE_SIZE)
}

/// Makes the tables.
pub fn make_tables(conn: &Connection) -> Result<()> {
    conn.execute_batch(SCHEMA)
}

/// Inserts a row, in a transaction of its own unless one is open.
pub fn insert(conn: &Connection, row: &Row) -> Result<()> {
    let Row { id, line } = row;
    conn.prepare_cached(INSERT)?.execute((
        id,
        &line.kook_channel_id,
        &line.content,
        &line.message_type,
        &line.sender_name,
        &line.target_platform,
        &line.target_channel,
        &line.status,
        &line.error_message,
        line.latency_ms,
        CREATED_AT,
    ))?;
    Ok(())
}
