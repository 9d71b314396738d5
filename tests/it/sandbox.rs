//! What SQL of callers may not do, on the writer and on the readers, the first time and again (prepared statements are
//! kept); and what it may.

use actix_sqlite::{Database, Execute, Query, Statement, Transaction, params};

use crate::harness::{Place, integers, key, run, run_all, texts};

/// Refused by the writer and by the readers alike.
const FORBIDDEN: &[&str] = &[
    "BEGIN",
    "begin immediate",
    "BEGIN IMMEDIATE",
    "BEGIN EXCLUSIVE TRANSACTION",
    "COMMIT",
    "COMMIT;",
    "  COMMIT  ",
    "/* c */ COMMIT",
    "END",
    "ROLLBACK",
    "SAVEPOINT s",
    "RELEASE s",
    "ROLLBACK TO s",
    "SAVEPOINT _actix_sqlite_write",
    "ROLLBACK TO _actix_sqlite_write",
    "RELEASE _actix_sqlite_write",
    "ATTACH DATABASE 'other.db' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "SELECT load_extension('x')",
    "SELECT * FROM _actix_sqlite_commit",
    "SELECT seq FROM _ACTIX_SQLITE_COMMIT",
    "SELECT count(*) FROM _actix_sqlite_idempotency",
    "SELECT (SELECT max(key) FROM _actix_sqlite_idempotency)",
    "UPDATE _actix_sqlite_commit SET seq = 0",
    "DELETE FROM _actix_sqlite_commit",
    "INSERT INTO _actix_sqlite_idempotency VALUES ('k', x'00', '{}', 0)",
    "REPLACE INTO main._actix_sqlite_commit VALUES (1, 1, 0)",
    "DROP TABLE _actix_sqlite_commit",
    "ALTER TABLE _actix_sqlite_commit RENAME TO mine",
    "ALTER TABLE _actix_sqlite_commit ADD COLUMN x",
    "ALTER TABLE _actix_sqlite_commit DROP COLUMN format",
    "CREATE TRIGGER mine AFTER UPDATE ON _actix_sqlite_commit BEGIN SELECT 1; END",
    "CREATE INDEX mine ON _actix_sqlite_commit (seq)",
    "DROP INDEX _actix_sqlite_idempotency_by_age",
    "CREATE TABLE _actix_sqlite_mine (x)",
    "CREATE TABLE _Actix_Sqlite_Mine (x)",
    "CREATE VIEW _actix_sqlite_mine AS SELECT 1",
    "ALTER TABLE t RENAME TO _actix_sqlite_mine",
    "CREATE TABLE child (k TEXT REFERENCES _actix_sqlite_idempotency (receipt))",
    "CREATE TABLE child (k INTEGER REFERENCES \"_ACTIX_sqlite_commit\" (seq))",
    "ALTER TABLE t ADD COLUMN k INTEGER REFERENCES _actix_sqlite_commit (seq)",
    "CREATE VIEW peek AS SELECT * FROM _actix_sqlite_commit",
    "CREATE TRIGGER meddle AFTER INSERT ON t BEGIN DELETE FROM _actix_sqlite_idempotency; END",
    "CREATE INDEX _actix_sqlite_i ON t (a)",
    "CREATE TEMP TABLE mine (x)",
    "CREATE TABLE temp.mine (x)",
    "CREATE TEMP VIEW mine AS SELECT 1",
    "CREATE TEMP TRIGGER mine AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE temp.mine USING fts5(x)",
    "CREATE VIRTUAL TABLE temp.mine USING fts5vocab('main', 'f', 'row')",
    "PRAGMA journal_mode = delete",
    "PRAGMA journal_mode(off)",
    "PRAGMA main.journal_mode = memory",
    "PRAGMA synchronous = off",
    "PRAGMA foreign_keys = off",
    "PRAGMA ignore_check_constraints = on",
    "PRAGMA defer_foreign_keys = on",
    "PRAGMA recursive_triggers = on",
    "PRAGMA writable_schema = on",
    "PRAGMA writable_schema",
    "PRAGMA trusted_schema = on",
    "PRAGMA query_only = off",
    "PRAGMA locking_mode = exclusive",
    "PRAGMA locking_mode",
    "PRAGMA wal_checkpoint",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA wal_autocheckpoint = 1",
    "PRAGMA journal_size_limit = 0",
    "PRAGMA temp_store_directory = '/'",
    "PRAGMA temp_store = 2",
    "PRAGMA mmap_size = 1000000",
    "PRAGMA busy_timeout = 0",
    "PRAGMA cache_size = 1",
    "PRAGMA page_size = 512",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA schema_version = 1",
    "PRAGMA max_page_count = 1",
    "PRAGMA threads = 8",
    "PRAGMA soft_heap_limit = 1",
    "PRAGMA hard_heap_limit = 1",
    "PRAGMA shrink_memory",
    "PRAGMA case_sensitive_like = on",
    "PRAGMA database_list",
    "PRAGMA incremental_vacuum",
    "PRAGMA auto_vacuum = full",
    "PRAGMA secure_delete = off",
    "PRAGMA nonsense",
];

