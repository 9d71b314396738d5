//! Each write alone: one that fails, however foully, neither fails nor changes its neighbours in the batch, and leaves
//! nothing of itself behind. Every kind of poison stands at every place of a batch of eight, behind one that is in the
//! writer's hand already.

use std::num::NonZeroUsize;
use std::time::Duration;

use actix_sqlite::{
    Database, Execute, Linger, Outcome, Receipt, Settings, Statement, Transaction, TransactionReceipt,
    WriteError, params,
};
use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::harness::{Gate, Place, integers, run, run_all, soon, texts};
use crate::support::{Random, report};

const BATCH: usize = 8;

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT NOT NULL, n INTEGER UNIQUE)",
    "INSERT INTO t (who, n) VALUES ('taken', 1000)",
    "CREATE TABLE held (n)",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE rolls_back (n)",
    "CREATE TRIGGER rolls_back AFTER INSERT ON rolls_back BEGIN SELECT RAISE(ROLLBACK, 'back it rolls'); END",
    "CREATE TABLE fails (n)",
    "CREATE TRIGGER fails AFTER INSERT ON fails WHEN NEW.n = 13 BEGIN SELECT RAISE(FAIL, 'not thirteen'); END",
    // The row that stays is inserted by a trigger before the statement has changed anything itself.
    "CREATE TABLE fails_within (n)",
    "CREATE TRIGGER fails_within BEFORE INSERT ON fails_within BEGIN INSERT INTO fails VALUES (13); END",
    "CREATE VIEW door AS SELECT who, n FROM t",
    "CREATE TRIGGER door INSTEAD OF INSERT ON door BEGIN
        INSERT INTO t (who, n) VALUES (NEW.who, NEW.n), (NEW.who, NEW.n + 1); END",
    "CREATE TABLE strict_one (n INTEGER) STRICT",
];

/// Everything a poison might leave behind.
const LEFT_BEHIND: &str = "SELECT (SELECT count(*) FROM t WHERE who NOT LIKE 'innocent%') - 1
    + (SELECT count(*) FROM child) + (SELECT count(*) FROM rolls_back) + (SELECT count(*) FROM fails)
    + (SELECT count(*) FROM fails_within) + (SELECT count(*) FROM strict_one) + (SELECT count(*) FROM parent)";

#[derive(Clone)]
enum Write {
    Statement(Statement),
    Transaction(Vec<Statement>),
}

#[derive(Clone)]
struct Poison {
    name: &'static str,
    write: Write,
    code: &'static str,
    /// In the error's text.
    says: &'static str,
}

fn statement(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    sql: impl Into<Statement>,
) -> Poison {
    Poison { name, write: Write::Statement(sql.into()), code, says }
}

