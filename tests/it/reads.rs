//! A query sees what was acknowledged before it began, writes nothing, and is bounded in rows, bytes and time.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use actix_sqlite::{CommitSeq, Execute, Outcome, Query, ReadError, Value, params};
use bytesize::ByteSize;
use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use serde::Deserialize;

use crate::harness::{Gate, Place, integers, run, run_all, soon, until, unwrap_all};

const ENDLESS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c";
const COUNT_FOR_EVER: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

fn numbers(to: u32) -> Query {
    Query::new("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT ?1) SELECT n FROM c")
        .params([to])
}

#[test]
fn a_query_begun_after_an_acknowledgement_sees_the_write() {
    const CALLERS: u32 = 8;
    const EACH: u32 = 250;
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.threads = 4).await;
        run_all(&database, &["CREATE TABLE t (id INTEGER PRIMARY KEY, caller INTEGER, n INTEGER)"]).await;
        let callers = (0..CALLERS).map(|caller| {
            let database = database.clone();
            actix_rt::spawn(async move {
                for n in 0..EACH {
                    let insert =
                        Execute::new("INSERT INTO t (caller, n) VALUES (?1, ?2)").params([caller, n]);
                    let receipt = database.execute(insert).await.unwrap();
                    assert!(database.last_commit() >= receipt.commit);
                    let query = || Query::new("SELECT max(n) FROM t WHERE caller = ?1").params([caller]);
                    // Whichever readers these reach.
                    let (one, two) = join(
                        integers(&database, query()),
                        integers(&database, query().min_commit(receipt.commit)),
                    )
                    .await;
                    assert_eq!((one, two), (vec![i64::from(n)], vec![i64::from(n)]));
                }
            })
        });
        unwrap_all(join_all(callers).await);
    });
}

#[test]
fn a_query_waits_for_the_commit_it_asks_for() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (n INTEGER)"]).await;
        let next = CommitSeq(database.last_commit().0 + 1);
        let (gate, write) = Gate::with_one_in_hand(&place, &database, "INSERT INTO t VALUES (1)").await;
        let query = integers(&database, Query::new("SELECT n FROM t").min_commit(next));
        let (seen, ()) = soon(
            "the query",
            join(query, async {
                assert_eq!(integers(&database, "SELECT n FROM t").await, [0; 0], "nothing is there yet");
                drop(gate);
            }),
        )
        .await;
        assert_eq!(seen, [1]);
        assert_eq!(write.await.unwrap().unwrap().commit, next);
    });
}

#[test]
fn a_commit_that_does_not_come_in_time_is_an_error_that_says_so() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let last = database.last_commit();
        let wanted = CommitSeq(last.0 + 1);
        let query = Query::new("SELECT 1").min_commit(wanted).timeout(Duration::from_millis(20));
        let error = soon("the query", database.query(query)).await.unwrap_err();
        assert_eq!(error.code(), "commit_not_reached");
        assert!(error.is_retryable());
        assert_eq!(error, ReadError::CommitNotReached { wanted: wanted.0, last: last.0 });
    });
}

#[test]
fn nobody_waits_for_a_commit_after_the_end() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let query = || Query::new("SELECT 1").min_commit(CommitSeq(1_000_000));
        let mut waiting = Box::pin(database.query(query()));
        assert!((&mut waiting).now_or_never().is_none(), "it waits");
        assert!(database.shutdown().await.closed);
        assert_eq!(soon("an early query", waiting).await.unwrap_err().code(), "shutting_down");
        assert_eq!(soon("a late query", database.query(query())).await.unwrap_err().code(), "shutting_down");
    });
}

#[test]
fn a_query_cannot_write() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (1)"]).await;
        for sql in [
            "INSERT INTO t VALUES (2)",
            "INSERT INTO t VALUES (2) RETURNING n",
            "UPDATE t SET n = 2",
            "WITH c AS (SELECT 2) UPDATE t SET n = (SELECT * FROM c)",
            "DELETE FROM t",
            "CREATE TABLE u (x)",
            "DROP TABLE t",
            "CREATE INDEX i ON t (n)",
            "REINDEX",
            "ANALYZE",
        ] {
            for _ in 0..3 {
                let error = database.query(sql).await.expect_err(sql);
                assert_eq!(error.code(), "not_read_only", "{sql}: {error}");
                let error = database.query_stream(sql).await.expect_err(sql);
                assert_eq!(error.code(), "not_read_only", "{sql}: {error}");
            }
        }
        assert_eq!(integers(&database, "SELECT n FROM t").await, [1]);
        assert_eq!(database.query("EXPLAIN QUERY PLAN SELECT n FROM t").await.unwrap().len(), 1);
    });
}

