//! A session beside a plain connection: whatever is asked of both, both give the same answers, and the same file.

use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

use super::super::*;
use crate::error::StatementErrorKind as ErrorKind;
use crate::settings::{Settings, Synchronous};

const SCHEMA: &str = "
    CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED, n INTEGER NOT NULL CHECK (n < 100));
    CREATE TABLE strict (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent);
    CREATE TRIGGER refused BEFORE INSERT ON child WHEN NEW.n = 13 BEGIN SELECT RAISE(ROLLBACK, 'unlucky'); END;
    CREATE TRIGGER failing BEFORE INSERT ON child WHEN NEW.n = 17 BEGIN SELECT RAISE(FAIL, 'failed'); END;
";

/// Everything that makes a difference: what succeeds and fails in all ways, and all control of transactions.
const STATEMENTS: &[&str] = &[
    "INSERT INTO parent (name) VALUES ('a') RETURNING id, name",
    "INSERT INTO parent (id, name) VALUES (7, 'seven')",
    "INSERT OR IGNORE INTO parent (id, name) VALUES (7, 'seven')",
    "INSERT OR ROLLBACK INTO parent (id, name) VALUES (7, 'eight')",
    "INSERT OR FAIL INTO parent (name) VALUES ('x'), ('x'), ('y')",
    "INSERT OR REPLACE INTO parent (name) VALUES ('x')",
    "DELETE FROM parent WHERE id = 7",
    "INSERT INTO child (parent, n) VALUES (7, 1)",
    "INSERT INTO child (parent, n) VALUES (99, 1)",
    "INSERT INTO child (parent, n) VALUES (NULL, 2), (NULL, 3)",
    "INSERT INTO child (n) VALUES (13)",
    "INSERT INTO child (n) VALUES (4), (17)",
    "INSERT INTO child (n) VALUES (5), (500)",
    "INSERT INTO child (n) VALUES (NULL)",
    "DELETE FROM child WHERE parent = 99",
    "UPDATE child SET n = n + 1",
    "INSERT INTO strict (parent) VALUES (99)",
    "DELETE FROM strict",
    "SELECT * FROM parent ORDER BY id",
    "SELECT count(*), sum(n) FROM child",
    "WITH all_of AS (SELECT n FROM child) SELECT max(n) FROM all_of",
    "WITH new AS (SELECT 6 AS n) INSERT INTO child (n) SELECT n FROM new",
    "SELECT abs(-9223372036854775808)",
    "SELECT * FROM nowhere",
    "SELEC 1",
    "CREATE TABLE IF NOT EXISTS more (x INTEGER)",
    "INSERT INTO more VALUES (1) RETURNING x",
    "DROP TABLE IF EXISTS more",
    "PRAGMA user_version = 5",
    "PRAGMA user_version",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA foreign_keys = ON",
    "PRAGMA foreign_keys",
    "BEGIN",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "COMMIT",
    "END",
    "ROLLBACK",
    "SAVEPOINT one",
    "SAVEPOINT two",
    "SAVEPOINT ONE",
    "RELEASE one",
    "RELEASE two",
    "ROLLBACK TO one",
    "ROLLBACK TO two",
];

#[derive(Debug, Clone)]
enum Request {
    Execute(&'static str),
    Batch(Vec<(&'static str, Option<Condition>)>),
    Sequence(Vec<&'static str>),
    Describe(&'static str),
}

/// What both sides say of one statement: its rows and counts, or SQLite's code.
type Answer = Result<(Vec<Vec<Value>>, u64, Option<i64>), i32>;

fn statement() -> impl Strategy<Value = &'static str> {
    prop::sample::select(STATEMENTS)
}

fn condition(steps: usize) -> impl Strategy<Value = Option<Condition>> {
    let leaf = prop_oneof![
        (0..steps).prop_map(Condition::Ok),
        (0..steps).prop_map(Condition::Error),
        Just(Condition::IsAutocommit),
    ];
    let any = leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::And),
            prop::collection::vec(inner, 0..3).prop_map(Condition::Or),
        ]
    });
    prop::option::weighted(0.4, any)
}

