//! r2d2 with `r2d2_sqlite` (<https://docs.rs/r2d2_sqlite>), in an asynchronous program: the connection is taken and used in
//! `spawn_blocking`, as `web::block` of actix-web does (<https://actix.rs/docs/databases>). A connection is set up by
//! `with_init`. One connection unless `--connections` says otherwise: several of them only wait for each other's lock.

use std::time::Duration;

use harness::{Failure, Options, measure, sqlite};
use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use tokio::task::spawn_blocking;

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let synchronous = options.synchronous.clone();
    let manager =
        SqliteConnectionManager::file(&file).with_init(move |conn| sqlite::set_up(conn, &synchronous));
    let pool = Pool::builder()
        .max_size(options.connections.unwrap_or(1))
        // Its check of each connection it hands out is a statement more.
        .test_on_check_out(false)
        .connection_timeout(Duration::from_secs(30))
        .build(manager)?;
    sqlite::make_tables(&*pool.get()?)?;

    let write = move |row| {
        let pool = pool.clone();
        async move {
            spawn_blocking(move || {
                let conn = pool.get()?;
                Ok::<(), Failure>(sqlite::insert(&conn, &row)?)
            })
            .await?
        }
    };
    measure(options, write).await?.print(options, &file);
    Ok(())
}
