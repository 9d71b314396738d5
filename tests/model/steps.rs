//! The steps that a case is made of, drawn at random, and what the model makes of each.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest_state_machine::ReferenceStateMachine;

use crate::ops::{Body, Op, Or, Stored, Write};
use crate::reference::{End, Expected, LeaseTold, Reference};

/// Where the library can be made to panic without harm to any caller.
pub(crate) const POINTS: [&str; 5] = ["before_begin", "mid_batch", "before_commit", "after_commit", "query"];

/// Before a statement of a lease, and before the COMMIT that keeps dead letters.
pub(crate) const LEASE: &str = "lease";
pub(crate) const BURY: &str = "bury";

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
    /// Between writes that are sent with it, before and after.
    Lease {
        before: Vec<Write>,
        ops: Vec<Op>,
        end: End,
        after: Vec<Write>,
        crash: Option<Crash>,
    },
    /// Writes that nobody waits for; perhaps the database is opened again while they are in the queue.
    Enqueue {
        writes: Vec<Write>,
        crash: Option<Crash>,
        reopen: Option<Reopen>,
    },
    /// Dead letters are tried again: these, or all.
    Retry {
        ids: Option<Vec<i64>>,
        crash: Option<Crash>,
    },
    /// Dead letters are thrown away: these, or all; none of them if only old ones are.
    Expire {
        ids: Option<Vec<i64>>,
        old: bool,
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
    pub(crate) max_letters: usize,
}

/// What the model knows after a step.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) setup: Setup,
    pub(crate) reference: Reference,
    /// For each write of the step: what its caller has to be told.
    pub(crate) expected: Vec<Expected>,
    /// What the holder of the step's lease has to be told.
    pub(crate) lease: Option<LeaseTold>,
    /// How many dead letters of the step were kept, or kept their new error; committed; not there.
    pub(crate) letters: Letters,
    /// What a query that ran beside the step's writes may have seen: one of these.
    pub(crate) visible: Vec<Vec<Stored>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Letters {
    pub(crate) buried: u64,
    pub(crate) committed: u64,
    pub(crate) missing: u64,
    pub(crate) expired: u64,
}

impl ReferenceStateMachine for Known {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let setup =
            (select(vec![1000, 5, 2, 1]), any::<bool>(), 1_usize..=2, any::<bool>(), select(vec![1000, 6]));
        setup
            .prop_map(|(max_batch_writes, checkpoint_always, readers, has_guard, max_letters)| Self {
                setup: Setup { max_batch_writes, checkpoint_always, readers, has_guard, max_letters },
                reference: Reference::new(has_guard, max_letters),
                expected: Vec::new(),
                lease: None,
                letters: Letters::default(),
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
        let lease = (
            vec(write(), 0..=2),
            vec(op(), 0..=5),
            select(vec![End::Commit, End::Commit, End::Commit, End::RollBack, End::Drop]),
            vec(write(), 0..=2),
            weighted(0.15, crash_at(POINTS.into_iter().chain([LEASE; 5]))),
        );
        // All late or none: the late ones fail first, and so are the first dead letters.
        let unattended = (vec(write(), 1..=5), prop::bool::weighted(0.1)).prop_map(|(mut writes, late)| {
            for write in &mut writes {
                write.late = late;
            }
            writes
        });
        let crash_buried = || weighted(0.2, crash_at(POINTS.into_iter().chain([BURY; 3])));
        let letters = known.reference.letters().keys().copied();
        let ids: Vec<i64> = letters.chain([known.reference.last_letter() + 1]).collect();
        let ids = || weighted(0.5, subsequence(ids.clone(), 0..=ids.len()));
        prop_oneof![
            24 => (vec(write(), 1..=6), weighted(0.15, crash()), any::<bool>())
                .prop_map(|(writes, crash, read)| Step::Writes { writes, crash, read }),
            1 => (in_time, select(vec!["before_begin", "mid_batch", "before_commit"]))
                .prop_map(|(write, point)| Step::Poison { write, point }),
            3 => (keyed, weighted(0.2, reopen()))
                .prop_map(|(write, reopen)| Step::LeaveAndAsk { write, reopen }),
            6 => lease.prop_map(|(before, ops, end, after, crash)| Step::Lease { before, ops, end, after, crash }),
            5 => (unattended, crash_buried(), weighted(0.1, reopen()))
                .prop_map(|(writes, crash, reopen)| Step::Enqueue {
                    writes,
                    // A writer that cannot be opened at first is no database.
                    crash: crash.map(|crash| Crash { opening: crash.opening && reopen.is_none(), ..crash }),
                    reopen,
                }),
            2 => (ids(), crash_buried()).prop_map(|(ids, crash)| Step::Retry { ids, crash }),
            1 => (ids(), any::<bool>()).prop_map(|(ids, old)| Step::Expire { ids, old }),
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
        (known.lease, known.letters) = (None, Letters::default());
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
            Step::Lease { before, ops, end, after, crash } => {
                for write in before {
                    let expected = known.reference.write(write);
                    known.expected.push(expected);
                }
                let crash = crash.as_ref().filter(|crash| crash.point == LEASE);
                let crashes_at = crash.map(|crash| usize::from(crash.after));
                known.lease = Some(known.reference.lease(ops, *end, crashes_at));
                for write in after {
                    let expected = known.reference.write(write);
                    known.expected.push(expected);
                }
            }
            Step::Enqueue { writes, .. } => {
                for write in writes {
                    known.letters.buried += u64::from(known.reference.enqueue(write));
                }
            }
            Step::Retry { ids, .. } => {
                let all = || known.reference.letters().keys().copied().collect();
                for id in ids.clone().unwrap_or_else(all) {
                    *(match known.reference.retry(id) {
                        Some(true) => &mut known.letters.committed,
                        Some(false) => &mut known.letters.buried,
                        None => &mut known.letters.missing,
                    }) += 1;
                }
            }
            Step::Expire { ids, old } => {
                if !old {
                    known.letters.expired = known.reference.expire(ids.as_deref()) as u64;
                }
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
    crash_at(POINTS)
}

fn crash_at(points: impl IntoIterator<Item = &'static str>) -> impl Strategy<Value = Crash> {
    let points: Vec<_> = points.into_iter().collect();
    (select(points), 0_u8..3, prop::bool::weighted(0.2)).prop_map(|(point, after, opening)| Crash {
        point,
        after,
        opening,
    })
}