/// As clients send a transaction: each step only if the one before went well, and undone if one did not.
fn transaction() -> impl Strategy<Value = Vec<(&'static str, Option<Condition>)>> {
    let begin = prop::sample::select(&["BEGIN", "BEGIN IMMEDIATE", "BEGIN DEFERRED"][..]);
    (begin, prop::collection::vec(statement(), 1..5)).prop_map(|(begin, inner)| {
        let mut steps = vec![(begin, None)];
        for sql in inner {
            steps.push((sql, Some(Condition::Ok(steps.len() - 1))));
        }
        let commit = steps.len();
        steps.push(("COMMIT", Some(Condition::Ok(commit - 1))));
        steps.push(("ROLLBACK", Some(Condition::Not(Box::new(Condition::Ok(commit))))));
        steps
    })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        6 => statement().prop_map(Request::Execute),
        2 => prop::collection::vec((statement(), condition(6)), 1..6).prop_map(Request::Batch),
        2 => transaction().prop_map(Request::Batch),
        1 => prop::collection::vec(statement(), 0..5).prop_map(Request::Sequence),
        // To prepare a PRAGMA may be to run it.
        1 => statement().prop_filter("sets", |sql| !(sql.starts_with("PRAGMA") && sql.contains('='))).prop_map(Request::Describe),
    ]
}

/// The plain connection.
struct Plain(Connection);

impl Plain {
    fn execute(&self, sql: &str) -> Answer {
        // The one difference that is wanted: a write of its own that fails leaves nothing behind, though SQLite keeps
        // what was done before the FAIL.
        if self.0.is_autocommit() && (sql.contains("OR FAIL") || sql.contains("(17)")) {
            self.0.execute_batch("BEGIN").unwrap();
            let answer = self.run(sql);
            self.0.execute_batch(if answer.is_ok() { "COMMIT" } else { "ROLLBACK" }).unwrap();
            return answer;
        }
        self.run(sql)
    }

    fn run(&self, sql: &str) -> Answer {
        let code = |error: &rusqlite::Error| match error {
            rusqlite::Error::SqliteFailure(code, _) => code.extended_code,
            rusqlite::Error::SqlInputError { error, .. } => error.extended_code,
            other => panic!("{other}"),
        };
        let before = self.0.total_changes();
        let mut prepared = self.0.prepare(sql).map_err(|error| code(&error))?;
        let columns = prepared.column_count();
        let mut found = prepared.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(|error| code(&error))? {
            let value = |index| match row.get_ref(index).unwrap() {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(integer) => integer.into(),
                ValueRef::Text(text) => std::str::from_utf8(text).unwrap().into(),
                other => panic!("{other:?}"),
            };
            rows.push((0..columns).map(value).collect());
        }
        drop(found);
        let changes = if self.0.total_changes() == before { 0 } else { self.0.changes() };
        let inserts = sql.contains("INSERT") && changes > 0;
        Ok((rows, changes, inserts.then(|| self.0.last_insert_rowid())))
    }

