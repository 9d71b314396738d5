//! Writes that nobody waits for: answered when they are queued, kept as dead letters if they fail, tried again or thrown
//! away by order.

use std::time::Duration;

use actix::Actor;
use actix_sqlite::{
    DatabaseActor, DeadLetter, Enqueue, Enqueued, Execute, ExpireDeadLetters, GetDeadLetters, Overflow,
    Query, RetryDeadLetters, Transaction, Value, params,
};
use futures_util::FutureExt;

use crate::harness::{Gate, Place, integers, key, run, run_all, soon, until};

const TABLE: &str = "CREATE TABLE t (n INTEGER PRIMARY KEY)";

fn insert(n: i64) -> Execute {
    Execute::new("INSERT INTO t VALUES (?1)").params([n])
}

async fn letters(database: &actix_sqlite::Database) -> Vec<DeadLetter> {
    database.dead_letters(GetDeadLetters::default()).await.unwrap()
}

#[test]
fn an_enqueued_write_is_answered_before_its_commit_and_committed_all_the_same() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE]).await;
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        let answer = database.enqueue(insert(1)).now_or_never().expect("at once").unwrap();
        assert_eq!(answer, Enqueued);
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0; 0], "nothing is committed");
        drop(gate);
        in_hand.await.unwrap().unwrap();
        database.flush().await.unwrap();
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0, 1]);
        assert!(letters(&database).await.is_empty());
        // A shutdown drains it like any other.
        database.enqueue(insert(2)).await.unwrap();
        assert!(database.shutdown().await.closed);
        assert_eq!(database.enqueue(insert(3)).await.unwrap_err().code(), "shutting_down");
        let reopened = place.open(|_| ()).await;
        assert_eq!(integers(&reopened, "SELECT n FROM t").await, [0, 1, 2]);
    });
}

#[test]
fn a_write_that_fails_with_nobody_waiting_is_kept_with_its_error() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE, "INSERT INTO t VALUES (7)"]).await;
        let address = DatabaseActor::new(database.clone()).start();
        // Somebody waits for this one.
        assert_eq!(database.execute(insert(7)).await.unwrap_err().code(), "constraint_violation");
        assert_eq!(address.send(insert(7)).await.unwrap().unwrap_err().code(), "constraint_violation");
        // And nobody for these.
        address.do_send(insert(7));
        address.send(Enqueue(insert(7).idempotency_key(key("seven")))).await.unwrap().unwrap();
        let both = Transaction::new()
            .then(("INSERT INTO t VALUES (?1)", params![8]))
            .then(("INSERT INTO nowhere VALUES (:x)", params![1.5, None::<i64>, b"\0".as_slice()]));
        database.enqueue(both.clone()).await.unwrap();
        // In the same batch this one would be the first to fail.
        database.flush().await.unwrap();
        database.enqueue(insert(9).timeout(Duration::ZERO)).await.unwrap();
        address.do_send(insert(10));
        until("all are done", || database.status().writer.buried == 4).await;
        database.flush().await.unwrap();
        let letters = letters(&database).await;
        let told: Vec<_> = letters.iter().map(|letter| (letter.code.as_str(), letter.attempts)).collect();
        assert_eq!(
            told,
            [
                ("constraint_violation", 1),
                ("constraint_violation", 1),
                ("invalid_sql", 1),
                ("deadline_passed", 1)
            ]
        );
        assert_eq!(letters[0].statements, [insert(7).statement]);
        assert_eq!((letters[0].key.as_deref(), letters[1].key.as_deref()), (None, Some("seven")));
        assert_eq!(letters[2].statements, both.statements);
        assert!(letters[0].message.contains("UNIQUE"), "{}", letters[0].message);
        assert!(letters[0].failed_at > 1_700_000_000);
        assert_eq!(integers(&database, "SELECT n FROM t").await, [7, 10]);
        let page = GetDeadLetters { limit: 2, after_id: letters[1].id };
        assert_eq!(database.dead_letters(page).await.unwrap(), letters[2..]);
        assert_eq!(
            database.dead_letters(GetDeadLetters { limit: 0, after_id: 0 }).await.unwrap_err().code(),
            "invalid_message"
        );
        // They outlive the process, and are nobody's business but by these messages.
        assert!(database.shutdown().await.closed);
        let database = place.open(|_| ()).await;
        assert_eq!(self::letters(&database).await, letters);
        for sql in [
            "SELECT * FROM _actix_sqlite_dead_letters",
            "/* actix-sqlite */ SELECT * FROM _actix_sqlite_dead_letters",
        ] {
            assert_eq!(database.query(Query::new(sql)).await.unwrap_err().code(), "forbidden_sql");
        }
        place.assert_sound();
    });
}

