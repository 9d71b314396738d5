//! What a session promises beyond what a plain connection does: to others, in time, and in what it may occupy. `plain.rs`
//! holds it beside one.

mod plain;

use std::time::Duration;

use plain::code;
use tempfile::TempDir;

use super::*;
use crate::settings::Settings;

/// A database with one table `t (n)`.
struct Place {
    database: Database,
    _directory: TempDir,
}

impl Place {
    async fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::for_file(directory.path().join("test.db"));
        change(&mut settings);
        let database = Database::open(settings).await.unwrap();
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY)").await.unwrap();
        Self { database, _directory: directory }
    }

    fn session(&self) -> Session {
        Session::new(self.database.clone())
    }

    async fn stored(&self) -> Vec<i64> {
        self.database.query_as("SELECT n FROM t ORDER BY n").await.unwrap()
    }
}

fn run<F: Future>(test: F) -> F::Output {
    actix_rt::System::new().block_on(test)
}

impl Session {
    async fn ok(&mut self, sql: &str) -> StepResult {
        self.execute(sql.to_owned().into()).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn err(&mut self, sql: &str) -> SessionError {
        self.execute(sql.to_owned().into()).await.expect_err(sql)
    }

    async fn count(&mut self) -> i64 {
        self.ok("SELECT count(*) FROM t").await.rows[0][0].as_i64().unwrap()
    }
}

fn steps(texts: &[&'static str]) -> Vec<Step> {
    texts.iter().map(|sql| Step::of((*sql).into())).collect()
}

#[test]
fn a_transaction_that_has_read_writes_only_if_nobody_else_has() {
    run(async {
        let place = Place::open(|_| {}).await;
        let (mut one, mut other) = (place.session(), place.session());
        one.ok("BEGIN").await;
        other.ok("BEGIN").await;
        assert_eq!((one.count().await, other.count().await), (0, 0));
        other.ok("INSERT INTO t VALUES (1)").await;
        assert_eq!(
            (one.count().await, other.count().await),
            (0, 1),
            "the one reads beside the other's lease"
        );
        other.ok("COMMIT").await;
        assert_eq!(one.count().await, 0, "it sees what it saw before");
        assert_eq!(code(&one.err("INSERT INTO t VALUES (2)").await), rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
        assert!(!one.is_autocommit());
        one.ok("ROLLBACK").await;
        one.ok("BEGIN").await;
        assert_eq!(one.count().await, 1);
        one.ok("INSERT INTO t VALUES (2)").await;
        one.ok("COMMIT").await;
        assert_eq!(place.stored().await, [1, 2]);
    });
}

#[test]
fn a_transaction_that_only_reads_keeps_its_view_and_writes_nothing() {
    run(async {
        let place = Place::open(|_| {}).await;
        let (mut reading, mut writing) = (place.session(), place.session());
        reading.ok("BEGIN TRANSACTION READONLY").await;
        assert_eq!(reading.count().await, 0);
        writing.ok("INSERT INTO t VALUES (1)").await;
        assert_eq!((reading.count().await, writing.count().await), (0, 1));
        for write in [
            "INSERT INTO t VALUES (2)",
            "WITH a AS (SELECT 2) INSERT INTO t SELECT * FROM a",
            "PRAGMA user_version = 3",
        ] {
            reading.err(write).await;
            assert!(!reading.is_autocommit(), "{write}");
        }
        assert_eq!(code(&reading.err("DELETE FROM t").await), rusqlite::ffi::SQLITE_READONLY);
        reading.ok("COMMIT").await;
        assert_eq!(reading.count().await, 1);
        assert_eq!(place.database.status().writer.leases, 0);
    });
}

#[test]
fn connections_of_snapshots_are_used_again_and_all_closed_at_the_end() {
    run(async {
        let place = Place::open(|settings| {
            settings.readers.threads = 1;
            settings.readers.max_snapshots = 2.try_into().unwrap();
            settings.writer.lease_wait = Duration::from_millis(20);
        })
        .await;
        let mut sessions = [place.session(), place.session(), place.session()];
        for session in &mut sessions {
            session.ok("BEGIN TRANSACTION READONLY").await;
        }
        let [one, two, three] = &mut sessions;
        assert_eq!((one.count().await, two.count().await), (0, 0));
        assert!(matches!(three.err("SELECT 1").await, SessionError::TransactionBusy));
        assert!(!three.is_autocommit());
        for _ in 0..100 {
            one.ok("COMMIT").await;
            one.ok("BEGIN TRANSACTION READONLY").await;
            one.count().await;
        }
        // Two of them are still looking.
        assert!(place.database.shutdown().await.closed);
        drop(sessions);
    });
}

#[test]
fn a_transaction_that_lasts_too_long_is_rolled_back_and_others_go_on() {
    run(async {
        let place = Place::open(|settings| settings.writer.lease_timeout = Duration::from_millis(50)).await;
        let (mut slow, mut other) = (place.session(), place.session());
        for begin in ["BEGIN IMMEDIATE", "BEGIN"] {
            slow.ok(begin).await;
            slow.ok("INSERT INTO t VALUES (1)").await;
            other.ok("INSERT INTO t VALUES (2) ON CONFLICT DO NOTHING").await;
            assert!(matches!(slow.err("INSERT INTO t VALUES (3)").await, SessionError::TransactionTimeout));
            assert!(slow.is_autocommit());
            assert_eq!(place.stored().await, [2]);
        }
        slow.ok("BEGIN TRANSACTION READONLY").await;
        slow.count().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(matches!(slow.err("SELECT 1").await, SessionError::TransactionTimeout));
        assert_eq!(slow.count().await, 1);
    });
}

#[test]
fn a_session_that_is_gone_leaves_nothing_and_keeps_nobody() {
    run(async {
        let place = Place::open(|settings| settings.writer.lease_timeout = Duration::from_mins(1)).await;
        let mut gone = place.session();
        gone.ok("BEGIN IMMEDIATE").await;
        gone.ok("INSERT INTO t VALUES (1)").await;
        let mut waiting = place.session();
        let (second, ()) =
            futures_util::future::join(waiting.execute("INSERT INTO t VALUES (2)".into()), async {
                drop(gone);
            })
            .await;
        second.unwrap();
        assert_eq!(place.stored().await, [2]);
    });
}

#[test]
fn transactions_sent_whole_share_commits_and_take_no_lease() {
    run(async {
        let place = Place::open(|_| {}).await;
        let before = place.database.status().writer;
        let mut sessions: Vec<_> = (0..64).map(|_| place.session()).collect();
        let all = sessions.iter_mut().enumerate().map(|(n, session)| {
            let texts = [
                "BEGIN IMMEDIATE",
                "INSERT INTO t SELECT coalesce(max(n), 0) + 1 FROM t",
                "SELECT count(*) FROM t",
                if n % 4 == 3 { "ROLLBACK" } else { "COMMIT" },
            ];
            session.run(steps(&texts))
        });
        for outcomes in futures_util::future::join_all(all).await {
            assert!(outcomes.iter().flatten().all(Result::is_ok), "{outcomes:?}");
        }
        let after = place.database.status().writer;
        assert_eq!(place.stored().await, (1..=48).collect::<Vec<_>>());
        assert_eq!(after.leases, 0);
        assert!(
            after.commits - before.commits < 32,
            "{} commits for 64 transactions",
            after.commits - before.commits
        );
    });
}

#[test]
fn a_program_that_leaves_its_transaction_open_goes_on_in_a_lease() {
    run(async {
        let place = Place::open(|_| {}).await;
        let mut session = place.session();
        // That it is left open shows only when its COMMIT is passed over.
        let mut program = steps(&["BEGIN", "INSERT INTO t VALUES (1) RETURNING n", "COMMIT"]);
        program[2].condition = Some(Condition::Error(1));
        let outcomes = session.run(program).await;
        assert_eq!(outcomes[1].as_ref().unwrap().as_ref().unwrap().rows, [[1.into()]]);
        assert!(outcomes[2].is_none());
        assert!(!session.is_autocommit());
        assert_eq!((session.count().await, place.stored().await.len()), (1, 0));
        session.ok("COMMIT").await;
        assert_eq!((place.stored().await, place.database.status().writer.leases), (vec![1], 1));
    });
}

#[test]
fn foreign_keys_are_off_for_the_session_that_said_so_and_nobody_else() {
    run(async {
        let place = Place::open(|_| {}).await;
        let (mut off, mut on) = (place.session(), place.session());
        off.ok("CREATE TABLE child (parent INTEGER REFERENCES t)").await;
        let program =
            ["PRAGMA foreign_keys = off", "BEGIN DEFERRED", "INSERT INTO child VALUES (1)", "COMMIT"];
        assert!(off.run(steps(&program)).await.iter().flatten().all(Result::is_ok));
        off.ok("INSERT INTO child VALUES (2)").await;
        on.err("INSERT INTO child VALUES (3)").await;
        place.database.execute("INSERT INTO child VALUES (4)").await.unwrap_err();
        off.ok("PRAGMA foreign_keys = on").await;
        off.err("INSERT INTO child VALUES (5)").await;
        assert_eq!(
            place.database.query_as::<i64>("SELECT parent FROM child ORDER BY 1").await.unwrap(),
            [1, 2]
        );
    });
}

#[test]
fn a_read_sees_what_was_sent_before_it_and_is_not_acknowledged_yet() {
    run(async {
        let place = Place::open(|_| {}).await;
        for n in 0..50 {
            let (mut writing, mut reading) = (place.session(), place.session());
            let insert = Statement::new("INSERT INTO t VALUES (?1)").params([n]);
            let (written, seen) = futures_util::future::join(writing.execute(insert), reading.count()).await;
            written.unwrap();
            assert_eq!(seen, i64::from(n) + 1);
        }
    });
}

#[test]
fn what_a_program_returns_is_bounded() {
    run(async {
        let place = Place::open(|settings| settings.writer.max_rows = 10.try_into().unwrap()).await;
        let mut session = place.session();
        let many = "INSERT INTO t SELECT value FROM json_each('[1,2,3,4,5,6,7,8,9,10,11]') RETURNING n";
        let outcomes = session.run(steps(&["BEGIN", many, "COMMIT"])).await;
        let error = outcomes[1].as_ref().unwrap().as_ref().unwrap_err();
        assert!(error.to_string().contains("writer.max_rows"), "{error}");
        let unwanted = Step { wants_rows: false, ..Step::of(many.into()) };
        assert!(
            session
                .run(vec![Step::of("BEGIN".into()), unwanted, Step::of("COMMIT".into())])
                .await
                .iter()
                .flatten()
                .all(Result::is_ok)
        );
        assert_eq!(place.stored().await.len(), 11);
        // Nor does a lease count rows that nobody wants.
        session.sequence("BEGIN IMMEDIATE; SELECT * FROM t; COMMIT".into()).await.unwrap();
        session.ok("BEGIN IMMEDIATE").await;
        session.err("SELECT * FROM t").await;
        session.sequence("SELECT * FROM t".into()).await.unwrap();
        session.ok("COMMIT").await;
    });
}

#[test]
fn a_savepoint_that_fails_begins_no_transaction() {
    run(async {
        let place = Place::open(|_| {}).await;
        let (mut session, mut other) = (place.session(), place.session());
        for sql in ["SAVEPOINT select", "SAVEPOINT 1", "SAVEPOINT _actix_sqlite_write"] {
            session.err(sql).await;
            assert!(session.is_autocommit(), "{sql}");
        }
        let unasked = Statement::new("SAVEPOINT a").params([1]);
        session.execute(unasked).await.unwrap_err();
        assert!(session.is_autocommit());
        session.ok("INSERT INTO t VALUES (1)").await;
        other.ok("INSERT INTO t VALUES (2)").await;
        assert_eq!(place.stored().await, [1, 2]);
    });
}

#[test]
fn a_snapshot_whose_time_is_up_makes_room_for_others_though_nobody_asks_it() {
    run(async {
        let place = Place::open(|settings| {
            settings.readers.max_snapshots = 1.try_into().unwrap();
            settings.writer.lease_timeout = Duration::from_millis(50);
            settings.writer.lease_wait = Duration::from_secs(2);
        })
        .await;
        let (mut silent, mut other) = (place.session(), place.session());
        silent.ok("BEGIN").await;
        silent.count().await;
        other.ok("BEGIN").await;
        assert_eq!(other.count().await, 0, "it waited for the other's time to be up, and no longer");
        assert!(matches!(silent.err("SELECT 1").await, SessionError::TransactionTimeout));
    });
}

#[test]
fn a_transaction_whose_turn_does_not_come_is_open_still() {
    run(async {
        let place = Place::open(|settings| {
            settings.readers.max_snapshots = 1.try_into().unwrap();
            settings.writer.lease_wait = Duration::from_millis(20);
        })
        .await;
        let (mut holding, mut busy) = (place.session(), place.session());
        holding.ok("BEGIN IMMEDIATE").await;
        busy.ok("BEGIN").await;
        assert!(matches!(busy.err("INSERT INTO t VALUES (1)").await, SessionError::TransactionBusy));
        holding.ok("ROLLBACK").await;
        // As clients do that are told SQLITE_BUSY: the same statement once more.
        busy.ok("INSERT INTO t VALUES (1)").await;
        busy.ok("ROLLBACK").await;
        assert_eq!(place.stored().await, [0; 0]);
    });
}

#[test]
fn a_transaction_is_ended_even_if_there_is_no_room_for_more_results() {
    run(async {
        let place =
            Place::open(|settings| settings.readers.max_result_bytes = bytesize::ByteSize::b(1_000)).await;
        let mut session = place.session();
        let mut program = steps(&[
            "BEGIN TRANSACTION READONLY",
            "SELECT zeroblob(900)",
            "SELECT zeroblob(900)",
            "COMMIT",
            "ROLLBACK",
        ]);
        program[3].condition = Some(Condition::Error(2));
        program[4].condition = Some(Condition::Not(Box::new(Condition::Ok(3))));
        let outcomes = session.run(program).await;
        assert!(outcomes[2].as_ref().unwrap().is_ok());
        assert!(outcomes[4].as_ref().unwrap().is_ok());
        assert!(session.is_autocommit());
    });
}

#[test]
fn what_a_session_inserted_last_is_told_to_no_one_else() {
    run(async {
        let place = Place::open(|settings| settings.readers.threads = 1).await;
        let mut session = place.session();
        session.ok("INSERT INTO t VALUES (41)").await;
        assert_eq!(session.ok("SELECT last_insert_rowid()").await.rows, [[41.into()]]);
        let others: Vec<i64> = place.database.query_as("SELECT last_insert_rowid()").await.unwrap();
        assert_eq!(others, [0]);
    });
}

#[test]
fn reads_leave_room_in_the_queue_for_writes() {
    run(async {
        let place = Place::open(|settings| {
            settings.queue.overflow = crate::policy::Overflow::Reject;
            settings.queue.max_writes = 20.try_into().unwrap();
        })
        .await;
        let slow = "INSERT INTO t SELECT max(value) FROM (WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL
            SELECT value + 1 FROM n WHERE value < 4000000) SELECT value FROM n)";
        let mut writing = place.session();
        let reads = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut sessions: Vec<_> = (0..40).map(|_| place.session()).collect();
            futures_util::future::join_all(sessions.iter_mut().map(Session::count)).await;
            place.database.execute("INSERT INTO t VALUES (0)").await
        };
        let (written, other) = futures_util::future::join(writing.execute(slow.into()), reads).await;
        written.unwrap();
        other.unwrap();
    });
}

