//! Opens connections and puts them into the state everything else relies on.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::{Migration, MigrationError, authorizer, dead_letters, errors, idempotency, log_path};
use crate::error::StartError;
use crate::settings::Settings;
use crate::stats::Stats;

/// 3.7.0 to 3.51.2 can reset a WAL that another connection is writing (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// The format of the engine's own tables. A file with a higher one was written by a later version.
const FORMAT: i64 = 1;

const OWN_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS _actix_sqlite_commit (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        seq INTEGER NOT NULL
    ) STRICT;
    INSERT INTO _actix_sqlite_commit VALUES (1, 1, 0) ON CONFLICT DO NOTHING;
";

pub(super) fn check_sqlite_version() -> Result<(), StartError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(StartError::SqliteTooOld(rusqlite::version().to_owned()));
    }
    Ok(())
}

/// The path made absolute, so that a later change of the working directory changes nothing.
pub(super) fn checked_path(path: &Path) -> Result<PathBuf, StartError> {
    let open_error = |reason: String| StartError::Open { path: path.display().to_string(), reason };
    let absolute = std::path::absolute(path).map_err(|error| open_error(error.to_string()))?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        return Err(StartError::MissingDirectory(directory.display().to_string()));
    }
    if absolute.is_dir() {
        return Err(open_error("it is a directory; name a file in it".into()));
    }
    // Two names of one file are one file: the lock and the log lie beside it, and are found by its name.
    if absolute.exists() {
        let path = absolute.canonicalize().map_err(|error| open_error(error.to_string()))?;
        let links = links(&path).map_err(|error| open_error(error.to_string()))?;
        if links > 1 {
            let reason = format!(
                "the file has {links} names (hard links), and two of them at work would damage it; leave it one"
            );
            return Err(open_error(reason));
        }
        return Ok(path);
    }
    if absolute.is_symlink() {
        return Err(open_error("it is a symbolic link to nothing; name the file itself".into()));
    }
    Ok(absolute)
}

#[cfg(unix)]
fn links(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| file.nlink())
}

#[cfg(not(unix))]
fn links(_: &Path) -> std::io::Result<u64> {
    Ok(1)
}

/// The writing connection, with the schema up to date.
pub(super) fn writer(
    path: &Path,
    vfs: Option<&str>,
    settings: &Settings,
    migrations: &[Migration],
) -> Result<Connection, StartError> {
    let explain = |error: rusqlite::Error| start_error(path, &error);
    let is_new = !path.exists();
    refuse_lost_head(path)?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = connect(path, flags, vfs).map_err(explain)?;
    harden(&conn, settings).map_err(explain)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(explain)?;
    if mode != "wal" {
        return Err(StartError::Open {
            path: path.display().to_string(),
            reason: format!("its journal mode stays {mode}; write-ahead logging needs a local file system"),
        });
    }
    conn.pragma_update(None, "synchronous", settings.database.synchronous.name()).map_err(explain)?;
    // Errors of automatic checkpoints are swallowed by SQLite; `wal.rs` checkpoints, and looks at the result.
    conn.pragma_update(None, "wal_autocheckpoint", 0).map_err(explain)?;
    let limit = i64::try_from(settings.database.wal_truncate_size.as_u64()).unwrap_or(i64::MAX);
    conn.pragma_update(None, "journal_size_limit", limit).map_err(explain)?;
    if is_new {
        sync_directory(path)?;
    }
    own_tables(&conn, path)?;
    for migrate in migrations {
        let path = path.display().to_string();
        migrate(&mut conn).map_err(|error| match error {
            MigrationError::Newer(reason) => StartError::NewerSchema { path, reason },
            MigrationError::Failed(reason) => StartError::Migration { path, reason },
        })?;
    }
    // What migrations prepared was never shown to the authorizer.
    conn.flush_prepared_statement_cache();
    conn.set_prepared_statement_cache_capacity(settings.writer.statement_cache.max(idempotency::STATEMENTS));
    conn.authorizer(Some(authorizer::writer)).map_err(explain)?;
    Ok(conn)
}

/// An empty file with a log beside it was cut. SQLite would take it for a new one, and delete the log with all that is in
/// it.
fn refuse_lost_head(path: &Path) -> Result<(), StartError> {
    /// The header of a log without a single frame.
    const EMPTY_LOG: u64 = 32;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let wal = log_path(path);
    if size(path) > 0 || size(&wal) <= EMPTY_LOG {
        return Ok(());
    }
    Err(StartError::NotADatabase {
        path: path.display().to_string(),
        reason: format!(
            "it is empty, and {} beside it is not; put the file back that belongs to it, or move the log away",
            wal.display()
        ),
    })
}