#[test]
fn a_dead_letter_that_is_tried_again_is_gone_with_its_commit_or_keeps_its_new_error() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[TABLE, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"]).await;
        for n in [1, 2, 1] {
            database.enqueue(insert(n)).await.unwrap();
        }
        let keyed = insert(2).idempotency_key(key("two"));
        database.enqueue(keyed.clone()).await.unwrap();
        until("all are dead", || database.status().writer.buried == 4).await;
        run_all(&database, &["DELETE FROM t WHERE n = 1"]).await;
        let retried = database.retry_dead_letters(RetryDeadLetters::default()).await.unwrap();
        assert_eq!(
            (retried.committed, retried.failed, retried.missing),
            (1, 3, 0),
            "the second 1 was one too many"
        );
        database.flush().await.unwrap();
        let left = letters(&database).await;
        assert_eq!(left.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(
            left.iter().map(|letter| letter.statements[0].params.clone()).collect::<Vec<_>>(),
            [[2].into(), [1].into(), [2].into()]
        );
        // Sent again under its key by somebody who waits, the letter is not to happen twice.
        run_all(&database, &["DELETE FROM t WHERE n = 2"]).await;
        database.execute(keyed).await.unwrap();
        run_all(&database, &["DELETE FROM t"]).await;
        let ids = vec![left[2].id, 999];
        let retried = database.retry_dead_letters(RetryDeadLetters { ids: Some(ids) }).await.unwrap();
        assert_eq!((retried.committed, retried.failed, retried.missing), (1, 0, 1));
        assert_eq!(integers(&database, "SELECT n FROM t").await, [0; 0], "its key says that it has happened");
        let retried = database.retry_dead_letters(RetryDeadLetters::default()).await.unwrap();
        assert_eq!((retried.committed, retried.failed), (2, 0));
        assert_eq!(integers(&database, "SELECT n FROM t").await, [1, 2]);
        assert!(letters(&database).await.is_empty());
    });
}

#[test]
fn more_dead_letters_than_a_result_may_hold_are_tried_again() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.max_rows = 2.try_into().unwrap();
                settings.readers.max_result_bytes = bytesize::ByteSize::kib(1);
            })
            .await;
        for n in 0..5 {
            let write = Execute::new("INSERT INTO t VALUES (?1, ?2)").params(params![n, "x".repeat(2_000)]);
            database.enqueue(write).await.unwrap();
        }
        until("all are dead", || database.status().writer.buried == 5).await;
        let shown = database.dead_letters(GetDeadLetters::default()).await;
        assert_eq!(shown.unwrap_err().code(), "result_too_large");
        run_all(&database, &["CREATE TABLE t (n, text)"]).await;
        let retried = database.retry_dead_letters(RetryDeadLetters::default()).await.unwrap();
        assert_eq!((retried.committed, retried.failed, retried.missing), (5, 0, 0));
        assert_eq!(integers(&database, "SELECT sum(n) FROM t").await, [10]);
    });
}

