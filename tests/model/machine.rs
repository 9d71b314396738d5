//! Random steps, each taken by the database and by the model: every receipt and every error is as the model says, and
//! after each step so is what is stored. A case that fails is shrunk to the steps that matter.

use fail::FailScenario;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::case::{Case, take_counts};
use crate::harness::soon;
use crate::injected;
use crate::steps::{BURY, Known, LEASE, POINTS, Step};
use crate::support::{Random, report, rounds};

const STEPS: usize = 50;

/// What has to happen in enough cases.
const DONE: [&str; 25] = [
    "acknowledged",
    "constraint_violation",
    "invalid_sql",
    "forbidden_sql",
    "deadline_passed",
    "idempotency_conflict",
    "panicked",
    "same receipt again",
    "beside others in a batch",
    "replayed batches",
    "callers who left and asked again",
    "reads beside writes",
    "shutdowns",
    "drops",
    "checkpoints that a reader kept from their end",
    "leases committed",
    "leases not committed",
    "leases rolled back",
    "leases dropped",
    "statements of a lease that failed",
    "enqueued",
    "dead letters kept",
    "dead letters committed",
    "dead letters that failed again",
    "dead letters thrown away",
];

#[test]
fn whatever_is_done_to_it_the_database_does_what_the_model_does() {
    let scenario = FailScenario::setup();
    injected::silence();
    injected::take_fired();
    take_counts();
    let cases = u32::try_from(rounds(512, 50_000)).unwrap();
    let mut random = Random::seeded(10);
    let seed: Vec<u8> = (0..2).flat_map(|_| random.next().to_le_bytes()).collect();
    let config = Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config.clone(), TestRng::from_seed(RngAlgorithm::XorShift, &seed));
    let result = runner.run(&Known::sequential_strategy(STEPS), |(known, steps, seen)| {
        Tested::test_sequential(config.clone(), known, steps, seen);
        Ok(())
    });
    match result {
        Err(TestError::Fail(reason, (known, steps, _))) => {
            let steps: Vec<_> = steps.iter().map(|step| format!("{step:?}")).collect();
            panic!("{reason}\nopened with {:?}, steps:\n{}", known.setup, steps.join("\n"))
        }
        other => other.unwrap(),
    }
    let (counts, fired) = (take_counts(), injected::take_fired());
    let figures: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    report("model", &format!("{cases} cases of {STEPS} steps: {}; panics {fired:?}", figures.join(", ")));
    assert_eq!(injected::stray(), 0, "only what is injected panics");
    // A handful, asked for by hand, has not room for everything.
    if cases >= 100 {
        for point in POINTS.into_iter().chain([LEASE, BURY, "open_writer"]) {
            assert!(fired.contains_key(point), "{point} was never hit");
        }
        for what in DONE {
            assert!(counts.contains_key(what), "{what}: nothing of it was tested");
        }
    }
    scenario.teardown();
}

/// A case: a database in a system of its own.
struct Tested {
    /// Dropped before the system it runs in.
    case: Case,
    system: actix_rt::SystemRunner,
}

impl StateMachineTest for Tested {
    type SystemUnderTest = Self;
    type Reference = Known;

    fn init_test(known: &Known) -> Self {
        let system = actix_rt::System::new();
        let case = system.block_on(Case::new(known.setup));
        Self { case, system }
    }

    fn apply(mut tested: Self, known: &Known, step: Step) -> Self {
        let Self { case, system } = &mut tested;
        system.block_on(soon("the step", case.take(known, step)));
        tested
    }

    fn check_invariants(tested: &Self, known: &Known) {
        let stored = tested.system.block_on(soon("a query", tested.case.stored()));
        assert_eq!(stored, known.reference.stored());
    }

    fn teardown(mut tested: Self, known: Known) {
        let Self { case, system } = &mut tested;
        system.block_on(soon("the end", case.end(known)));
    }
}