/// Makes durable what another process left in the log. It may have been killed before it had synced its last COMMIT, and who
/// sends that write again under its key is told that it is committed.
pub(super) fn sync_log(path: &Path) -> Result<(), StartError> {
    let wal = log_path(path);
    match std::fs::OpenOptions::new().write(true).open(&wal).and_then(|wal| wal.sync_all()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::Open { path: wal.display().to_string(), reason: error.to_string() })
        }
        _ => Ok(()),
    }
}

/// A reading connection; the file must exist.
pub(super) fn reader(path: &Path, vfs: Option<&str>, settings: &Settings) -> Result<Connection, StartError> {
    let explain = |error: rusqlite::Error| start_error(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(path, flags, vfs).map_err(explain)?;
    harden(&conn, settings).map_err(explain)?;
    conn.pragma_update(None, "query_only", true).map_err(explain)?;
    conn.set_prepared_statement_cache_capacity(settings.readers.statement_cache);
    conn.authorizer(Some(authorizer::reader)).map_err(explain)?;
    Ok(conn)
}

/// A connection that only checkpoints; the file must exist.
pub(super) fn checkpointer(path: &Path, settings: &Settings) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(path, flags, None)?;
    harden(&conn, settings)?;
    conn.pragma_update(None, "synchronous", settings.database.synchronous.name())?;
    // Whoever is in the way is the writer's business.
    conn.busy_timeout(std::time::Duration::ZERO)?;
    checkpoint_on_close(&conn, false)?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }
}

/// SQLite's defaults are made for old files; these are for files that somebody else may have touched.
fn harden(conn: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    conn.busy_timeout(settings.database.busy_timeout)?;
    // Else one call of `randomblob` takes a gigabyte before any limit on results sees it.
    let longest = i32::try_from(settings.database.max_value_size.as_u64()).unwrap_or(i32::MAX);
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest)?;
    conn.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, longest)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    checkpoint_on_close(conn, false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    // Negative: in KiB instead of pages.
    let cache = i64::try_from(settings.database.cache_size.as_u64() / 1024).unwrap_or(i64::MAX);
    conn.pragma_update(None, "cache_size", -cache)
}

/// Whether the connection, if it is the last one to close, moves the log into the file and removes it. Not before the
/// writer is at work: a file that is refused stays as it is, and so does its log. And not ever if somebody else is to
/// checkpoint.
pub(super) fn checkpoint_on_close(conn: &Connection, wanted: bool) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !wanted).map(|_| ())
}

fn own_tables(conn: &Connection, path: &Path) -> Result<(), StartError> {
    let explain = |error: rusqlite::Error| start_error(path, &error);
    // IMMEDIATE waits for who has the write lock; a transaction that begins by reading would not.
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate).map_err(explain)?;
    transaction.execute_batch(OWN_TABLES).map_err(explain)?;
    transaction.execute_batch(idempotency::TABLE).map_err(explain)?;
    transaction.execute_batch(dead_letters::TABLE).map_err(explain)?;
    let format: i64 = transaction
        .query_row("SELECT format FROM _actix_sqlite_commit", [], |row| row.get(0))
        .map_err(explain)?;
    if format > FORMAT {
        return Err(StartError::NewerSchema {
            path: path.display().to_string(),
            reason: format!("its own tables have format {format}, this program knows {FORMAT}"),
        });
    }
    transaction.commit().map_err(explain)
}

/// Own tables are closed to callers' SQL; what they say of their versions is shown in the status.
pub(super) fn note_versions(conn: &Connection, stats: &Stats) -> rusqlite::Result<()> {
    let _trusted = authorizer::Trusted::begin();
    let version = |table: &str, column: &str| {
        if !conn.table_exists(None, table)? {
            return Ok(0);
        }
        let sql = format!("SELECT coalesce(max({column}), 0) FROM {table}");
        conn.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    for (shown, found) in [
        (&stats.format, version("_actix_sqlite_commit", "format")?),
        (&stats.relay_schema, version("_actix_sqlite_relay_migrations", "version")?),
    ] {
        shown.store(u64::try_from(found).unwrap_or(0), Relaxed);
    }
    Ok(())
}

/// A new file is durable only when its directory is; SQLite ignores a failure here.
fn sync_directory(path: &Path) -> Result<(), StartError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| {
        StartError::Open { path: directory.display().to_string(), reason: error.to_string() }
    })
}

pub(super) fn start_error(path: &Path, error: &rusqlite::Error) -> StartError {
    let (path, reason) = (path.display().to_string(), errors::message(error));
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StartError::NotADatabase { path, reason }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StartError::Locked { path, holder: "a program that does not use actix-sqlite".into() }
        }
        _ => StartError::Open { path, reason },
    }
}
