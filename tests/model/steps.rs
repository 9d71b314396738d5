//! The steps that a case is made of, drawn at random, and what the model makes of each.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;

use crate::reference::{Body, Expected, Op, Or, Reference, Stored, Write};

/// Where the library can be made to panic without harm to any caller.
pub(crate) const POINTS: [&str; 5] = ["before_begin", "mid_batch", "before_commit", "after_commit", "query"];

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Sent at once, so that they share a batch, perhaps with a query that runs meanwhile.
    Writes {
        writes: Vec<Write>,
        crash: Option<Crash>,
        read: bool,
    },
    /// The writer panics here whenever it runs this one.
    Poison {
        write: Write,
        point: &'static str,
    },
    /// Whoever sent it leaves at once, perhaps the database is opened again, and it is sent again under its key.
    LeaveAndAsk {
        write: Write,
        reopen: Option<Reopen>,
    },
    Reopen(Reopen),
    Query(Query),
    /// Somebody outside begins to read, so that the log cannot be begun anew, or ends.
    HoldSnapshot(bool),
}

/// One panic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Crash {
    pub(crate) point: &'static str,
    /// So many visits go well.
    pub(crate) after: u8,
    /// The next writer panics too, when it opens its connection.
    pub(crate) opening: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reopen {
    Shutdown,
    /// The last handle is dropped.
    Dropped,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Query {
    AtLastCommit,
    FutureCommit,
    Streamed,
    FirstRow,
    ThatWrites,
}

/// How the database of a case is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) max_batch_writes: usize,
    /// The log is checkpointed, and truncated, after each commit.
    pub(crate) checkpoint_always: bool,
    pub(crate) readers: usize,
    /// The schema has a trigger.
    pub(crate) has_guard: bool,
}

/// What the model knows after a step.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) setup: Setup,
    pub(crate) reference: Reference,
    /// For each write of the step: what its caller has to be told.
    pub(crate) expected: Vec<Expected>,
    /// What a query that ran beside the step's writes may have seen: one of these.
    pub(crate) visible: Vec<Vec<Stored>>,
}

impl ReferenceStateMachine for Known {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let setup = (select(vec![1000, 5, 2, 1]), any::<bool>(), 1_usize..=2, any::<bool>());
        setup
            .prop_map(|(max_batch_writes, checkpoint_always, readers, has_guard)| Self {
                setup: Setup { max_batch_writes, checkpoint_always, readers, has_guard },
                reference: Reference::new(has_guard),
                expected: Vec::new(),
                visible: Vec::new(),
            })
            .boxed()
    }

    fn transitions(known: &Self) -> BoxedStrategy<Step> {
        let earlier: Vec<Write> = known
            .reference
            .keys()
            .map(|(key, body)| Write { body: body.clone(), key: Some(key), late: false })
            .collect();
        let write = || write(earlier.clone());
        let keyed = (write(), 0..KEYS).prop_map(|(write, key)| Write {
            key: Some(write.key.unwrap_or(key)),
            late: false,
            ..write
        });
        let in_time = write().prop_map(|write| Write { late: false, ..write });
        let reopen = || select(vec![Reopen::Shutdown, Reopen::Dropped]);
        prop_oneof![
            24 => (vec(write(), 1..=6), weighted(0.15, crash()), any::<bool>())
                .prop_map(|(writes, crash, read)| Step::Writes { writes, crash, read }),
            1 => (in_time, select(vec!["before_begin", "mid_batch", "before_commit"]))
                .prop_map(|(write, point)| Step::Poison { write, point }),
            3 => (keyed, weighted(0.2, reopen()))
                .prop_map(|(write, reopen)| Step::LeaveAndAsk { write, reopen }),
            1 => reopen().prop_map(Step::Reopen),
            2 => select(vec![
                Query::AtLastCommit,
                Query::FutureCommit,
                Query::Streamed,
                Query::FirstRow,
                Query::ThatWrites,
            ])
            .prop_map(Step::Query),
            2 => any::<bool>().prop_map(Step::HoldSnapshot),
        ]
        .boxed()
    }

    fn apply(mut known: Self, step: &Step) -> Self {
        known.expected.clear();
        known.visible = vec![known.reference.stored()];
        match step {
            Step::Writes { writes, .. } => {
                for write in writes {
                    let expected = known.reference.write(write);
                    known.expected.push(expected);
                    known.visible.push(known.reference.stored());
                }
            }
            Step::Poison { write, point } => {
                let mut undisturbed = known.reference.clone();
                let expected = undisturbed.write(write);
                // A batch in which all fail is not committed.
                let is_reached = *point != "before_commit" || matches!(expected, Expected::Committed { .. });
                known.expected.push(if is_reached {
                    Expected::Failed { code: "panicked", index: None }
                } else {
                    expected
                });
            }
            Step::LeaveAndAsk { write, .. } => {
                let expected = known.reference.write(write);
                known.expected.push(expected);
            }
            Step::Reopen(_) | Step::Query(_) | Step::HoldSnapshot(_) => {}
        }
        known
    }
}

/// So many keys there are: enough for new ones, few enough to meet again.
const KEYS: u8 = 40;

/// A new write, or one that was sent before under its key, or another one under that key.
fn write(earlier: Vec<Write>) -> BoxedStrategy<Write> {
    let new = (body(), weighted(0.4, 0..KEYS), prop::bool::weighted(0.08))
        .prop_map(|(body, key, late)| Write { body, key, late });
    if earlier.is_empty() {
        return new.boxed();
    }
    let again = select(earlier);
    let other = (again.clone(), op()).prop_map(|(mut write, op)| {
        write.body.push(op);
        write
    });
    prop_oneof![12 => new, 2 => again, 1 => other].boxed()
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![4 => vec(op(), 1), 2 => vec(op(), 0..=4)]
}

fn op() -> BoxedStrategy<Op> {
    let or = || select(vec![Or::Abort, Or::Fail, Or::Rollback, Or::Ignore]);
    // Few enough to collide, and now and then one that violates the CHECK, or is NULL.
    let (k, v) = (|| 0_i64..12, || 0_i64..108);
    prop_oneof![
        8 => (or(), vec((k(), weighted(0.96, v())), 1..=3)).prop_map(|(or, rows)| Op::Insert { or, rows }),
        4 => (k(), v()).prop_map(|(k, v)| Op::Upsert { k, v }),
        4 => (or(), k(), -40_i64..20).prop_map(|(or, from, n)| Op::Add { or, from, n }),
        4 => k().prop_map(|k| Op::Delete { k }),
        2 => (1_i64..9).prop_map(|parent| Op::Child { parent }),
        2 => (1_i64..9).prop_map(|parent| Op::DeleteChildren { parent }),
        1 => Just(Op::Guarded),
        1 => Just(Op::NoSuchTable),
        1 => Just(Op::Commit),
        1 => Just(Op::Read),
    ]
    .boxed()
}

fn crash() -> impl Strategy<Value = Crash> {
    (select(POINTS.to_vec()), 0_u8..3, prop::bool::weighted(0.2)).prop_map(|(point, after, opening)| Crash {
        point,
        after,
        opening,
    })
}
