//! Readers that panic: the query is answered all the same, once; if it is the reason, its caller hears so.

use actix_sqlite::{Query, State};
use fail::FailScenario;
use futures_util::future::join_all;

use crate::harness::{Place, integers, run, run_all, soon, until};

#[test]
fn a_query_is_answered_though_its_reader_panics() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.threads = 1).await;
        for _ in 0..3 {
            fail::cfg("query", "1*panic->off").unwrap();
            assert_eq!(soon("the answer", integers(&database, "SELECT 7")).await, [7]);
        }
        assert_eq!(database.status().readers.restarts, 3);
        assert_eq!(database.status().state, State::Running);
    });
    scenario.teardown();
}

#[test]
fn a_reader_that_cannot_be_opened_at_once_is_opened_later() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.threads = 1).await;
        fail::cfg("query", "1*panic->off").unwrap();
        fail::cfg("open_reader", "3*panic->off").unwrap();
        assert_eq!(soon("the answer", integers(&database, "SELECT 7")).await, [7]);
        assert_eq!(database.status().readers.restarts, 4);
    });
    scenario.teardown();
}

#[test]
fn a_query_that_panics_twice_is_an_error_and_not_tried_a_third_time() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.readers.threads = 1).await;
        fail::cfg("query", "2*panic->off").unwrap();
        let error = soon("the answer", database.query("SELECT 7")).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("panicked", true));
        // Of a stream some rows may be out, so it is not tried again at all.
        fail::cfg("query", "1*panic->off").unwrap();
        let error = soon("the stream", database.query_stream("SELECT 7")).await.unwrap_err();
        assert_eq!(error.code(), "panicked");
        assert_eq!(integers(&database, "SELECT 7").await, [7]);
        assert_eq!(database.status().readers.restarts, 3);
    });
    scenario.teardown();
}

#[test]
fn writes_go_on_while_readers_come_and_go() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.supervisor.max_restarts = 1_000).await;
        run_all(&database, &["CREATE TABLE t (n INTEGER)"]).await;
        fail::cfg("query", "5*off->1*panic->5*off->1*panic->5*off->1*panic->5*off->1*panic->off").unwrap();
        let queries = (0..100_i64).map(|n| {
            let database = &database;
            async move {
                let rows = database.query(Query::new("SELECT ?1").params([n])).await.unwrap();
                assert_eq!(rows.rows, [[n.into()]]);
            }
        });
        let writes = (0..100).map(|n| {
            let insert = actix_sqlite::Execute::new("INSERT INTO t VALUES (?1)").params([n]);
            let database = &database;
            async move { drop(database.execute(insert).await.unwrap()) }
        });
        soon("all", futures_util::future::join(join_all(queries), join_all(writes))).await;
        until("all panics are counted", || database.status().readers.restarts == 4).await;
        assert_eq!(database.status().writer.restarts, 0);
    });
    scenario.teardown();
}

#[test]
fn readers_over_their_budget_end_the_database_and_everybody_is_answered() {
    let scenario = FailScenario::setup();
    run(async {
        let place = Place::new();
        let database = place.open(|settings| settings.supervisor.max_restarts = 3).await;
        fail::cfg("query", "panic").unwrap();
        let queries = join_all((0..50).map(|_| database.query("SELECT 1")));
        for result in soon("the answers", queries).await {
            let code = result.unwrap_err().code();
            assert!(["panicked", "database_failed"].contains(&code), "{code}");
        }
        let reason = soon("the end", database.ended()).await.expect("a reason");
        assert!(reason.contains("the reader failed more than 3 times"), "{reason}");
        let error = database.execute("CREATE TABLE t (x)").await.unwrap_err();
        assert_eq!(error.code(), "database_failed");
    });
    scenario.teardown();
}