fn transaction(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    statements: &[&'static str],
) -> Poison {
    let statements = statements.iter().map(|sql| Statement::new(*sql)).collect();
    Poison { name, write: Write::Transaction(statements), code, says }
}

const ENDLESS: &str =
    "INSERT INTO t (who, n) WITH RECURSIVE c(n) AS (SELECT 2000 UNION ALL SELECT n + 1 FROM c)
    SELECT 'poison', n FROM c";

fn poisons() -> Vec<Poison> {
    const VIOLATED: &str = "constraint_violation";
    const GOOD: &str = "INSERT INTO t (who) VALUES ('poison')";
    vec![
        statement(
            "OR ROLLBACK",
            VIOLATED,
            "UNIQUE constraint failed: t.n",
            "INSERT OR ROLLBACK INTO t (who, n) VALUES ('poison', 1), ('poison', 1000)",
        ),
        statement("RAISE(ROLLBACK)", VIOLATED, "back it rolls", "INSERT INTO rolls_back VALUES (1)"),
        statement(
            "OR FAIL after a row",
            VIOLATED,
            "UNIQUE constraint failed: t.n",
            "INSERT OR FAIL INTO t (who, n) VALUES ('poison', 1), ('poison', 1000)",
        ),
        statement("RAISE(FAIL)", VIOLATED, "not thirteen", "INSERT INTO fails VALUES (1), (13)"),
        statement("RAISE(FAIL) in a trigger's trigger", VIOLATED, "not thirteen", "INSERT INTO fails_within VALUES (1)"),
        statement(
            "OR FAIL through a view",
            VIOLATED,
            "UNIQUE constraint failed: t.n",
            "INSERT OR FAIL INTO door VALUES ('poison', 999)",
        ),
        statement("UNIQUE", VIOLATED, "UNIQUE", "INSERT INTO t (who, n) VALUES ('poison', 1), ('poison', 1000)"),
        statement("NOT NULL", VIOLATED, "NOT NULL constraint failed: t.who", "INSERT INTO t (n) VALUES (1)"),
        statement("a deferred key", VIOLATED, "FOREIGN KEY", "INSERT INTO child (parent) VALUES (7)"),
        statement("too long", "statement_timeout", "longer", ENDLESS),
        statement(
            "too big",
            "too_large",
            "too big",
            "INSERT INTO t (who, n) SELECT CASE value WHEN 2 THEN zeroblob(2000000000) ELSE 'poison' END, value
             FROM json_each('[1, 2]')",
        ),
        statement(
            "a result too large",
            "result_too_large",
            "writer.max_rows",
            "INSERT INTO t (who, n) SELECT 'poison', value FROM json_each('[1, 2, 3, 4, 5, 6]') RETURNING id",
        ),
        statement("a wrong type", VIOLATED, "INTEGER", "INSERT INTO strict_one VALUES (1), ('x')"),
        statement("bad arithmetic", "invalid_sql", "overflow", "INSERT INTO t (who, n) VALUES ('poison', abs(-9223372036854775808))"),
        statement("bad syntax", "invalid_sql", "syntax error", "INSERT INTO t VALUES (,)"),
        statement("no such table", "invalid_sql", "no such table", "INSERT INTO nowhere VALUES (1)"),
        statement("COMMIT", "forbidden_sql", "transaction control", "COMMIT"),
        statement("ROLLBACK", "forbidden_sql", "transaction control", "ROLLBACK"),
        statement(
            "wrong parameters",
            "invalid_params",
            "2 parameters, 1",
            Statement::new("INSERT INTO t (who, n) VALUES (?1, ?2)").params(["poison"]),
        ),
        transaction("a transaction that fails in its middle", VIOLATED, "statement 2", &[
            GOOD,
            "INSERT INTO t (who, n) VALUES ('poison', 1000)",
            "INSERT INTO t (who, n) VALUES ('poison', 2)",
        ]),
        transaction("a transaction that is rolled back", VIOLATED, "statement 2", &[
            GOOD,
            "INSERT INTO rolls_back VALUES (1)",
        ]),
        transaction("a transaction that fails half-way", VIOLATED, "statement 2", &[
            GOOD,
            "INSERT OR FAIL INTO door VALUES ('poison', 999)",
        ]),
        transaction("a transaction with a deferred key", VIOLATED, "FOREIGN KEY", &[
            "INSERT INTO child (parent) VALUES (7)",
            GOOD,
        ]),
        transaction("a write whose look at it fails", "invalid_sql", "statement 2", &[
            GOOD,
            "SELECT abs(-9223372036854775808)",
        ]),
        transaction("a write with a deferred key and a look at it", VIOLATED, "FOREIGN KEY", &[
            "INSERT INTO child (parent) VALUES (7)",
            "SELECT count(*) FROM child",
        ]),
        transaction("a write whose look at it shows too much", "result_too_large", "statement 2", &[
            GOOD,
            "SELECT value FROM json_each('[1, 2, 3, 4, 5, 6]')",
        ]),
        transaction("a transaction that takes too long", "statement_timeout", "statement 2", &[GOOD, ENDLESS]),
        transaction("a transaction that would commit", "forbidden_sql", "statement 2", &[GOOD, "COMMIT"]),
    ]
}

fn settings(settings: &mut Settings) {
    settings.writer.linger = Linger::Fixed(Duration::from_mins(1));
    // And the one that they wait behind.
    settings.writer.max_batch_writes = NonZeroUsize::new(BATCH + 1).unwrap();
    settings.writer.statement_timeout = Duration::from_millis(150);
    settings.writer.max_rows = NonZeroUsize::new(5).unwrap();
}

async fn open(place: &Place) -> Database {
    let database = place.open(settings).await;
    // The last of them fills a batch or is flushed.
    let schema = database.transaction(SCHEMA.iter().copied().fold(Transaction::new(), Transaction::then));
    let (schema, flushed) = futures_util::future::join(schema, database.flush()).await;
    schema.unwrap();
    flushed.unwrap();
    database
}

fn innocent(name: &str) -> Write {
    Write::Statement(("INSERT INTO t (who) VALUES (?1)", params![format!("innocent {name}")]).into())
}

fn send(database: &Database, write: Write) -> BoxFuture<'_, Result<Receipt, WriteError>> {
    match write {
        Write::Statement(statement) => database.execute(Execute::new(statement)).boxed(),
        Write::Transaction(statements) => database
            .transaction(Transaction { statements, ..Transaction::default() })
            .map(|receipt| {
                receipt.map(|TransactionReceipt { commit, .. }| Receipt { commit, ..Receipt::default() })
            })
            .boxed(),
    }
}