#[test]
fn a_result_is_bounded_in_rows_and_bytes() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.max_rows = NonZeroUsize::new(100).unwrap();
                settings.readers.max_result_bytes = ByteSize::kib(10);
            })
            .await;
        assert_eq!(database.query(numbers(100)).await.unwrap().len(), 100);
        let error = database.query(numbers(101)).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("result_too_large", false));
        assert!(error.to_string().contains("readers.max_rows"), "{error}");
        let error = soon("an endless result", database.query(ENDLESS)).await.unwrap_err();
        assert_eq!(error.code(), "result_too_large");
        let blob = |size: i64| Query::new("SELECT zeroblob(?1)").params([size]);
        assert_eq!(database.query(blob(10 * 1024)).await.unwrap().len(), 1);
        let error = database.query(blob(10 * 1024 + 1)).await.unwrap_err();
        assert_eq!(error.code(), "result_too_large");
        assert!(error.to_string().contains("readers.max_result_bytes"), "{error}");
    });
}

#[test]
fn a_value_is_bounded_before_it_is_made() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.database.max_value_size = ByteSize::kib(64);
                settings.readers.threads = 1;
            })
            .await;
        run_all(&database, &["CREATE TABLE t (x)"]).await;
        let made = "randomblob(70000)";
        let select = database.query(format!("SELECT {made}")).await.unwrap_err();
        let stream = database.query_stream(format!("SELECT {made}")).await.unwrap_err();
        for error in [select, stream] {
            assert_eq!((error.code(), error.is_retryable()), ("too_large", false));
            assert!(error.to_string().contains("database.max_value_size"), "{error}");
        }
        let insert = database.execute(format!("INSERT INTO t VALUES ({made})")).await.unwrap_err();
        assert_eq!((insert.code(), insert.outcome()), ("too_large", Outcome::NotExecuted));
        let bound = Execute::new("INSERT INTO t VALUES (?1)").params([vec![0; 70_000]]);
        assert_eq!(database.execute(bound).await.unwrap_err().code(), "too_large");
        // Neither connection is worse for it.
        database.execute("INSERT INTO t VALUES (randomblob(60000))").await.unwrap();
        assert_eq!(integers(&database, "SELECT length(x) FROM t").await, [60_000]);
        let status = database.status();
        assert_eq!((status.writer.restarts, status.readers.restarts), (0, 0));
    });
}

#[test]
fn one_row_of_a_stream_is_bounded_too() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.max_result_bytes = ByteSize::kib(10)).await;
        let wide = "SELECT randomblob(4000), randomblob(4000), randomblob(4000)";
        let mut stream = database.query_stream(wide).await.unwrap();
        let error = stream.next().await.expect("an end that is told").unwrap_err();
        assert_eq!(error.code(), "result_too_large");
        assert!(error.to_string().contains("a row"), "{error}");
        let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20) SELECT randomblob(4000) FROM n";
        let mut stream = database.query_stream(long).await.unwrap();
        let mut rows = 0;
        while let Some(chunk) = stream.next().await {
            rows += chunk.unwrap().len();
        }
        assert_eq!(rows, 20, "the rows together are as long as they like");
    });
}

#[test]
fn a_query_is_bounded_in_time_and_the_reader_serves_on() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.query_timeout = Duration::from_millis(300);
            })
            .await;
        for timeout in [None, Some(Duration::from_millis(30)), Some(Duration::from_hours(1))] {
            let mut query = Query::new(COUNT_FOR_EVER);
            query.timeout = timeout;
            let begun = Instant::now();
            let error = soon("the query", database.query(query)).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("statement_timeout", true));
            let least = timeout.map_or(300, |timeout| timeout.as_millis().min(300));
            assert!(begun.elapsed().as_millis() >= least, "{:?}", begun.elapsed());
            assert_eq!(integers(&database, "SELECT 1").await, [1]);
        }
        // What waits behind it longer than it may is refused, not run.
        let (slow, waits) = soon(
            "both",
            join(
                database.query(COUNT_FOR_EVER),
                database.query(Query::new("SELECT 1").timeout(Duration::from_millis(10))),
            ),
        )
        .await;
        assert_eq!(slow.unwrap_err().code(), "statement_timeout");
        assert_eq!(waits.unwrap_err().code(), "deadline_passed");
    });
}

