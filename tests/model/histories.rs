//! Concurrent clients append to lists and read them while the writer and the readers panic at random; afterwards one
//! order has to explain all that they were told (`checker`).
//!
//! The threads make every run a new one: `SEED=` gives the same transactions and chances, not the same interleaving.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_sqlite::settings::Synchronous;
use actix_sqlite::{
    Database, Execute, IdempotencyKey, Lane, Outcome, Query, Results, Statement, StatementResult,
    Transaction, TransactionReceipt, Value, WriteError, params,
};
use fail::FailScenario;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use crate::checker::{Did, History, Item, List, Lists, Op, Step, Violation, check};
use crate::harness::{Place, run, soon};
use crate::injected;
use crate::support::{Random, report, rounds};

const CLIENTS: usize = 8;
const OPS: usize = 30;
const LISTS: List = 4;

/// Of a hundred visits to a failpoint so many panic.
const PERCENT: [(&str, usize); 7] = [
    ("open_writer", 5),
    ("open_reader", 25),
    ("before_begin", 4),
    ("mid_batch", 4),
    ("before_commit", 4),
    ("after_commit", 4),
    ("query", 2),
];

const SCHEMA: [&str; 3] = [
    "CREATE TABLE lists (list INTEGER PRIMARY KEY, items TEXT NOT NULL)",
    "INSERT INTO lists SELECT value, '' FROM json_each('[0, 1, 2, 3]')",
    "CREATE TABLE doom (n CHECK (n < 0))",
];

#[test]
fn one_order_explains_all_that_concurrent_clients_were_told() {
    let scenario = FailScenario::setup();
    injected::silence();
    injected::take_fired();
    let count = rounds(50, 1_000);
    let mut random = Random::seeded(11);
    let mut totals = BTreeMap::new();
    for number in 0..count {
        let history = record(random.next());
        for op in &history.ops {
            *totals.entry(op.did.name()).or_insert(0_u64) += 1;
        }
        if let Err(violation) = check(&history) {
            let involved: Vec<_> = match &violation {
                Violation::Cycle(ops) => ops.iter().map(|op| &history.ops[*op]).collect(),
                _ => history.ops.iter().collect(),
            };
            panic!("history {number}: {violation:?}\n{involved:#?}\nthe lists: {:?}", history.last);
        }
    }
    let fired = injected::take_fired();
    report("histories", &format!("{count} histories of {CLIENTS} clients: {totals:?}; panics {fired:?}"));
    assert_eq!(injected::stray(), 0, "only what is injected panics");
    // A handful, asked for by hand, has not room for everything.
    if count >= 50 {
        for (point, _) in PERCENT {
            assert!(fired.contains_key(point), "{point} was never hit");
        }
        for did in ["committed", "not executed", "left", "read"] {
            assert!(totals.contains_key(did), "{did}: nothing of it was tested");
        }
    }
    scenario.teardown();
}

/// Has the clients do their work, and takes down what they were told.
fn record(seed: u64) -> History {
    run(async {
        let mut random = Random::from_seed(seed);
        let place = Place::in_memory();
        let database = open(&place, &mut random).await;
        let schema = SCHEMA.into_iter().fold(Transaction::new(), Transaction::then);
        database.transaction(schema).await.unwrap();
        arm(random.next());
        let clock = Arc::new(AtomicU64::new(0));
        let clients = (0..CLIENTS).map(|number| {
            let client = Client {
                number,
                database: database.clone(),
                random: Random::from_seed(random.next()),
                clock: Arc::clone(&clock),
                items: 0,
                ops: Vec::new(),
            };
            let system = tokio::runtime::Handle::current();
            // A thread each, so that they are at it at the same time.
            actix_rt::task::spawn_blocking(move || system.block_on(client.work()))
        });
        let ops = soon("the clients' work", join_all(clients)).await;
        for (point, _) in PERCENT {
            fail::remove(point);
        }
        assert!(database.shutdown().await.closed);
        place.assert_sound();
        let conn = place.raw();
        let mut statement = conn.prepare("SELECT list, items FROM lists").unwrap();
        let lists =
            statement.query_map([], |row| Ok((row.get(0)?, items(&row.get::<_, String>(1)?)))).unwrap();
        let last = lists.collect::<Result<Lists, _>>().unwrap();
        History { ops: ops.into_iter().flat_map(Result::unwrap).collect(), last }
    })
}