#[test]
fn dead_letters_are_thrown_away_by_order_and_by_number() {
    const KEPT: usize = 5;
    run(async {
        let place = Place::new();
        let database =
            place.open(|settings| settings.database.max_dead_letters = KEPT.try_into().unwrap()).await;
        run_all(&database, &[TABLE, "INSERT INTO t VALUES (7)"]).await;
        for _ in 0..20 {
            database.enqueue(insert(7)).await.unwrap();
        }
        until("all are dead", || database.status().writer.buried == 20).await;
        let ids: Vec<i64> = letters(&database).await.iter().map(|letter| letter.id).collect();
        assert_eq!(ids, [16, 17, 18, 19, 20], "the latest");
        let young = ExpireDeadLetters { ids: None, older_than: Some(Duration::from_hours(1)) };
        assert_eq!(database.expire_dead_letters(young).await.unwrap().expired, 0);
        let two = ExpireDeadLetters { ids: Some(vec![17, 19, 999]), older_than: None };
        assert_eq!(database.expire_dead_letters(two).await.unwrap().expired, 2);
        let all = database.expire_dead_letters(ExpireDeadLetters::default()).await.unwrap();
        assert_eq!(all.expired, 3);
        assert!(all.commit <= database.last_commit());
        assert!(letters(&database).await.is_empty());
    });
}

#[test]
fn what_nobody_waits_for_and_cannot_be_kept_is_counted() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.queue.max_writes = 2.try_into().unwrap();
                settings.queue.overflow = Overflow::Reject;
                settings.supervisor.shutdown_timeout = Duration::from_millis(50);
            })
            .await;
        run_all(&database, &[TABLE]).await;
        let address = DatabaseActor::new(database.clone()).start();
        let (gate, in_hand) = Gate::with_one_in_hand(&place, &database, insert(0)).await;
        for n in 1..=5 {
            address.do_send(insert(n));
        }
        until("three are refused", || database.status().writer.lost == 3).await;
        let report = soon("the shutdown", database.shutdown()).await;
        assert_eq!(report.refused, 2);
        assert_eq!(database.status().writer.lost, 5);
        drop(gate);
        drop(in_hand);
    });
}

#[test]
fn a_write_too_large_to_be_kept_is_counted_and_harms_nobody() {
    run(async {
        let place = Place::new();
        let database =
            place.open(|settings| settings.database.max_value_size = bytesize::ByteSize::kib(64)).await;
        run_all(&database, &[TABLE]).await;
        // As JSON it is half as long again.
        let large = Execute::new("INSERT INTO nowhere VALUES (?1)").params(params![vec![0_u8; 60 << 10]]);
        let small = Execute::new("INSERT INTO nowhere VALUES (1)");
        for write in [small.clone(), large, small] {
            database.enqueue(write).await.unwrap();
        }
        until("they are settled", || {
            let writer = database.status().writer;
            writer.buried + writer.lost == 3
        })
        .await;
        assert_eq!(letters(&database).await.len(), 2);
        database.execute(insert(1)).await.unwrap();
        let writer = database.status().writer;
        assert_eq!((writer.buried, writer.lost, writer.restarts), (2, 1, 0));
    });
}

#[test]
fn values_of_every_kind_survive_in_a_dead_letter() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let values = vec![
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Real(f64::INFINITY),
            Value::Real(0.1),
            Value::Text("naïve \u{1F980} \0".into()),
            Value::Blob(vec![0, 255]),
        ];
        database
            .enqueue(Execute::new("INSERT INTO nowhere VALUES (?,?,?,?,?,?)").params(values.clone()))
            .await
            .unwrap();
        until("it is dead", || database.status().writer.buried == 1).await;
        run_all(&database, &["CREATE TABLE nowhere (a, b, c, d, e, f)"]).await;
        assert_eq!(database.retry_dead_letters(RetryDeadLetters::default()).await.unwrap().committed, 1);
        assert_eq!(database.query("SELECT * FROM nowhere").await.unwrap().rows, [values]);
    });
}
