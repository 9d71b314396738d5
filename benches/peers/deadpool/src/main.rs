//! deadpool-sqlite: a pool of connections, each used on a thread for blocking work by `interact`
//! (<https://docs.rs/deadpool-sqlite>). A new connection is set up by the hook `post_create`. One connection unless
//! `--connections` says otherwise: several of them only wait for each other's lock.

use deadpool_sqlite::{Config, Hook, HookError, Runtime};
use harness::{Failure, Options, measure, sqlite};

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments()?;
    options.runtime()?.block_on(run(&options))
}

async fn run(options: &Options) -> Result<(), Failure> {
    let file = options.dir.join("peer.db");
    let synchronous = options.synchronous.clone();
    let set_up = Hook::async_fn(move |conn, _| {
        let synchronous = synchronous.clone();
        Box::pin(async move {
            let done = conn.interact(move |conn| sqlite::set_up(conn, &synchronous)).await;
            done.map_err(|error| HookError::message(error.to_string()))?.map_err(HookError::Backend)
        })
    });
    let pool = Config::new(&file)
        .builder(Runtime::Tokio1)?
        .max_size(usize::try_from(options.connections.unwrap_or(1))?)
        .post_create(set_up)
        .build()?;
    pool.get()
        .await?
        .interact(|conn| sqlite::make_tables(conn))
        .await
        .map_err(|error| error.to_string())??;

    let door = pool.clone();
    let write = move |row| {
        let door = door.clone();
        async move {
            let conn = door.get().await?;
            conn.interact(move |conn| sqlite::insert(conn, &row))
                .await
                .map_err(|error| error.to_string())??;
            Ok::<(), Failure>(())
        }
    };
    let report = measure(options, write).await?;
    pool.close();
    report.print(options, &file);
    Ok(())
}