async fn open(place: &Place, random: &mut Random) -> Database {
    let max_batch_writes = [1_000, 6, 2][random.below(3)];
    let checkpoint_always = random.coin();
    place
        .open(|settings| {
            settings.database.synchronous = Synchronous::Off;
            if checkpoint_always {
                settings.database.wal_checkpoint_size = bytesize::ByteSize::b(1);
                settings.database.wal_truncate_size = bytesize::ByteSize::b(1);
            }
            settings.writer.max_batch_writes = NonZeroUsize::new(max_batch_writes).unwrap();
            settings.supervisor.max_restarts = 1_000_000;
            settings.supervisor.initial_backoff = Duration::ZERO;
            settings.supervisor.max_backoff = Duration::ZERO;
        })
        .await
}

fn arm(seed: u64) {
    let random = Arc::new(Mutex::new(Random::from_seed(seed)));
    for (point, percent) in PERCENT {
        let random = Arc::clone(&random);
        let by_chance = move || {
            let chance = random.lock().unwrap().below(100);
            if chance < percent {
                injected::panic_at(point);
            }
        };
        fail::cfg_callback(point, by_chance).unwrap();
    }
}

struct Client {
    number: usize,
    database: Database,
    random: Random,
    clock: Arc<AtomicU64>,
    items: Item,
    ops: Vec<Op>,
}

/// A transaction before it is sent.
struct Plan {
    steps: Vec<(List, Option<Item>)>,
    /// Its last statement fails.
    doomed: bool,
    key: Option<IdempotencyKey>,
    timeout: Option<Duration>,
    leaves: bool,
}

impl Client {
    async fn work(mut self) -> Vec<Op> {
        for _ in 0..OPS {
            let begun = self.clock.fetch_add(1, SeqCst);
            let did = if self.random.below(10) < 4 { self.read().await } else { Some(self.write().await) };
            let ended = self.clock.fetch_add(1, SeqCst);
            self.ops.extend(did.map(|did| Op { client: self.number, begun, ended, did }));
        }
        self.ops
    }

    /// Nothing, if the readers panicked too often under it.
    async fn read(&mut self) -> Option<Did> {
        let some = i64::try_from(1 + self.random.below((1 << LISTS) - 1)).unwrap();
        let query = Query::new("SELECT list, items FROM lists WHERE (1 << list) & ?1").params([some]);
        match self.database.query_as::<(List, String)>(query).await {
            Ok(rows) => {
                assert_eq!(rows.len(), usize::try_from(some.count_ones()).unwrap());
                Some(Did::Read(rows.into_iter().map(|(list, text)| (list, items(&text))).collect()))
            }
            Err(error) => {
                assert_eq!(error.code(), "panicked", "{error}");
                None
            }
        }
    }