async fn open(place: &Place) -> Database {
    let database = place.open(|_| ()).await;
    run_all(
        &database,
        &["CREATE TABLE t (id INTEGER PRIMARY KEY, x)", "CREATE VIRTUAL TABLE f USING fts5(x)"],
    )
    .await;
    // From here on the engine's own statements are prepared and kept.
    database
        .execute(Execute::new("INSERT INTO t (x) VALUES ('first')").idempotency_key(key("secret")))
        .await
        .unwrap();
    database.transaction(Transaction::new().then("INSERT INTO t (x) VALUES ('second')")).await.unwrap();
    let failing = Transaction::new().then("INSERT INTO t (x) VALUES ('third')").then("no statement");
    database.transaction(failing).await.unwrap_err();
    database.execute("INSERT INTO t VALUES (1, 'taken')").await.unwrap_err();
    database
}

#[test]
fn forbidden_sql_is_refused_by_the_writer_alone_and_in_a_transaction() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        let schema = texts(&database, "SELECT name FROM sqlite_schema ORDER BY name").await;
        for round in 0..3 {
            for sql in FORBIDDEN {
                let error = database.execute(*sql).await.expect_err(sql);
                assert_eq!(error.code(), "forbidden_sql", "round {round}: {sql}: {error}");
                assert!(!error.is_retryable());
                let transaction = Transaction::new().then("INSERT INTO t (x) VALUES ('never')").then(*sql);
                let error = database.transaction(transaction).await.expect_err(sql);
                assert_eq!(error.code(), "forbidden_sql", "round {round}: {sql}: {error}");
            }
        }
        assert_eq!(texts(&database, "SELECT x FROM t ORDER BY id").await, ["first", "second"]);
        assert_eq!(texts(&database, "SELECT name FROM sqlite_schema ORDER BY name").await, schema);
        let last = database.last_commit();
        let receipt = database.execute("INSERT INTO t (x) VALUES ('goes on')").await.unwrap();
        assert_eq!(receipt.commit.0, last.0 + 1);
        assert_eq!(database.status().writer.restarts, 0);
    });
}

#[test]
fn forbidden_sql_is_refused_by_the_readers() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        for round in 0..3 {
            for sql in FORBIDDEN {
                let error = database.query(*sql).await.expect_err(sql);
                assert_eq!(error.code(), "forbidden_sql", "round {round}: {sql}: {error}");
            }
            for sql in ["PRAGMA user_version = 7", "PRAGMA application_id = 7", "PRAGMA optimize"] {
                let error = database.query(sql).await.expect_err(sql);
                assert_eq!(error.code(), "forbidden_sql", "round {round}: {sql}: {error}");
            }
        }
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [2]);
        assert_eq!(database.status().readers.restarts, 0);
    });
}