#[test]
fn a_transaction_that_a_program_begins_for_later_may_write() {
    run(async {
        let place = Place::open(|_| {}).await;
        let mut session = place.session();
        session.ok("BEGIN").await;
        let mut program = steps(&["COMMIT", "BEGIN", "ROLLBACK"]);
        program[2].condition = Some(Condition::Not(Box::new(Condition::Ok(0))));
        session.run(program).await;
        assert!(!session.is_autocommit());
        session.ok("INSERT INTO t VALUES (1)").await;
        session.ok("COMMIT").await;
        assert_eq!(place.stored().await, [1]);
    });
}

#[test]
fn a_flush_is_shared_until_the_next_write_whoever_sends_that() {
    run(async {
        let place = Place::open(|_| {}).await;
        let flush = || place.database.flush_shared();
        let first = flush();
        assert!(first.ptr_eq(&flush()));
        place.database.execute("INSERT INTO t VALUES (1)").await.unwrap();
        let second = flush();
        assert!(!second.ptr_eq(&first));
        place.database.enqueue(crate::message::Execute::new("INSERT INTO t VALUES (2)")).await.unwrap();
        let third = flush();
        assert!(!third.ptr_eq(&second));
        third.await;
        assert_eq!(place.stored().await, [1, 2]);
    });
}

