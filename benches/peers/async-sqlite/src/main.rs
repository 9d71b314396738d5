//! async-sqlite: closures sent to the thread of a connection (<https://docs.rs/async-sqlite>). A `Client`, which is one
//! connection "that can be called concurrently"; with `--connections` a `Pool` of so many, which share the writes.

use async_sqlite::{ClientBuilder, Error, JournalMode, PoolBuilder};
use harness::{Failure, Options, Row, measure, sqlite};
use rusqlite::Connection;

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let synchronous = options.synchronous.clone();
    let set_up = move |conn: &Connection| sqlite::set_up(conn, &synchronous);
    let insert = |row: Row| move |conn: &Connection| sqlite::insert(conn, &row);
    let report = if let Some(connections) = options.connections {
        let pool = PoolBuilder::new().path(&file).journal_mode(JournalMode::Wal);
        let pool = pool.num_conns(usize::try_from(connections)?).open().await?;
        pool.conn_for_each(set_up).await.into_iter().collect::<Result<(), Error>>()?;
        pool.conn(sqlite::make_tables).await?;
        let door = pool.clone();
        let report = measure(options, move |row| {
            let door = door.clone();
            async move { door.conn(insert(row)).await }
        });
        let report = report.await?;
        pool.close().await?;
        report
    } else {
        let client = ClientBuilder::new().path(&file).journal_mode(JournalMode::Wal).open().await?;
        client.conn(set_up).await?;
        client.conn(sqlite::make_tables).await?;
        let door = client.clone();
        let report = measure(options, move |row| {
            let door = door.clone();
            async move { door.conn(insert(row)).await }
        });
        let report = report.await?;
        client.close().await?;
        report
    };
    report.print(options, &file);
    Ok(())
}
