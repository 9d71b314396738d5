//! Readers with no pause between queries keep one look at the file for several of them. Nobody may notice.

use std::cell::Cell;
use std::rc::Rc;

use actix_sqlite::{Database, Execute, Query};
use bytesize::ByteSize;
use futures_util::future::join_all;

use crate::harness::{Place, integers, run, run_all, unwrap_all};

const READERS: usize = 32;

/// Tasks that ask without a pause, far more than there are readers, until they are told to stop; each time with what was
/// acknowledged before.
fn keep_busy(
    database: &Database,
    acknowledged: &Rc<Cell<i64>>,
    over: &Rc<Cell<bool>>,
) -> impl Future<Output = ()> + use<> {
    let readers = (0..READERS).map(|_| {
        let (database, acknowledged, over) = (database.clone(), Rc::clone(acknowledged), Rc::clone(over));
        actix_rt::spawn(async move {
            while !over.get() {
                let before = acknowledged.get();
                let seen = integers(&database, Query::new("SELECT coalesce(max(n), 0) FROM t")).await;
                assert!(seen[0] >= before, "{before} was acknowledged, {} is seen", seen[0]);
            }
        })
    });
    let readers = join_all(readers.collect::<Vec<_>>());
    async move { drop(unwrap_all(readers.await)) }
}

async fn write(database: &Database, acknowledged: &Rc<Cell<i64>>, to: i64, bytes: usize) {
    let next = Rc::new(Cell::new(1));
    let writers = (0..8).map(|_| {
        let (database, acknowledged, next) = (database.clone(), Rc::clone(acknowledged), Rc::clone(&next));
        actix_rt::spawn(async move {
            while next.get() <= to {
                let n = next.replace(next.get() + 1);
                let insert = Execute::new("INSERT INTO t VALUES (?1, ?2)");
                database.execute(insert.params(actix_sqlite::params![n, "x".repeat(bytes)])).await.unwrap();
                acknowledged.set(acknowledged.get().max(n));
            }
        })
    });
    unwrap_all(join_all(writers).await);
}

#[test]
fn each_query_sees_what_was_acknowledged_before_it_was_asked() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)"]).await;
        let (acknowledged, over) = (Rc::default(), Rc::default());
        let readers = keep_busy(&database, &acknowledged, &over);
        write(&database, &acknowledged, 2_000, 1).await;
        over.set(true);
        readers.await;
        assert_eq!(acknowledged.get(), 2_000);
    });
}

#[test]
fn the_log_starts_again_though_readers_are_never_idle() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.database.wal_checkpoint_size = ByteSize::kib(256);
                settings.database.wal_truncate_size = ByteSize::mib(128);
            })
            .await;
        run_all(&database, &["CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)"]).await;
        let (acknowledged, over) = (Rc::default(), Rc::default());
        let readers = keep_busy(&database, &acknowledged, &over);
        write(&database, &acknowledged, 4_000, 4_000).await;
        over.set(true);
        readers.await;
        let status = database.status().database;
        // More than 16 MB went through it.
        assert!(status.checkpoints > 0 && status.wal_bytes < 8 << 20, "{status:?}");
    });
}

/// Set by `.cargo/config.toml`; with one cache for all, a lock is taken for every page.
#[test]
fn sqlite_is_built_with_a_page_cache_for_each_connection() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let is_shared = "SELECT sqlite_compileoption_used('ENABLE_MEMORY_MANAGEMENT')";
        assert_eq!(integers(&database, is_shared).await, [0]);
    });
}
