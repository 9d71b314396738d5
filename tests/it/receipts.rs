//! Writes are grouped, and yet each caller gets its own receipt: its own rowid, its own rows, its own count.

use actix_sqlite::{CommitSeq, Execute, Transaction, Value, params};
use futures_util::future::join_all;

use crate::harness::{Place, all, integers, run, run_all, value};

#[test]
fn many_callers_share_few_commits_and_each_gets_its_own_rowid_and_rows() {
    const CALLERS: u32 = 64;
    const EACH: u32 = 25;
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(
            &database,
            &[
                "CREATE TABLE a (id INTEGER PRIMARY KEY, caller INTEGER, n INTEGER)",
                "CREATE TABLE b (id INTEGER PRIMARY KEY, caller INTEGER, n INTEGER)",
                "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)",
                "INSERT INTO log VALUES (1000000, 'rowids here are far from those elsewhere')",
                "CREATE TRIGGER log_a AFTER INSERT ON a BEGIN INSERT INTO log (what) VALUES ('a'); END",
                "CREATE TRIGGER log_b BEFORE INSERT ON b BEGIN INSERT INTO log (what) VALUES ('b'); END",
            ],
        )
        .await;
        let commits = database.status().writer.commits;
        // The rowids of the two tables coincide all the time.
        let callers = (0..CALLERS).map(|caller| {
            let database = database.clone();
            async move {
                let sql = if caller % 2 == 0 {
                    "INSERT INTO a (caller, n) VALUES (?1, ?2) RETURNING id, caller, n"
                } else {
                    "INSERT INTO b (caller, n) VALUES (?1, ?2) RETURNING id, caller, n"
                };
                let mut receipts = Vec::new();
                for n in 0..EACH {
                    let receipt = database.execute(Execute::new(sql).params([caller, n])).await.unwrap();
                    assert_eq!((receipt.rows.len(), receipt.rows_affected), (1, 1));
                    assert_eq!(value(&receipt, "caller"), Value::from(caller));
                    assert_eq!(value(&receipt, "n"), Value::from(n));
                    assert_eq!(
                        value(&receipt, "id").as_i64(),
                        receipt.last_insert_rowid,
                        "caller {caller}, {n}"
                    );
                    receipts.push(receipt);
                }
                (caller, receipts)
            }
        });
        for (caller, receipts) in join_all(callers).await {
            let table = if caller % 2 == 0 { "a" } else { "b" };
            let stored = database
                .query(actix_sqlite::Query::new(format!(
                    "SELECT id FROM {table} WHERE caller = {caller} ORDER BY n"
                )))
                .await
                .unwrap();
            let stored: Vec<i64> = stored.deserialize().unwrap();
            let told: Vec<i64> = receipts.iter().map(|receipt| receipt.last_insert_rowid.unwrap()).collect();
            assert_eq!(told, stored);
        }
        let commits = database.status().writer.commits - commits;
        let writes = u64::from(CALLERS * EACH);
        println!("{writes} writes in {commits} commits");
        assert!(commits * 4 < writes, "{writes} writes in {commits} commits");
    });
}

