//! Diesel with its r2d2 pool, in `spawn_blocking` as the documentation of actix-web has it
//! (<https://actix.rs/docs/databases>). The pragmas are those that Diesel's documentation recommends for concurrent writers
//! (<https://docs.rs/diesel/latest/diesel/sqlite/struct.SqliteConnection.html>), set by a customizer; the insert is written in
//! its query builder, which keeps the statement prepared. One connection unless `--connections` says otherwise.

#![allow(clippy::ref_option_ref, reason = "in what `Insertable` derives")]

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error, Pool};
use harness::{CACHE_SIZE, CREATED_AT, Failure, Options, Row, SCHEMA, measure};
use tokio::task::spawn_blocking;

diesel::table! {
    message_logs {
        id -> BigInt,
        kook_message_id -> Text,
        kook_channel_id -> Text,
        content -> Text,
        message_type -> Text,
        sender_name -> Text,
        target_platform -> Text,
        target_channel -> Text,
        status -> Text,
        error_message -> Nullable<Text>,
        latency_ms -> Nullable<BigInt>,
        created_at -> Text,
    }
}

#[derive(Insertable)]
#[diesel(table_name = message_logs)]
// One statement for all rows, so that it can stay prepared: a value that is none is NULL, not left out.
#[diesel(treat_none_as_default_value = false)]
struct MessageLog<'a> {
    kook_message_id: &'a str,
    kook_channel_id: &'a str,
    content: &'a str,
    message_type: &'a str,
    sender_name: &'a str,
    target_platform: &'a str,
    target_channel: &'a str,
    status: &'a str,
    error_message: Option<&'a str>,
    latency_ms: Option<i64>,
    created_at: &'a str,
}

#[derive(Debug)]
struct SetUp {
    synchronous: String,
}

impl CustomizeConnection<SqliteConnection, Error> for SetUp {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let Self { synchronous } = self;
        let pragmas = format!(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; \
             PRAGMA cache_size = {CACHE_SIZE};"
        );
        conn.batch_execute(&pragmas).map_err(Error::QueryError)
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let manager = ConnectionManager::<SqliteConnection>::new(file.to_string_lossy());
    let pool = Pool::builder()
        .max_size(options.connections.unwrap_or(1))
        .connection_customizer(Box::new(SetUp { synchronous: options.synchronous.clone() }))
        .build(manager)?;
    pool.get()?.batch_execute(SCHEMA)?;

    let write = move |row| {
        let pool = pool.clone();
        async move { spawn_blocking(move || insert(&pool, &row)).await? }
    };
    measure(options, write).await?.print(options, &file);
    Ok(())
}

fn insert(pool: &Pool<ConnectionManager<SqliteConnection>>, row: &Row) -> Result<(), Failure> {
    let Row { id, line } = row;
    let log = MessageLog {
        kook_message_id: id,
        kook_channel_id: &line.kook_channel_id,
        content: &line.content,
        message_type: &line.message_type,
        sender_name: &line.sender_name,
        target_platform: &line.target_platform,
        target_channel: &line.target_channel,
        status: &line.status,
        error_message: line.error_message.as_deref(),
        latency_ms: line.latency_ms,
        created_at: CREATED_AT,
    };
    diesel::insert_into(message_logs::table).values(&log).execute(&mut *pool.get()?)?;
    Ok(())
}
