//! What a program is, as far as that can be told before it is run.

use crate::message::script::{self, Kind, Mode};
use crate::message::{Condition, Step};

/// Whether the writer can run all of it as one write, as far as that can be told before; and whether it has to: what only
/// reads is for the readers.
pub(super) fn is_for_the_writer(steps: &[Step]) -> bool {
    let (mut begins, mut ends, mut writes) = (false, false, false);
    for step in steps {
        match script::kind(&step.statement.sql) {
            Kind::Begin(Mode::ReadOnly) | Kind::Pragma { .. } => return false,
            Kind::Begin(_) => begins = true,
            Kind::Commit | Kind::Rollback => ends = true,
            Kind::Savepoint(_) if !begins => return false,
            Kind::Read => {}
            _ => writes = true,
        }
    }
    writes && steps.len() > 1 && begins <= ends
}

/// Whether it is a transaction that only reads and is over at the end of the program.
pub(super) fn is_reading_transaction(steps: &[Step]) -> bool {
    let mut kinds = steps.iter().map(|step| script::kind(&step.statement.sql));
    let only_reads = kinds.all(|kind| {
        matches!(
            kind,
            Kind::Begin(Mode::Deferred | Mode::ReadOnly) | Kind::Read | Kind::Commit | Kind::Rollback
        )
    });
    let ends = |step: &Step| matches!(script::kind(&step.statement.sql), Kind::Commit | Kind::Rollback);
    let begins = |step: &Step| matches!(script::kind(&step.statement.sql), Kind::Begin(_));
    only_reads
        && steps.last().is_some_and(|last| {
            ends(last)
                && match &last.condition {
                    None => true,
                    // `ROLLBACK` unless the `COMMIT` went well, as clients say it.
                    Some(Condition::Not(inner)) => match inner.as_ref() {
                        Condition::Ok(step) => {
                            // Nor is another one begun after it.
                            steps.get(*step).is_some_and(ends) && !steps[*step..].iter().any(begins)
                        }
                        _ => false,
                    },
                    Some(_) => false,
                }
        })
}

/// Whether its rows can be passed on as they come, if no transaction is open.
pub(super) fn may_be_streamed(step: &Step) -> bool {
    matches!(script::kind(&step.statement.sql), Kind::Read | Kind::Unclear)
}