#[test]
fn one_row_is_the_first_or_none() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.max_rows = NonZeroUsize::MIN).await;
        let row = database.query_one(ENDLESS).await.unwrap().expect("a row");
        assert_eq!((row.get("n"), row.get("m")), (Some(&Value::from(1)), None));
        assert!(database.query_one("SELECT 1 WHERE 0").await.unwrap().is_none());
        assert_eq!(database.query_one("SELECT").await.unwrap_err().code(), "invalid_sql");
    });
}

#[test]
fn rows_become_the_callers_types_or_an_error_that_names_what_does_not_fit() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Entry {
        id: i64,
        name: Option<String>,
        score: f64,
    }
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, score REAL)"]).await;
        let insert = Execute::new("INSERT INTO t VALUES (:id, :name, @score)");
        for (id, name, score) in [(1, Some("one"), 0.5), (2, None, 1e300)] {
            let named = [("id", Value::from(id)), ("name", name.into()), ("score", score.into())];
            let named = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            database.execute(insert.clone().params(actix_sqlite::Params::Named(named))).await.unwrap();
        }
        let entries: Vec<Entry> = database.query_as("SELECT * FROM t ORDER BY id").await.unwrap();
        let one = Entry { id: 1, name: Some("one".into()), score: 0.5 };
        assert_eq!(entries, [one, Entry { id: 2, name: None, score: 1e300 }]);
        let error = database.query_as::<Entry>("SELECT id, name FROM t").await.unwrap_err();
        assert_eq!(error.code(), "deserialize");
        assert!(error.to_string().contains("score"), "{error}");
    });
}

#[test]
fn a_stream_has_every_row_however_many() {
    const ROWS: u32 = 250_000;
    run(async {
        let place = Place::new();
        let database =
            place.open(|settings| settings.readers.max_rows = NonZeroUsize::new(10).unwrap()).await;
        let mut stream = database.query_stream(numbers(ROWS)).await.unwrap();
        assert_eq!(stream.columns(), ["n"]);
        let mut next = 1_i64;
        while let Some(rows) = stream.next().await {
            for row in rows.unwrap() {
                assert_eq!(row, [Value::from(next)]);
                next += 1;
            }
        }
        assert_eq!(next, i64::from(ROWS) + 1);
        let empty = database.query_stream("SELECT 1 WHERE 0").await.unwrap().next().await;
        assert!(empty.is_none());
    });
}

#[test]
fn a_stream_that_fails_on_its_way_says_so() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let late = Query::new(
            "SELECT abs(iif(n < 1000, n, -9223372036854775808)) FROM (SELECT value AS n FROM json_each(?1))",
        )
        .params(params![format!("[{}]", (1..=1000).map(|n| n.to_string()).collect::<Vec<_>>().join(","))]);
        let mut stream = database.query_stream(late).await.unwrap();
        let (mut rows, mut error) = (0, None);
        // The reader is done with it, and whatever it had to say is waiting.
        until("the query has failed", || database.status().readers.failed == 1).await;
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => rows += piece.len(),
                Err(failed) => error = Some(failed),
            }
        }
        assert!(rows < 1000);
        assert_eq!(error.expect("an error at the end").code(), "invalid_sql");
    });
}

#[test]
fn a_stream_dropped_early_frees_its_reader() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.query_timeout = Duration::from_hours(1);
            })
            .await;
        for taken in [0, 1, 10] {
            let mut stream = database.query_stream(ENDLESS).await.unwrap();
            for _ in 0..taken {
                assert!(!stream.next().await.unwrap().unwrap().is_empty());
            }
            drop(stream);
            assert_eq!(soon("the next query", integers(&database, "SELECT 1")).await, [1]);
        }
    });
}

#[test]
fn a_receiver_that_stops_reading_does_not_keep_the_reader_for_ever() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.query_timeout = Duration::from_millis(200);
            })
            .await;
        let mut stream = database.query_stream(ENDLESS).await.unwrap();
        let begun = Instant::now();
        while let Err(error) = database.query("SELECT 1").await {
            assert_eq!(error.code(), "deadline_passed");
            assert!(begun.elapsed() < crate::harness::SOON, "the reader is held");
        }
        // The receiver comes back: it gets what was found in time, and hears that this is not all.
        let mut last = Ok(Vec::new());
        while let Some(piece) = soon("what is left", stream.next()).await {
            last = piece;
        }
        assert_eq!(last.expect_err("not the end").code(), "statement_timeout");
    });
}