    async fn write(&mut self) -> Did {
        let plan = self.plan();
        let sent: Vec<_> = plan.steps.iter().filter_map(|(list, item)| Some((*list, (*item)?))).collect();
        if plan.leaves {
            let mut write = plan.send(&self.database);
            // It is in the queue after the first; later ones find it on its way.
            for _ in 0..=self.random.below(50) {
                if (&mut write).now_or_never().is_some() {
                    break;
                }
                std::thread::yield_now();
            }
            drop(write);
            if plan.key.is_none() {
                return if plan.doomed { Did::NotExecuted(sent) } else { Did::Left(sent) };
            }
        }
        match plan.send(&self.database).await {
            Ok(receipt) => {
                assert!(!plan.doomed, "{receipt:?}");
                if plan.key.is_some() && self.random.below(4) == 0 {
                    // It may fail, by a panic or because it is late; but it is no other receipt.
                    if let Ok(again) = plan.send(&self.database).await {
                        assert_eq!(again, receipt);
                    }
                }
                Did::Committed { commit: receipt.commit.0, steps: plan.told(&receipt) }
            }
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::NotExecuted, "{error}");
                let code = error.code();
                let expected = if plan.doomed { "constraint_violation" } else { "panicked" };
                assert!([expected, "panicked", "deadline_passed"].contains(&code), "{error}");
                // What was left may have been committed all the same.
                if plan.leaves && !plan.doomed { Did::Left(sent) } else { Did::NotExecuted(sent) }
            }
        }
    }

    fn plan(&mut self) -> Plan {
        let steps: Vec<_> = (0..=self.random.below(3))
            .map(|_| {
                let list = List::try_from(self.random.below(usize::from(LISTS))).unwrap();
                (list, (self.random.below(4) > 0).then(|| self.new_item()))
            })
            .collect();
        let doomed = self.random.below(10) == 0;
        let key = self.random.coin().then(|| {
            IdempotencyKey::new(format!("{} of {}", self.clock.fetch_add(1, SeqCst), self.number)).unwrap()
        });
        let timeout = (self.random.below(12) == 0).then(|| Duration::from_millis(self.random.next() % 3));
        Plan { steps, doomed, key, timeout, leaves: self.random.below(8) == 0 }
    }

    /// No other client appends it, nor this one again.
    fn new_item(&mut self) -> Item {
        self.items += 1;
        self.items * 10 + i64::try_from(self.number).unwrap()
    }
}

impl Plan {
    fn send<'a>(&self, database: &'a Database) -> BoxFuture<'a, Result<TransactionReceipt, WriteError>> {
        let doom = self.doomed.then(|| Statement::new("INSERT INTO doom VALUES (1)"));
        let statements: Vec<_> = self.steps.iter().map(statement).chain(doom).collect();
        let (key, timeout) = (self.key.clone(), self.timeout);
        match <[_; 1]>::try_from(statements) {
            Ok([statement]) => {
                let write = database.execute(Execute { statement, timeout, key, lane: Lane::Interactive });
                let as_transaction = |receipt: actix_sqlite::Receipt| TransactionReceipt {
                    commit: receipt.commit,
                    results: Results::from_iter([StatementResult {
                        rows: receipt.rows,
                        ..Default::default()
                    }]),
                };
                write.map(move |answer| answer.map(as_transaction)).boxed()
            }
            Err(statements) => database
                .transaction(Transaction { statements, timeout, key, lane: Lane::Interactive })
                .boxed(),
        }
    }

    fn told(&self, receipt: &TransactionReceipt) -> Vec<Step> {
        assert_eq!(receipt.results.len(), self.steps.len());
        let told = self.steps.iter().zip(&receipt.results);
        told.map(|((list, appended), result)| {
            let [row] = result.rows.as_slice() else { panic!("{result:?}") };
            let [Value::Text(text)] = row.as_slice() else { panic!("{row:?}") };
            Step { list: *list, appended: *appended, saw: items(text) }
        })
        .collect()
    }
}

/// An append, in one of two ways, or a look; all tell the whole list.
fn statement((list, append): &(List, Option<Item>)) -> Statement {
    let Some(item) = append else {
        return ("SELECT items FROM lists WHERE list = ?1", params![*list]).into();
    };
    let sql = if item % 3 == 0 {
        "INSERT INTO lists VALUES (?1, ?2)
            ON CONFLICT (list) DO UPDATE SET items = items || ' ' || excluded.items RETURNING items"
    } else {
        "UPDATE lists SET items = items || ' ' || ?2 WHERE list = ?1 RETURNING items"
    };
    (sql, params![*list, item.to_string()]).into()
}

fn items(text: &str) -> Vec<Item> {
    text.split_whitespace().map(|item| item.parse().unwrap()).collect()
}
