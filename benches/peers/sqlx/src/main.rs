//! sqlx: a `SqlitePool`, each connection with a thread of its own (<https://docs.rs/sqlx>). Journal, `synchronous` and the
//! time to wait for a lock are set by `SqliteConnectOptions`; `sqlx::query` keeps the statement prepared. One connection
//! unless `--connections` says otherwise: several of them only wait for each other's lock.

use harness::{CACHE_SIZE, CREATED_AT, Failure, INSERT, Options, Row, SCHEMA, measure};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let synchronous =
        if options.synchronous == "full" { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let connect = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("cache_size", CACHE_SIZE);
    let pool = SqlitePoolOptions::new()
        .max_connections(options.connections.unwrap_or(1))
        .connect_with(connect)
        .await?;
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;

    let door = pool.clone();
    let write = move |row| {
        let door = door.clone();
        async move { insert(&door, row).await }
    };
    let report = measure(options, write).await?;
    pool.close().await;
    report.print(options, &file);
    Ok(())
}

async fn insert(pool: &SqlitePool, row: Row) -> sqlx::Result<()> {
    let Row { id, line } = row;
    sqlx::query(INSERT)
        .bind(id)
        .bind(&line.kook_channel_id)
        .bind(&line.content)
        .bind(&line.message_type)
        .bind(&line.sender_name)
        .bind(&line.target_platform)
        .bind(&line.target_channel)
        .bind(&line.status)
        .bind(&line.error_message)
        .bind(line.latency_ms)
        .bind(CREATED_AT)
        .execute(pool)
        .await?;
    Ok(())
}