#[test]
fn a_query_whose_caller_leaves_gives_its_reader_back() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.max_rows = NonZeroUsize::new(100_000_000).unwrap();
                settings.readers.max_result_bytes = ByteSize::gib(4);
                settings.readers.query_timeout = Duration::from_hours(1);
            })
            .await;
        // By the time the second query is answered the first has been begun, or dropped from the queue.
        let left = actix_rt::time::timeout(Duration::from_millis(50), database.query(ENDLESS)).await;
        assert!(left.is_err(), "it never ends");
        assert_eq!(soon("the next query", integers(&database, "SELECT 1")).await, [1]);
    });
}

#[test]
fn callers_who_leave_an_endless_query_without_rows_keep_no_reader() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 2;
                settings.readers.query_timeout = Duration::from_hours(1);
            })
            .await;
        let mut endless: Vec<_> = (0..2).map(|_| Box::pin(database.query(COUNT_FOR_EVER))).collect();
        for query in &mut endless {
            assert!(query.now_or_never().is_none());
        }
        until("both run", || database.status().readers.queue.length == 0).await;
        drop(endless);
        assert_eq!(soon("the next query", integers(&database, "SELECT 1")).await, [1]);
    });
}

#[test]
fn a_stream_whose_receiver_takes_nothing_keeps_no_reader() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.query_timeout = Duration::from_hours(1);
                settings.readers.max_stall = Duration::from_millis(20);
            })
            .await;
        let mut stalled = database.query_stream(ENDLESS).await.unwrap();
        assert_eq!(soon("the next query", integers(&database, "SELECT 1")).await, [1]);
        let mut last = Ok(Vec::new());
        while let Some(piece) = stalled.next().await {
            last = piece;
        }
        assert_eq!(last.expect_err("it was broken off").code(), "statement_timeout");
    });
}

#[test]
fn a_stream_whose_receiver_takes_nothing_does_not_hold_up_a_shutdown() {
    run(async {
        let place = Place::new();
        let database = place
            .open(|settings| {
                settings.readers.threads = 1;
                settings.readers.max_stall = Duration::from_hours(1);
                settings.readers.query_timeout = Duration::from_hours(1);
            })
            .await;
        let mut stream = database.query_stream(ENDLESS).await.unwrap();
        stream.next().await.unwrap().unwrap();
        let report = soon("the shutdown", database.shutdown()).await;
        assert!(report.closed && report.seconds < 5.0, "{report}");
        // What it holds already it may still take; the end is told.
        let mut last = None;
        while let Some(chunk) = stream.next().await {
            last = Some(chunk);
        }
        assert_eq!(last.expect("an end").unwrap_err().code(), "statement_timeout");
    });
}

#[test]
fn a_statement_that_was_kept_sees_the_columns_of_a_changed_table() {
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.threads = 1).await;
        run_all(&database, &["CREATE TABLE t (a, b)", "INSERT INTO t VALUES (1, 2)"]).await;
        let insert = "INSERT INTO t (a) VALUES (7) RETURNING *";
        for (change, columns) in [
            (None, vec!["a", "b"]),
            (Some("ALTER TABLE t ADD COLUMN c DEFAULT 3"), vec!["a", "b", "c"]),
            (Some("ALTER TABLE t DROP COLUMN b"), vec!["a", "c"]),
            (Some("DELETE FROM t"), vec!["a", "c"]),
            (Some("ALTER TABLE t RENAME COLUMN c TO d"), vec!["a", "d"]),
        ] {
            if let Some(change) = change {
                database.execute(change).await.unwrap();
            }
            let rows = database.query("SELECT * FROM t").await.unwrap();
            assert_eq!(*rows.columns, *columns, "after {change:?}");
            assert!(rows.rows.iter().all(|row| row.len() == columns.len()));
            let receipt = database.execute(insert).await.unwrap();
            assert_eq!(*receipt.columns, *columns, "after {change:?}");
            assert_eq!(receipt.rows[0].len(), columns.len());
        }
    });
}
