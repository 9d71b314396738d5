//! async-sqlite: closures sent to the thread of a connection (<https://docs.rs/async-sqlite>). One `Client`, cloned for each
//! caller: it "represents a single background sqlite3 connection that can be called concurrently".

use async_sqlite::{ClientBuilder, JournalMode};
use harness::{Failure, Options, measure, sqlite};

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let synchronous = options.synchronous.clone();
    let client = ClientBuilder::new().path(&file).journal_mode(JournalMode::Wal).open().await?;
    client.conn(move |conn| sqlite::set_up(conn, &synchronous)).await?;
    client.conn(sqlite::make_tables).await?;

    let door = client.clone();
    let write = move |row| {
        let door = door.clone();
        async move { door.conn(move |conn| sqlite::insert(conn, &row)).await }
    };
    let report = measure(options, write).await?;
    client.close().await?;
    report.print(options, &file);
    Ok(())
}