#[test]
fn of_large_rows_few_wait_for_a_receiver_that_takes_none() {
    run(async {
        let place = Place::open(|settings| settings.readers.max_stall = Duration::from_millis(200)).await;
        let mut session = place.session();
        let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300) SELECT";
        for (row, most) in [("zeroblob(1000000) FROM n", 2), ("i FROM n", 256)] {
            let (tell, mut events) = mpsc::channel(256);
            let read = format!("SELECT * FROM ({many} {row})");
            let running = session.run_streamed(vec![Step::of(read.into())], tell);
            let looking = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert!(events.len() <= most, "{}", events.len());
                let mut rows = 0;
                while let Some(event) = events.recv().await {
                    rows += usize::from(matches!(event, Event::Row(_)));
                }
                rows
            };
            let ((), rows) = futures_util::future::join(running, looking).await;
            assert!(rows > 1, "{rows}");
        }
    });
}

#[test]
fn the_columns_of_results_are_bounded_as_their_rows_are() {
    run(async {
        let place =
            Place::open(|settings| settings.readers.max_result_bytes = bytesize::ByteSize::kib(64)).await;
        let mut session = place.session();
        let columns: Vec<_> = (0..100).map(|n| format!("\"{n}{}\"", "x".repeat(100))).collect();
        session.ok(&format!("CREATE TABLE wide ({})", columns.join(", "))).await;
        let outcomes = session.run(steps(&["SELECT * FROM wide"; 100])).await;
        let told: usize = outcomes.iter().flatten().flatten().map(|result| result.columns.len()).sum();
        assert!(told < 1_000, "{told} names of a hundred bytes and more");
    });
}

