//! All of a transaction or nothing of it, whatever runs beside it.

use actix_sqlite::{Execute, Transaction, WriteError, params};
use futures_util::future::{join, join_all};

use crate::harness::{Place, integers, run, run_all};

fn transfer(from: i64, to: i64, amount: i64) -> Transaction {
    Transaction::new()
        .then(("UPDATE accounts SET balance = balance + ?2 WHERE id = ?1", params![to, amount]))
        .then(("UPDATE accounts SET balance = balance - ?2 WHERE id = ?1", params![from, amount]))
        .then((
            "INSERT INTO transfers (source, target, amount) VALUES (?1, ?2, ?3)",
            params![from, to, amount],
        ))
}

#[test]
fn concurrent_transfers_are_whole_or_absent() {
    const ACCOUNTS: i64 = 5;
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER CHECK (balance >= 0))",
            "CREATE TABLE transfers (id INTEGER PRIMARY KEY, source INTEGER, target INTEGER, amount INTEGER)",
            "INSERT INTO accounts SELECT value, 100 FROM json_each('[0, 1, 2, 3, 4]')",
        ])
        .await;
        let mut random = crate::support::Random::seeded(5);
        let transfers: Vec<Transaction> = (0..1_000)
            .map(|_| {
                let mut number = |bound| i64::try_from(random.below(bound)).unwrap();
                let from = number(5);
                transfer(from, (from + 1 + number(4)) % ACCOUNTS, number(80))
            })
            .collect();
        let results = join_all(transfers.into_iter().map(|transfer| database.transaction(transfer)));
        // Readers see whole transfers only.
        let watch = async {
            for _ in 0..200 {
                assert_eq!(integers(&database, "SELECT sum(balance) FROM accounts").await, [500]);
            }
        };
        let (results, ()) = join(results, watch).await;
        let made = results.iter().filter(|result| result.is_ok()).count();
        assert!(0 < made && made < results.len(), "{made} of {}", results.len());
        for error in results.into_iter().filter_map(Result::err) {
            assert!(matches!(&error, WriteError::Transaction { index: 1, .. }), "{error}");
            assert_eq!(error.code(), "constraint_violation");
        }
        let kept = integers(&database, "SELECT count(*) FROM transfers").await;
        assert_eq!(kept, [i64::try_from(made).unwrap()]);
        let replayed = "SELECT count(*) FROM accounts WHERE balance <> 100
            + (SELECT coalesce(sum(amount), 0) FROM transfers WHERE target = accounts.id)
            - (SELECT coalesce(sum(amount), 0) FROM transfers WHERE source = accounts.id)";
        assert_eq!(integers(&database, replayed).await, [0]);
    });
}

#[test]
fn the_failing_statement_is_named_and_all_others_are_undone() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (n INTEGER UNIQUE)"]).await;
        for failing in 0..5_usize {
            let statements = (0..5_usize).map(|index| match index {
                _ if index == failing => ("INSERT INTO t VALUES (?1)", params!["no integer, and twice"]),
                _ => ("INSERT INTO t VALUES (?1)", params![u32::try_from(index).unwrap()]),
            });
            let duplicate =
                database.execute(Execute::new("INSERT INTO t VALUES ('no integer, and twice')")).await;
            let error = database
                .transaction(statements.fold(Transaction::new(), Transaction::then))
                .await
                .unwrap_err();
            let WriteError::Transaction { index, .. } = error else { panic!("{error}") };
            assert_eq!(index, failing);
            assert_eq!(duplicate.is_ok(), failing == 0);
            assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [1]);
        }
    });
}

#[test]
fn schema_changes_are_undone_too() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let transaction = Transaction::new()
            .then("CREATE TABLE t (x)")
            .then("INSERT INTO t VALUES (1)")
            .then("INSERT INTO u VALUES (1)");
        let error = database.transaction(transaction).await.unwrap_err();
        assert_eq!(error.code(), "invalid_sql");
        assert_eq!(integers(&database, "SELECT count(*) FROM sqlite_schema WHERE name = 't'").await, [0]);
        // The name is free again, for readers and for the writer.
        run_all(&database, &["CREATE TABLE t (y)", "INSERT INTO t (y) VALUES (1)"]).await;
        assert_eq!(integers(&database, "SELECT y FROM t").await, [1]);
    });
}

#[test]
fn a_transaction_of_nothing_is_committed() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        let receipt = database.transaction(Transaction::new()).await.unwrap();
        assert!(receipt.results.is_empty());
    });
}
