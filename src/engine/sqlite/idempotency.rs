//! Exactly once with a key: key, fingerprint and receipt are stored in the transaction of the write itself.
//!
//! A key that is found again answers with the stored receipt; the write is not run. Receipts are JSON, because a
//! later version must be able to read them.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, params};

use super::authorizer::Trusted;
use super::own::{self, own};
use crate::message::{Committed, Fingerprint, IdempotencyKey};
use crate::settings::DatabaseSettings;

pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _actix_sqlite_idempotency (
        key TEXT PRIMARY KEY,
        fingerprint BLOB NOT NULL,
        receipt TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS _actix_sqlite_idempotency_by_age ON _actix_sqlite_idempotency (created_at);
";

/// Statements that this module keeps in the statement cache.
pub(super) const STATEMENTS: usize = 8;

/// What is known of a key.
pub(super) enum Found {
    Nothing,
    Receipt(Committed),
    /// The key was used for another write.
    Conflict,
}

pub(super) fn find(
    conn: &Connection,
    key: &IdempotencyKey,
    fingerprint: Fingerprint,
) -> rusqlite::Result<Found> {
    let trusted = Trusted::begin();
    let sql = own!("SELECT fingerprint, receipt FROM _actix_sqlite_idempotency WHERE key = ?1");
    let stored = own::prepare(conn, sql, &trusted)?
        .query_row([key.as_str()], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    Ok(match stored {
        None => Found::Nothing,
        Some((of, _)) if of != fingerprint.as_bytes() => Found::Conflict,
        Some((_, receipt)) => Found::Receipt(serde_json::from_str(&receipt).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
        })?),
    })
}

pub(super) fn store(
    conn: &Connection,
    key: &IdempotencyKey,
    fingerprint: Fingerprint,
    receipt: &Committed,
) -> rusqlite::Result<()> {
    let receipt = serde_json::to_string(receipt)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let trusted = Trusted::begin();
    let sql = own!("INSERT INTO _actix_sqlite_idempotency VALUES (?1, ?2, ?3, ?4)");
    let values = params![key.as_str(), fingerprint.as_bytes(), receipt, now()];
    own::prepare(conn, sql, &trusted)?.execute(values)?;
    Ok(())
}

/// How many keys there are beyond those that are kept. Counts all of them, so it is to be asked seldom.
pub(super) fn surplus(conn: &Connection, settings: &DatabaseSettings) -> rusqlite::Result<i64> {
    let trusted = Trusted::begin();
    let sql = own!("SELECT count(*) FROM _actix_sqlite_idempotency");
    let count: i64 = own::prepare(conn, sql, &trusted)?.query_row([], |row| row.get(0))?;
    Ok(count.saturating_sub(i64::try_from(settings.idempotency_max_keys.get()).unwrap_or(i64::MAX)).max(0))
}

/// Forgets at most `at_once` of the keys that are too old, and of as many as are too many (`surplus`, which shrinks by
/// those), the oldest first: a bounded number, so that no write waits for long. Whether there is more to forget.
pub(super) fn forget(
    conn: &Connection,
    settings: &DatabaseSettings,
    at_once: usize,
    surplus: &mut i64,
) -> rusqlite::Result<bool> {
    let trusted = Trusted::begin();
    let most = i64::try_from(at_once).unwrap_or(i64::MAX);
    let oldest =
        now().saturating_sub(i64::try_from(settings.idempotency_retention.as_secs()).unwrap_or(i64::MAX));
    let sql = own!(
        "DELETE FROM _actix_sqlite_idempotency WHERE key IN (
            SELECT key FROM _actix_sqlite_idempotency WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)"
    );
    let aged = own::prepare(conn, sql, &trusted)?.execute([oldest, most])?;
    *surplus = surplus.saturating_sub(i64::try_from(aged).unwrap_or(i64::MAX)).max(0);
    if *surplus > 0 {
        let sql = own!(
            "DELETE FROM _actix_sqlite_idempotency WHERE key IN (
                SELECT key FROM _actix_sqlite_idempotency ORDER BY created_at LIMIT ?1)"
        );
        let gone = own::prepare(conn, sql, &trusted)?.execute([most.min(*surplus)])?;
        *surplus -= i64::try_from(gone).unwrap_or(i64::MAX);
    }
    Ok(aged == at_once || *surplus > 0)
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