#[test]
fn control_in_no_spelling_harms_a_neighbour() {
    run(async {
        let place = Place::open(|_| {}).await;
        let odd = [
            "COMMIT TRANSACTION x",
            "END TRANSACTION 'x'",
            "ROLLBACK TRANSACTION x",
            "BEGIN TRANSACTION x",
            " \u{b}COMMIT",
            "\u{feff}/**/ROLLBACK\u{feff};;",
            "COMMIT; COMMIT",
            "COMMIT/*",
            "COMMIT\0",
            "ROLLBACK TRANSACTION x TO _actix_sqlite_write",
            "RELEASE \"_ACTIX_sqlite_write\"",
            "RELEASE [_actix_sqlite_program]",
            "ROLLBACK TO `_actix_sqlite_write`",
            "/* actix-sqlite */ COMMIT",
            "PRAGMA [defer_foreign_keys] = 1",
            "PRAGMA main . \"foreign_keys\" = -0",
            "PRAGMA recursive_triggers = 1",
            "CREATE TEMP TABLE t (n)",
            "VACUUM",
            "SAVEPOINT \u{2028}",
        ];
        let mut n = 0;
        for text in odd {
            for program in
                [vec![text, "SELECT 1"], vec!["BEGIN", text, "DELETE FROM t WHERE n < 0", "COMMIT"]]
            {
                let (mut odd, mut before, mut after) = (place.session(), place.session(), place.session());
                let insert = |n: i64| Statement::new("INSERT INTO t VALUES (?1)").params([n]);
                let (one, _, two) = futures_util::future::join3(
                    before.execute(insert(n)),
                    async { (odd.run(steps(&program)).await, drop(odd)) },
                    after.execute(insert(n + 1)),
                )
                .await;
                one.unwrap();
                two.unwrap();
                n += 2;
                assert_eq!(place.stored().await, (0..n).collect::<Vec<_>>(), "{text}");
            }
        }
        let mut last = place.session();
        last.ok("CREATE TABLE child (parent INTEGER REFERENCES t)").await;
        last.err("INSERT INTO child VALUES (-1)").await;
    });
}

