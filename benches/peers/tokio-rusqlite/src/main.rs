//! tokio-rusqlite: a connection with a thread of its own, to which closures are sent (<https://docs.rs/tokio-rusqlite>).
//! One `Connection`, cloned for each caller, as its guide has it; the statement is cached by rusqlite.

use harness::{Failure, Options, measure, sqlite};
use tokio_rusqlite::Connection;

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let conn = Connection::open(&file).await?;
    let synchronous = options.synchronous.clone();
    conn.call(move |conn| {
        sqlite::set_up(conn, &synchronous)?;
        sqlite::make_tables(conn)
    })
    .await?;

    let door = conn.clone();
    let write = move |row| {
        let door = door.clone();
        async move { door.call(move |conn| sqlite::insert(conn, &row)).await }
    };
    let report = measure(options, write).await?;
    conn.close().await?;
    report.print(options, &file);
    Ok(())
}