/// A statement that the engine keeps prepared for itself is not handed out to who sends the same text.
#[test]
fn the_engines_own_statements_are_no_way_around_the_sandbox() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        let own: [Statement; 10] = [
            "COMMIT".into(),
            "/* actix-sqlite */ COMMIT".into(),
            " \n/* actix-sqlite */ ROLLBACK".into(),
            "/* actix-sqlite */".into(),
            ("/* actix-sqlite */ UPDATE _actix_sqlite_commit SET seq = ?1", params![0]).into(),
            "BEGIN IMMEDIATE".into(),
            "ROLLBACK".into(),
            ("UPDATE _actix_sqlite_commit SET seq = ?1", params![0]).into(),
            ("SELECT fingerprint, receipt FROM _actix_sqlite_idempotency WHERE key = ?1", params!["secret"])
                .into(),
            (
                "INSERT INTO _actix_sqlite_idempotency VALUES (?1, ?2, ?3, ?4)",
                params!["forged", b"f".as_slice(), "{}", 0],
            )
                .into(),
        ];
        for statement in own {
            let sql = statement.sql.clone();
            let error = database.execute(statement.clone()).await.expect_err(&sql);
            assert_eq!(error.code(), "forbidden_sql", "{sql}: {error}");
            let error = database.query(statement).await.expect_err(&sql);
            assert_eq!(error.code(), "forbidden_sql", "{sql}: {error}");
            // And it is still there for the engine.
            database
                .execute(Execute::new("UPDATE t SET x = 'on'").idempotency_key(key(sql[..6].trim())))
                .await
                .unwrap();
        }
    });
}

#[test]
fn own_tables_are_closed_behind_views_and_triggers_too() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        // SQLite looks into these only when they are used.
        for (sql, used) in [
            ("CREATE VIEW peep AS SELECT * FROM _actix_sqlite_idempotency", "SELECT * FROM peep"),
            (
                "CREATE TRIGGER soil AFTER INSERT ON t BEGIN DELETE FROM _actix_sqlite_commit; END",
                "INSERT INTO t (x) VALUES (1)",
            ),
        ] {
            if let Err(error) = database.execute(sql).await {
                assert_eq!(error.code(), "forbidden_sql", "{sql}");
            } else {
                let error = database.execute(used).await.expect_err(used);
                assert_eq!(error.code(), "forbidden_sql", "{used}: {error}");
                if used.starts_with("SELECT") {
                    assert_eq!(database.query(used).await.expect_err(used).code(), "forbidden_sql");
                }
            }
        }
        let receipt = database.execute("UPDATE t SET x = 1").await.unwrap();
        assert_eq!(receipt.commit, database.last_commit());
    });
}

#[test]
fn no_statement_writes_another_file() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        let copy = place.join("copy.db");
        let vacuum = format!("VACUUM INTO '{}'", copy.display());
        for sql in [vacuum.as_str(), "VACUUM"] {
            database.execute(Execute::new(sql.to_owned())).await.expect_err(sql);
            database.query(Query::new(sql.to_owned())).await.expect_err(sql);
        }
        assert!(!copy.exists());
        assert_eq!(integers(&database, "SELECT count(*) FROM t").await, [2]);
    });
}