#[test]
fn what_reads_is_streamed_however_long_and_what_writes_is_written() {
    run(async {
        let place = Place::open(|settings| settings.readers.max_rows = 10.try_into().unwrap()).await;
        let mut session = place.session();
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        let write = "WITH one AS (SELECT 1) INSERT INTO t SELECT * FROM one RETURNING n";
        let mut program = steps(&[write, write, endless, "SELECT 1"]);
        program[2].condition = Some(Condition::Error(1));
        program[3].condition = Some(Condition::Ok(2));
        let (sender, mut events) = mpsc::channel(4);
        let heard = async {
            let (mut rows, mut failed) = (Vec::new(), Vec::new());
            while let Some(event) = events.recv().await {
                match event {
                    Event::Row(row) => rows.extend(row),
                    Event::Failed { step, .. } => failed.push(step),
                    Event::Begin { .. } | Event::End { .. } => {}
                }
                if rows.len() > 1_000 {
                    break;
                }
            }
            drop(events);
            (rows, failed)
        };
        let ((), (rows, failed)) =
            futures_util::future::join(session.run_streamed(program, sender), heard).await;
        let expected: Vec<Value> = std::iter::once(1).chain(1..=1_000).map(Value::Integer).collect();
        assert_eq!((rows, failed), (expected, vec![1]));
        assert_eq!(place.stored().await, [1]);
    });
}

