//! turso: another engine for SQLite's file format, written anew in Rust (<https://docs.rs/turso>).
//!
//! `--way wal` (if none is given): one connection with a cached statement, which the callers take in turns. `--way mvcc`:
//! `PRAGMA journal_mode = 'mvcc'` and a connection for each caller, who writes between BEGIN CONCURRENT and COMMIT and begins
//! anew on a conflict, as in its example `concurrent_writes`.

use std::sync::Arc;

use harness::{CACHE_SIZE, CREATED_AT, Failure, INSERT, Options, Row, SCHEMA, measure};
use tokio::sync::Mutex;
use turso::{Builder, Connection, Database, Error, Value};

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let database = Builder::new_local(&file.to_string_lossy()).build().await?;
    let report = match options.way.as_deref() {
        None | Some("wal") => {
            let conn = connect(&database, "wal", &options.synchronous).await?;
            conn.execute_batch(SCHEMA).await?;
            let conn = Arc::new(Mutex::new(conn));
            let write = move |row| {
                let conn = Arc::clone(&conn);
                async move { insert(&*conn.lock().await, row).await }
            };
            measure(options, write).await?
        }
        Some("mvcc") => {
            let first = connect(&database, "mvcc", &options.synchronous).await?;
            first.execute_batch(SCHEMA).await?;
            let mut connections = vec![first];
            while connections.len() < options.callers {
                connections.push(connect(&database, "mvcc", &options.synchronous).await?);
            }
            let idle = Arc::new(std::sync::Mutex::new(connections));
            let write = move |row| {
                let idle = Arc::clone(&idle);
                async move {
                    let conn = idle
                        .lock()
                        .map_err(|_| "a caller died")?
                        .pop()
                        .ok_or("more callers than there are")?;
                    let outcome = insert_concurrently(&conn, row).await;
                    idle.lock().map_err(|_| "a caller died")?.push(conn);
                    Ok::<(), Failure>(outcome?)
                }
            };
            measure(options, write).await?
        }
        Some(other) => return Err(format!("no way: {other}").into()),
    };
    // Back in the journal mode that SQLite can read.
    database.connect()?.pragma_update("journal_mode", "'wal'").await?;
    report.print(options, &file);
    Ok(())
}

async fn connect(database: &Database, journal: &str, synchronous: &str) -> turso::Result<Connection> {
    let conn = database.connect()?;
    conn.pragma_update("journal_mode", format!("'{journal}'")).await?;
    conn.pragma_update("synchronous", synchronous).await?;
    conn.pragma_update("cache_size", CACHE_SIZE).await?;
    Ok(conn)
}

async fn insert_concurrently(conn: &Connection, row: Row) -> turso::Result<()> {
    let values = values(row);
    loop {
        conn.prepare_cached("BEGIN CONCURRENT").await?.execute(()).await?;
        let outcome = async {
            conn.prepare_cached(INSERT).await?.execute(values.clone()).await?;
            conn.prepare_cached("COMMIT").await?.execute(()).await
        };
        let Err(error) = outcome.await else { return Ok(()) };
        // It may be rolled back already.
        let _ = conn.execute("ROLLBACK", ()).await;
        if !is_retryable(&error) {
            return Err(error);
        }
        tokio::task::yield_now().await;
    }
}

fn is_retryable(error: &Error) -> bool {
    matches!(error, Error::Busy(_) | Error::BusySnapshot(_))
        || matches!(error, Error::Error(message) if message.contains("conflict"))
}

async fn insert(conn: &Connection, row: Row) -> turso::Result<()> {
    conn.prepare_cached(INSERT).await?.execute(values(row)).await?;
    Ok(())
}

fn values(row: Row) -> Vec<Value> {
    let Row { id, line } = row;
    vec![
        id.into(),
        line.kook_channel_id.as_str().into(),
        line.content.as_str().into(),
        line.message_type.as_str().into(),
        line.sender_name.as_str().into(),
        line.target_platform.as_str().into(),
        line.target_channel.as_str().into(),
        line.status.as_str().into(),
        line.error_message.as_deref().into(),
        line.latency_ms.into(),
        CREATED_AT.into(),
    ]
}