#[test]
fn pragmas_that_tell_and_help_are_allowed() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        for (sql, told) in [
            ("PRAGMA user_version", 0),
            ("PRAGMA foreign_keys", 1),
            ("PRAGMA page_size", 4096),
            ("PRAGMA application_id", 0),
        ] {
            assert_eq!(integers(&database, sql).await, [told], "{sql}");
        }
        assert_eq!(database.execute("PRAGMA journal_mode").await.unwrap().rows, [["wal".into()]]);
        assert_eq!(texts(&database, "PRAGMA integrity_check").await, ["ok"]);
        assert_eq!(texts(&database, "PRAGMA integrity_check(t)").await, ["ok"]);
        let columns = database.query("PRAGMA table_info(t)").await.unwrap();
        let names: Vec<_> = columns.iter().map(|row| row.get("name").unwrap().clone()).collect();
        assert_eq!(names, ["id".into(), "x".into()]);
        assert_eq!(texts(&database, "SELECT name FROM pragma_table_info('t')").await, ["id", "x"]);
        database.execute("PRAGMA user_version = 7").await.unwrap();
        assert_eq!(integers(&database, "PRAGMA user_version").await, [7]);
        database.execute("PRAGMA optimize").await.unwrap();
        let synchronous = database.execute("PRAGMA synchronous").await.unwrap();
        assert_eq!(synchronous.rows, [[2.into()]], "FULL");
    });
}

#[test]
fn a_statement_is_exactly_one_with_exactly_its_parameters() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        let named = |names: &[&str]| {
            let values = names.iter().map(|name| ((*name).to_owned(), 1.into()));
            actix_sqlite::Params::Named(values.collect())
        };
        let cases: Vec<(&str, Statement)> = vec![
            ("multiple_statements", "SELECT 1; SELECT 2".into()),
            ("multiple_statements", "INSERT INTO t (x) VALUES (1); DROP TABLE t".into()),
            ("empty_statement", "".into()),
            ("empty_statement", " \n".into()),
            ("empty_statement", ";".into()),
            ("empty_statement", "-- nothing\n /* at all */ ".into()),
            ("invalid_params", ("SELECT ?1", params![]).into()),
            ("invalid_params", ("SELECT ?1", params![1, 2]).into()),
            ("invalid_params", ("SELECT 1", params![1]).into()),
            ("invalid_params", ("SELECT ?3", params![1]).into()),
            ("invalid_params", Statement::new("SELECT :a, :b").params(named(&["a"]))),
            ("invalid_params", Statement::new("SELECT :a").params(named(&["b"]))),
            ("invalid_params", Statement::new("SELECT :a").params(named(&["a", "b"]))),
            ("invalid_params", Statement::new("SELECT :a, @a").params(named(&["a", "b"]))),
            ("invalid_params", Statement::new("SELECT ?").params(named(&["a"]))),
            ("invalid_params", Statement::new("SELECT 1").params(named(&["a"]))),
            ("invalid_sql", "SELECT 1\0 + 1".into()),
            ("invalid_sql", "SELEKT 1".into()),
            ("invalid_sql", "SELECT nothing FROM t".into()),
            ("invalid_sql", "SELECT \"no such column\" FROM t".into()),
            ("invalid_sql", "SELECT 'unended".into()),
            ("invalid_text", "SELECT CAST(x'ff' AS TEXT)".into()),
        ];
        for (code, statement) in cases {
            let sql = statement.sql.clone();
            let error = database.query(statement.clone()).await.expect_err(&sql);
            assert_eq!(error.code(), code, "query {sql:?}: {error}");
            let error = database.execute(statement).await.expect_err(&sql);
            assert_eq!(error.code(), code, "execute {sql:?}: {error}");
        }
        for statement in [
            Statement::new("SELECT :a + @b + $c").params(named(&["a", "b", "c"])),
            Statement::new("SELECT :a + @b + $c").params(named(&[":a", "@b", "$c"])),
            Statement::new("SELECT :a + @a + $a").params(named(&["a"])),
            ("SELECT ?1 + ?1 + ?1", params![1]).into(),
            ("SELECT ? + ? + ?;", params![1, 1, 1]).into(),
        ] {
            assert_eq!(integers(&database, statement).await, [3]);
        }
        let text = "NUL \0 in a value is data";
        let kept = database.query_as::<String>(("SELECT ?1", params![text])).await.unwrap();
        assert_eq!(kept, [text]);
    });
}
