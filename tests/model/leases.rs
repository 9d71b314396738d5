//! A step with a lease in it: what is sent before it is committed before it, what is sent after it waits for its end, and
//! its holder is told of each statement what the model says.

use actix_sqlite::{BeginLease, CommitSeq, Database, StatementResult, WriteError};
use futures_util::future::{join_all, join3};

use crate::case::{Case, arm, count, disarm, send};
use crate::ops::{Op, Write};
use crate::reference::{End, Ran};
use crate::steps::{Crash, Known};

/// What a holder was told.
struct Told {
    ran: Vec<Result<StatementResult, WriteError>>,
    /// If it asked for a COMMIT.
    committed: Option<Result<CommitSeq, WriteError>>,
}

async fn hold(database: &Database, ops: &[Op], end: End) -> Told {
    let mut lease = database.lease(BeginLease::new()).await.unwrap();
    let mut ran = Vec::new();
    for op in ops {
        ran.push(lease.execute(op.statement()).await);
    }
    let committed = match end {
        End::Commit => Some(lease.commit().await),
        End::RollBack => {
            lease.rollback().await;
            None
        }
        End::Drop => None,
    };
    Told { ran, committed }
}

impl Case {
    pub(crate) async fn lease(
        &mut self,
        known: &Known,
        (before, after): (&[Write], &[Write]),
        (ops, end): (&[Op], End),
        crash: Option<&Crash>,
    ) {
        crash.inspect(|crash| arm(crash));
        let send_all = |writes: &[Write]| join_all(writes.iter().map(|write| send(self.database(), write)));
        // In this order they enter the queue.
        let (sent_before, told, sent_after) =
            join3(send_all(before), hold(self.database(), ops, end), send_all(after)).await;
        crash.inspect(|crash| disarm(crash));
        for ((write, answer), expected) in before.iter().zip(sent_before).zip(&known.expected) {
            self.compare(write, answer, expected);
        }
        self.compare_lease(known, told, end);
        for ((write, answer), expected) in after.iter().zip(sent_after).zip(&known.expected[before.len()..]) {
            self.compare(write, answer, expected);
        }
    }

    fn compare_lease(&mut self, known: &Known, told: Told, end: End) {
        let expected = known.lease.as_ref().expect("the model ran it too");
        let ran: Vec<Ran> = told.ran.into_iter().map(|ran| ran.map_err(|error| error.code())).collect();
        assert_eq!(ran, expected.ran, "what the holder of a lease was told");
        let failed = ran.iter().filter(|ran| ran.as_ref().is_err_and(|code| *code != "lease_ended")).count();
        count("statements of a lease that failed", failed as u64);
        match (told.committed, &expected.committed) {
            (None, None) if end == End::RollBack => count("leases rolled back", 1),
            (None, None) => count("leases dropped", 1),
            (Some(Ok(commit)), Some(Ok(()))) => {
                count("leases committed", 1);
                assert!(commit > self.last_commit, "commits are in order");
                self.last_commit = commit;
            }
            (Some(Err(error)), Some(Err(code))) => {
                count("leases not committed", 1);
                assert_eq!(error.code(), *code, "{error}");
            }
            (told, expected) => panic!("the COMMIT of a lease: {told:?} instead of {expected:?}"),
        }
    }
}