#[test]
fn pragmas_that_clients_send_are_answered_or_refused_on_purpose() {
    run(async {
        let place = Place::open(|_| {}).await;
        let mut session = place.session();
        let ones = |value: Value| vec![vec![value]];
        for (sql, rows) in [
            ("PRAGMA journal_mode", ones("wal".into())),
            ("PRAGMA journal_mode = WAL", ones("wal".into())),
            ("PRAGMA main.journal_mode", ones("wal".into())),
            ("PRAGMA busy_timeout = 5000", ones(5_000.into())),
            ("PRAGMA user_version = 7", vec![]),
            ("PRAGMA user_version", ones(7.into())),
            ("PRAGMA foreign_keys", ones(1.into())),
            ("PRAGMA read_uncommitted", ones(0.into())),
            ("PRAGMA optimize", vec![]),
            ("PRAGMA integrity_check", ones("ok".into())),
            ("PRAGMA table_list('nowhere')", vec![]),
        ] {
            assert_eq!(session.ok(sql).await.rows, rows, "{sql}");
        }
        for sql in [
            "PRAGMA journal_mode = DELETE",
            "PRAGMA synchronous = OFF",
            "PRAGMA writable_schema = ON",
            "PRAGMA wal_checkpoint",
            "PRAGMA cache_size = 1",
            "PRAGMA temp_store_directory = '/'",
            "PRAGMA defer_foreign_keys = ON",
        ] {
            assert_eq!(code(&session.err(sql).await), 23, "{sql}: SQLITE_AUTH");
        }
        // But in a transaction, to whose end it lasts.
        session.ok("BEGIN IMMEDIATE").await;
        session.ok("PRAGMA defer_foreign_keys = ON").await;
        session.ok("COMMIT").await;
    });
}

#[test]
fn silent_transactions_keep_a_write_waiting_for_one_of_them_and_not_for_all() {
    run(async {
        let lease = Duration::from_millis(300);
        let place = Place::open(|settings| settings.writer.lease_timeout = lease).await;
        let mut silent: Vec<_> = (0..10).map(|_| place.session()).collect();
        let all = futures_util::future::join_all(silent.iter_mut().map(|one| one.ok("BEGIN IMMEDIATE")));
        let writes = async {
            let mut longest = Duration::ZERO;
            for n in 0..4 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let begun = std::time::Instant::now();
                place.database.execute(("INSERT INTO t VALUES (?1)", [n])).await.unwrap();
                longest = longest.max(begun.elapsed());
            }
            longest
        };
        let (_, longest) = futures_util::future::join(all, writes).await;
        assert!(longest < 2 * lease, "a write waited for {longest:?}");
        // Nor do those that are over and were not asked since keep the others from theirs.
        let mut late = place.session();
        late.ok("BEGIN IMMEDIATE").await;
        late.ok("COMMIT").await;
    });
}
