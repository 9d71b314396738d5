//! The same door as an address: `Addr<DatabaseActor>`, `Recipient<Execute>`, the system's registry; and the handle in
//! other threads and arbiters.

use std::num::NonZeroUsize;

use actix::{Actor, Addr, Recipient, SystemService};
use actix_sqlite::{
    Database, DatabaseActor, Execute, Flush, GetStatus, Query, QueryOne, State, Transaction, Value,
};
use futures_util::future::join_all;

use crate::harness::{Gate, Place, integers, run, run_all, soon, until};

const TABLE: &str = "CREATE TABLE t (seq INTEGER PRIMARY KEY, sender INTEGER, n INTEGER)";

fn insert(sender: u32, n: u32) -> Execute {
    Execute::new("INSERT INTO t (sender, n) VALUES (?1, ?2)").params([sender, n])
}

#[test]
fn the_address_answers_every_message_of_the_handle() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let address = DatabaseActor::new(database.clone()).start();
        address.send(Execute::new(TABLE)).await.unwrap().unwrap();
        let receipt = address.send(insert(1, 10)).await.unwrap().unwrap();
        assert_eq!(receipt.last_insert_rowid, Some(1));
        let transaction = Transaction::new().then("UPDATE t SET n = 11").then("DELETE FROM t WHERE n = 10");
        let receipt = address.send(transaction).await.unwrap().unwrap();
        let affected: Vec<u64> = receipt.results.iter().map(|result| result.rows_affected).collect();
        assert_eq!(affected, [1, 0]);
        let rows = address.send(Query::new("SELECT n FROM t")).await.unwrap().unwrap();
        assert_eq!(rows.rows, [[Value::from(11)]]);
        let row = address.send(QueryOne::new("SELECT n AS found FROM t")).await.unwrap().unwrap().unwrap();
        assert_eq!(row.get("found"), Some(&Value::from(11)));
        assert_eq!(address.send(Flush).await.unwrap().unwrap(), receipt.commit);
        assert_eq!(address.send(GetStatus).await.unwrap().unwrap().state, State::Running);
        let error = address.send(Execute::new("nonsense")).await.unwrap().unwrap_err();
        assert_eq!(error.code(), "invalid_sql");
        let error = address.send(Query::new("DELETE FROM t")).await.unwrap().unwrap_err();
        assert_eq!(error.code(), "not_read_only");
        database.shutdown().await;
        let error = address.send(insert(1, 1)).await.unwrap().unwrap_err();
        assert_eq!(error.code(), "shutting_down");
    });
}

#[test]
fn a_recipient_of_one_message_is_enough() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let recipient: Recipient<Execute> = DatabaseActor::new(database.clone()).start().recipient();
        recipient.send(insert(1, 1)).await.unwrap().unwrap();
        recipient.do_send(insert(1, 2));
        // The mailbox is in order, so this comes after it.
        recipient.send(insert(1, 3)).await.unwrap().unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t ORDER BY seq").await, [1, 2, 3]);
    });
}

#[test]
fn an_opened_database_is_found_in_the_registry() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let address = DatabaseActor::register(database);
        let found = DatabaseActor::from_registry();
        assert_eq!(address, found);
        found.send(Execute::new(TABLE)).await.unwrap().unwrap();
        let arbiter = actix_rt::Arbiter::new();
        let (told, hears) = tokio::sync::oneshot::channel();
        arbiter.spawn(async move {
            let _ = told.send(DatabaseActor::from_registry().send(insert(1, 1)).await);
        });
        hears.await.unwrap().unwrap().unwrap();
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

#[test]
fn an_address_behind_which_nothing_was_opened_says_so() {
    run(async {
        let address = DatabaseActor::from_registry();
        for (code, retryable) in [
            address.send(Execute::new("SELECT 1")).await.unwrap().map(drop),
            address.send(Transaction::new()).await.unwrap().map(drop),
            address.send(Flush).await.unwrap().map(drop),
        ]
        .map(|answer| answer.map_err(|error| (error.code(), error.is_retryable())).unwrap_err())
        {
            assert_eq!((code, retryable), ("not_open", false));
        }
        assert_eq!(address.send(Query::new("SELECT 1")).await.unwrap().unwrap_err().code(), "not_open");
        assert!(address.send(GetStatus).await.unwrap().is_none());
    });
}

async fn flood(address: Addr<DatabaseActor>, sender: u32, messages: u32) {
    // Of futures that wait for a full mailbox any may be let in first; messages that are sent are in order.
    for n in 0..messages {
        address.do_send(insert(sender, n));
    }
    address.send(Flush).await.unwrap().unwrap();
}

#[test]
fn messages_of_one_sender_keep_their_order_though_the_queue_is_full() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 100;
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.queue.max_writes = NonZeroUsize::new(3).unwrap();
                settings.writer.max_batch_writes = NonZeroUsize::new(2).unwrap();
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let address = DatabaseActor::new(database.clone()).start();
        let arbiters: Vec<_> = (0..SENDERS).map(|_| actix_rt::Arbiter::new()).collect();
        let done = arbiters.iter().zip(0..).map(|(arbiter, sender)| {
            let address = address.clone();
            let (told, hears) = tokio::sync::oneshot::channel();
            arbiter.spawn(async move {
                flood(address, sender, EACH).await;
                let _ = told.send(());
            });
            hears
        });
        for sender in soon("all senders", join_all(done.collect::<Vec<_>>())).await {
            sender.unwrap();
        }
        for sender in 0..SENDERS {
            let query = Query::new("SELECT n FROM t WHERE sender = ?1 ORDER BY seq").params([sender]);
            assert_eq!(integers(&database, query).await, (0..i64::from(EACH)).collect::<Vec<_>>());
        }
        for arbiter in arbiters {
            arbiter.stop();
            arbiter.join().unwrap();
        }
    });
}

#[test]
fn a_full_queue_holds_the_mailbox_back() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.queue.max_writes = NonZeroUsize::new(3).unwrap();
                settings.writer.max_batch_writes = NonZeroUsize::new(3).unwrap();
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0, 0)).await;
        let address = DatabaseActor::new(database.clone()).start();
        let sent = actix_rt::spawn(flood(address, 1, 50));
        until("one waits outside", || database.status().queue.waiting == 1).await;
        for _ in 0..100 {
            actix_rt::task::yield_now().await;
        }
        let status = database.status().queue;
        assert_eq!((status.length, status.waiting), (3, 1), "the others stay in the mailbox");
        drop(gate);
        soon("all are answered", sent).await.unwrap();
        in_hand.await.unwrap().unwrap();
    });
}

#[test]
fn a_handle_works_from_threads_that_know_no_system() {
    const THREADS: u32 = 4;
    const EACH: u32 = 50;
    run(async {
        let place = Place::new();
        let database: Database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let threads: Vec<_> = (0..THREADS)
            .map(|sender| {
                let database = database.clone();
                std::thread::spawn(move || {
                    actix_rt::Runtime::new().unwrap().block_on(async {
                        for n in 0..EACH {
                            let receipt = database.execute(insert(sender, n)).await.unwrap();
                            let query = Query::new("SELECT max(n) FROM t WHERE sender = ?1").params([sender]);
                            let seen = integers(&database, query.min_commit(receipt.commit)).await;
                            assert_eq!(seen, [i64::from(n)]);
                        }
                    });
                })
            })
            .collect();
        until("the threads are done", || threads.iter().all(std::thread::JoinHandle::is_finished)).await;
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [i64::from(THREADS * EACH)]);
    });
}