/// Has so many writes as fill a batch committed as one: they are all there before the first of them runs.
async fn one_batch(
    place: &Place,
    database: &Database,
    writes: impl IntoIterator<Item = Write>,
) -> Vec<Result<Receipt, WriteError>> {
    let (gate, held) = Gate::with_one_in_hand(place, database, "INSERT INTO held VALUES (1)").await;
    let batches = database.status().writer.batches;
    let mut results = join_all(writes.into_iter().map(|write| send(database, write)));
    assert!((&mut results).now_or_never().is_none(), "the writer is held");
    drop(gate);
    let results = soon("a full batch", results).await;
    held.await.unwrap().unwrap();
    assert_eq!(database.status().writer.batches - batches, 1, "they are one batch");
    results
}

fn assert_failed_for_its_own_reason(poison: &Poison, result: Result<Receipt, WriteError>) {
    let error = result.expect_err(poison.name);
    assert_eq!(error.code(), poison.code, "{}: {error}", poison.name);
    assert_eq!(error.outcome(), Outcome::NotExecuted, "{}", poison.name);
    assert!(error.to_string().contains(poison.says), "{}: {error}", poison.name);
}

#[test]
fn no_poison_at_any_place_of_a_batch_harms_its_neighbours_or_leaves_anything_behind() {
    let poisons = poisons();
    let kinds = poisons.len();
    let (mut poisoned, mut innocents) = (0, 0);
    for poison in poisons {
        run(async {
            let place = Place::new();
            let database = open(&place).await;
            let mut expected: Vec<String> = Vec::new();
            for at in 0..BATCH {
                let names: Vec<String> = (0..BATCH).map(|n| format!("{at}.{n}")).collect();
                let write = |(n, name): (usize, &String)| {
                    if n == at { poison.write.clone() } else { innocent(name) }
                };
                let mut last = None;
                let results = one_batch(&place, &database, names.iter().enumerate().map(write)).await;
                for (n, result) in results.into_iter().enumerate() {
                    if n == at {
                        assert_failed_for_its_own_reason(&poison, result);
                        poisoned += 1;
                        continue;
                    }
                    innocents += 1;
                    let receipt =
                        result.unwrap_or_else(|error| panic!("{} at {at} harmed {n}: {error}", poison.name));
                    assert!(last <= Some(receipt.commit), "commits are in order");
                    last = Some(receipt.commit);
                    expected.push(format!("innocent {}", names[n]));
                }
                let stored =
                    texts(&database, "SELECT who FROM t WHERE who LIKE 'innocent%' ORDER BY id").await;
                assert_eq!(stored, expected, "{} at {at}", poison.name);
                assert_eq!(
                    integers(&database, LEFT_BEHIND).await,
                    [0],
                    "{} at {at} left something",
                    poison.name
                );
            }
            assert_eq!(database.status().writer.restarts, 0, "{}", poison.name);
            place.assert_sound();
        });
    }
    report(
        "poison",
        &format!(
            "{kinds} kinds x {BATCH} places: {poisoned} failed alone, {innocents} innocents committed in order"
        ),
    );
    assert_eq!(poisoned, kinds * BATCH);
}