    fn batch(&self, steps: &[(&'static str, Option<Condition>)]) -> Vec<Option<Answer>> {
        let mut outcomes: StepOutcomes<()> = Vec::new();
        let mut answers = Vec::new();
        for (sql, condition) in steps {
            let runs =
                condition.as_ref().is_none_or(|condition| condition.holds(&outcomes, self.0.is_autocommit()));
            let answer = runs.then(|| self.execute(sql));
            outcomes.push(
                answer.as_ref().map(|answer| answer.as_ref().map(|_| StepResult::default()).map_err(|_| ())),
            );
            answers.push(answer);
        }
        answers
    }
}

pub(super) fn code(error: &SessionError) -> i32 {
    let (SessionError::Write(WriteError::Statement(error)) | SessionError::Read(ReadError::Statement(error))) =
        error
    else {
        panic!("{error}")
    };
    error.sqlite_code.unwrap_or_else(|| match error.kind {
        // The engine's own word for it.
        ErrorKind::ConstraintViolation => rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
        kind => panic!("{kind:?}: {error}"),
    })
}

/// The rowid is told of every statement; what is compared is that of one that inserts.
fn answer(sql: &str, outcome: Outcome) -> Answer {
    let compared = |result: StepResult| {
        let inserts = sql.contains("INSERT") && result.rows_affected > 0;
        (result.rows, result.rows_affected, result.last_insert_rowid.filter(|_| inserts))
    };
    outcome.map(compared).map_err(|error| code(&error))
}

struct Pair {
    plain: Plain,
    session: Session,
    database: Database,
    _directory: TempDir,
}

impl Pair {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plain = Connection::open_in_memory().unwrap();
        plain.pragma_update(None, "foreign_keys", true).unwrap();
        plain.execute_batch(SCHEMA).unwrap();
        let mut settings = Settings::for_file(directory.path().join("test.db"));
        settings.database.synchronous = Synchronous::Off;
        settings.writer.lease_timeout = Duration::from_mins(10);
        let database = Database::open(settings).await.unwrap();
        let mut session = Session::new(database.clone());
        session.sequence(SCHEMA.to_owned()).await.unwrap();
        Self { plain: Plain(plain), session, database, _directory: directory }
    }

    async fn ask(&mut self, request: Request) -> Result<(), TestCaseError> {
        match request {
            Request::Execute(sql) => {
                let ours = answer(sql, self.session.execute(sql.into()).await);
                prop_assert_eq!(ours, self.plain.execute(sql), "{}", sql);
            }
            Request::Batch(steps) => {
                let step = |(sql, condition): &(&'static str, Option<Condition>)| Step {
                    statement: (*sql).into(),
                    condition: condition.clone(),
                    wants_rows: true,
                };
                let ours = self.session.run(steps.iter().map(step).collect()).await;
                let ours: Vec<_> = steps
                    .iter()
                    .zip(ours)
                    .map(|((sql, _), outcome)| outcome.map(|outcome| answer(sql, outcome)))
                    .collect();
                prop_assert_eq!(ours, self.plain.batch(&steps), "{:?}", steps);
            }
            Request::Sequence(texts) => {
                let ours =
                    self.session.sequence(texts.join("; -- next\n;")).await.map_err(|error| code(&error));
                let plain = texts.iter().find_map(|sql| self.plain.execute(sql).err()).map_or(Ok(()), Err);
                prop_assert_eq!(ours, plain, "{:?}", texts);
            }
            Request::Describe(sql) => {
                let ours = self.session.describe(sql.to_owned()).await.map_err(|error| code(&error));
                let plain = self.plain.0.prepare(sql);
                prop_assert_eq!(ours.is_ok(), plain.is_ok(), "{}: {:?}", sql, ours);
                if let (Ok(ours), Ok(plain)) = (ours, plain) {
                    let names: Vec<_> = ours.columns.iter().map(|column| column.name.as_str()).collect();
                    prop_assert_eq!(names, plain.column_names(), "{}", sql);
                    prop_assert_eq!(ours.is_readonly, plain.readonly(), "{}", sql);
                }
            }
        }
        prop_assert_eq!(self.session.is_autocommit(), self.plain.0.is_autocommit());
        Ok(())
    }

    /// What is in the file for everybody else.
    async fn compare(mut self) -> Result<(), TestCaseError> {
        if !self.plain.0.is_autocommit() {
            self.ask(Request::Execute("ROLLBACK")).await?;
        }
        for sql in
            ["SELECT * FROM parent ORDER BY id", "SELECT * FROM child ORDER BY id", "SELECT * FROM strict"]
        {
            let ours = self.database.query(sql).await.unwrap().rows;
            prop_assert_eq!(ours, self.plain.execute(sql).unwrap().0, "{}", sql);
        }
        drop(self.session);
        prop_assert!(self.database.shutdown().await.closed);
        Ok(())
    }
}

#[test]
fn a_session_answers_as_a_plain_connection_does() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(requests in prop::collection::vec(request(), 1..25))| {
        actix_rt::System::new().block_on(async {
            let mut pair = Pair::open().await;
            for request in requests {
                pair.ask(request).await?;
            }
            pair.compare().await
        })?;
    });
}

#[test]
fn last_insert_rowid_is_that_of_the_session_wherever_its_statements_run() {
    actix_rt::System::new().block_on(async {
        let Pair { mut session, database, _directory, .. } = Pair::open().await;
        let mut other = Session::new(database.clone());
        let rowid = "SELECT last_insert_rowid()";
        let rows = |outcome: Outcome| outcome.unwrap().rows;
        assert_eq!(rows(session.execute(rowid.into()).await), [[0.into()]]);
        session.execute("INSERT INTO parent (id) VALUES (41)".into()).await.unwrap();
        other.execute("INSERT INTO parent (id) VALUES (7)".into()).await.unwrap();
        assert_eq!(rows(session.execute(rowid.into()).await), [[41.into()]]);
        session.execute("BEGIN".into()).await.unwrap();
        assert_eq!(rows(session.execute(rowid.into()).await), [[41.into()]]);
        session.execute("INSERT INTO parent (id) VALUES (42)".into()).await.unwrap();
        assert_eq!(rows(session.execute(rowid.into()).await), [[42.into()]]);
        session.execute("COMMIT".into()).await.unwrap();
        assert_eq!(rows(session.execute(rowid.into()).await), [[42.into()]]);
        assert_eq!(rows(other.execute(rowid.into()).await), [[7.into()]]);
    });
}