/// Each with what came before it on the connection, so that a stale number would show.
#[test]
fn a_rowid_is_that_of_the_row_this_very_statement_inserted() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &[
            "CREATE TABLE a (id INTEGER PRIMARY KEY, x UNIQUE)",
            "CREATE TABLE b (id INTEGER PRIMARY KEY, x UNIQUE)",
            "CREATE TABLE log (id INTEGER PRIMARY KEY, x)",
            "CREATE TABLE keyed (k TEXT PRIMARY KEY, x) WITHOUT ROWID",
            // Its insert gets the number that was inserted last on the connection.
            "CREATE TRIGGER b_update AFTER UPDATE ON b BEGIN DELETE FROM log WHERE id = NEW.x; INSERT INTO log VALUES (NEW.x, 'same'); END",
            "CREATE TRIGGER b_before BEFORE INSERT ON b BEGIN DELETE FROM log WHERE id = 5; INSERT INTO log VALUES (5, 'same'); END",
            "CREATE TRIGGER b_after AFTER INSERT ON b BEGIN INSERT INTO log (x) VALUES ('other'); END",
            "CREATE TRIGGER b_delete AFTER DELETE ON b BEGIN DELETE FROM log WHERE id = 5; INSERT INTO log VALUES (5, 'same'); END",
            "INSERT INTO b VALUES (1, 1)",
        ])
        .await;
        let cases: [(&str, &str, u64, Option<i64>); 16] = [
            ("INSERT INTO a VALUES (5, 5)", "an insert", 1, Some(5)),
            (
                "INSERT INTO b VALUES (5, 50)",
                "the same number in another table, which has triggers",
                1,
                Some(5),
            ),
            ("UPDATE a SET x = 6 WHERE id = 5", "an update after an insert", 1, None),
            ("UPDATE b SET x = 5 WHERE id = 5", "an update whose trigger inserts that number", 1, None),
            ("/* note */ UPDATE b SET x = 5 WHERE id = 5", "the same behind a comment", 1, None),
            ("-- note\n UPDATE b SET x = 5 WHERE id = 5", "the same behind another comment", 1, None),
            (
                "WITH c(x) AS (SELECT 5) UPDATE b SET x = (SELECT x FROM c) WHERE id = 5",
                "and behind WITH",
                1,
                None,
            ),
            (
                "INSERT INTO b VALUES (7, 5) ON CONFLICT (x) DO UPDATE SET x = 5",
                "an upsert that updates",
                1,
                None,
            ),
            ("INSERT OR IGNORE INTO b VALUES (8, 5)", "an ignored insert", 0, None),
            ("INSERT INTO keyed VALUES ('k', 1)", "a table without rowids", 1, None),
            (
                "INSERT INTO b SELECT 30 + value, 30 + value FROM json_each('[1, 2, 3]')",
                "the last of many",
                3,
                Some(33),
            ),
            ("REPLACE INTO a VALUES (33, 1)", "a replace", 1, Some(33)),
            ("REPLACE INTO a VALUES (33, 2)", "a replace of the same row", 1, Some(33)),
            ("CREATE TABLE c (x)", "a table", 0, None),
            ("DELETE FROM b WHERE id > 30", "a delete whose trigger inserts", 3, None),
            ("DROP TABLE c", "no table", 0, None),
        ];
        for round in ["in batches of one", "again, in one batch"] {
            if round != "in batches of one" {
                run_all(&database, &["DELETE FROM a", "DELETE FROM keyed", "DELETE FROM b WHERE id <> 1"])
                    .await;
            }
            let receipts = if round == "in batches of one" {
                let mut receipts = Vec::new();
                for case in cases {
                    receipts.push(database.execute(case.0).await);
                }
                receipts
            } else {
                all(&database, cases.map(|case| case.0)).await
            };
            for ((sql, what, affected, rowid), receipt) in cases.into_iter().zip(receipts) {
                let receipt = receipt.unwrap_or_else(|error| panic!("{what} {round}: {sql}: {error}"));
                assert_eq!(receipt.last_insert_rowid, rowid, "{what} {round}: {sql}");
                assert_eq!(receipt.rows_affected, affected, "{what} {round}: {sql}");
            }
        }
    });
}

#[test]
fn the_statements_of_a_transaction_each_have_their_own_result() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(
            &database,
            &[
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)",
                "CREATE TABLE items (id INTEGER PRIMARY KEY, owner INTEGER, what TEXT)",
                "INSERT INTO orders VALUES (41, 'earlier')",
            ],
        )
        .await;
        let receipt = database
            .transaction(
                Transaction::new()
                    .then(("INSERT INTO orders (what) VALUES (?1)", ["new"]))
                    .then("INSERT INTO items (owner, what) VALUES (last_insert_rowid(), 'a') RETURNING owner")
                    .then("UPDATE items SET what = 'b'")
                    .then("SELECT count(*) AS n FROM orders"),
            )
            .await
            .unwrap();
        let [order, item, update, count] = &*receipt.results else { panic!("four results") };
        assert_eq!((order.last_insert_rowid, order.rows_affected), (Some(42), 1));
        assert_eq!(item.rows, [[Value::from(42)]], "last_insert_rowid() is the transaction's own");
        assert_eq!((update.last_insert_rowid, update.rows_affected), (None, 1));
        assert_eq!(count.first_row().unwrap().get("n"), Some(&Value::from(2)));
    });
}

#[test]
fn later_commits_have_higher_numbers_and_a_batch_shares_one() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(&database, &["CREATE TABLE t (x)"]).await;
        let mut last = CommitSeq::default();
        for round in 0..20 {
            let writes =
                (0..10).map(|n| Execute::new("INSERT INTO t VALUES (?1)").params(params![round * 10 + n]));
            let receipts = all(&database, writes).await;
            for receipt in receipts {
                let commit = receipt.unwrap().commit;
                assert!(commit >= last);
                last = commit;
            }
            assert_eq!(database.last_commit(), last);
        }
        assert_eq!(integers(&database, "SELECT x FROM t ORDER BY rowid").await, (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn what_a_caller_holds_while_it_waits_is_small() {
    run(async {
        let database = Place::new().open(|_| ()).await;
        let limit = Execute::new("SELECT 1").timeout(std::time::Duration::from_secs(1));
        let of = [
            size_of_val(&database.execute("SELECT 1")),
            size_of_val(&database.execute(limit)),
            size_of_val(&database.query("SELECT 1")),
        ];
        // A message, where its answer comes from, and of a query a timer; not what few of them need. It is part of the
        // caller's task, and moved with it.
        assert!(of[0] <= 320 && of[1] <= 384 && of[2] <= 704, "{of:?} bytes");
    });
}