#[test]
fn any_mixture_of_poisons_and_innocents_ends_the_same_way() {
    const ROUNDS: usize = 60;
    run(async {
        let mut random = Random::seeded(4);
        let place = Place::new();
        let database = open(&place).await;
        // Each of those takes its time limit twice.
        let poisons: Vec<_> =
            poisons().into_iter().filter(|poison| poison.code != "statement_timeout").collect();
        let (mut expected, mut poisoned) = (Vec::new(), 0);
        for round in 0..ROUNDS {
            let chosen: Vec<Option<&Poison>> = (0..BATCH)
                .map(|_| (random.below(3) == 0).then(|| &poisons[random.below(poisons.len())]))
                .collect();
            let writes = chosen.iter().enumerate().map(|(n, poison)| {
                poison.map_or_else(|| innocent(&format!("{round}.{n}")), |poison| poison.write.clone())
            });
            let results = one_batch(&place, &database, writes).await;
            for (n, (poison, result)) in chosen.iter().zip(results).enumerate() {
                if let Some(poison) = poison {
                    poisoned += 1;
                    assert_failed_for_its_own_reason(poison, result);
                } else {
                    result.unwrap();
                    expected.push(format!("innocent {round}.{n}"));
                }
            }
        }
        let stored = texts(&database, "SELECT who FROM t WHERE who LIKE 'innocent%' ORDER BY id").await;
        assert_eq!(stored, expected);
        assert_eq!(integers(&database, LEFT_BEHIND).await, [0]);
        place.assert_sound();
        let innocents = expected.len();
        report("poison", &format!("{ROUNDS} mixed batches: {poisoned} poisons, {innocents} innocents"));
    });
}

#[test]
fn a_deferred_key_is_not_saved_by_a_neighbour_who_brings_the_parent() {
    run(async {
        let place = Place::new();
        let database = open(&place).await;
        let child: Statement = "INSERT INTO child (parent) VALUES (7)".into();
        let parent: Statement = "INSERT INTO parent VALUES (7)".into();
        let mut writes = vec![Write::Statement(child.clone()), Write::Statement(parent.clone())];
        writes.push(Write::Transaction(vec![child.clone(), "INSERT INTO parent VALUES (8)".into()]));
        writes.push(Write::Transaction(vec![
            ("INSERT INTO child (parent) VALUES (?1)", params![9]).into(),
            ("INSERT INTO parent VALUES (?1)", params![9]).into(),
        ]));
        writes.extend((writes.len()..BATCH).map(|n| innocent(&n.to_string())));
        let results = one_batch(&place, &database, writes).await;
        assert_eq!(
            results[0].as_ref().unwrap_err().code(),
            "constraint_violation",
            "the parent came too late"
        );
        for (n, result) in results.iter().enumerate().skip(1) {
            assert!(result.is_ok(), "{n}: {result:?}");
        }
        assert_eq!(integers(&database, "SELECT parent FROM child ORDER BY 1").await, [7, 9]);
        place.assert_sound();
    });
}

#[test]
fn an_immediate_key_fails_its_own_write_only() {
    run(async {
        let place = Place::new();
        let database = place.open(|_| ()).await;
        run_all(
            &database,
            &[
                "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
                "CREATE TABLE child (parent INTEGER NOT NULL REFERENCES parent ON DELETE RESTRICT)",
                "INSERT INTO parent VALUES (1)",
                "INSERT INTO child VALUES (1)",
            ],
        )
        .await;
        let error = database.execute("DELETE FROM parent").await.unwrap_err();
        assert_eq!(error.code(), "constraint_violation");
        let error = database.execute("INSERT INTO child VALUES (2)").await.unwrap_err();
        assert_eq!(error.code(), "constraint_violation");
        assert_eq!(integers(&database, "SELECT parent FROM child").await, [1]);
    });
}
