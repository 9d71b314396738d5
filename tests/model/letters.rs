//! Steps with writes that nobody waits for, and with their dead letters: after each of them there are those that the model
//! has, each under its number, with its error and how often it was tried.

use std::time::Duration;

use actix_sqlite::{DeadLetter, ExpireDeadLetters, GetDeadLetters, IdempotencyKey, RetryDeadLetters};
use futures_util::future::Either;

use crate::case::{Case, arm, count, disarm, message};
use crate::harness::until;
use crate::ops::{Op, Write, key};
use crate::reference::Letter;
use crate::steps::{Crash, Known, Reopen};

impl Case {
    pub(crate) async fn enqueue(
        &mut self,
        known: &Known,
        writes: &[Write],
        crash: Option<&Crash>,
        reopen: Option<Reopen>,
    ) {
        crash.inspect(|crash| arm(crash));
        let before = self.database().status().writer.buried;
        for write in writes {
            match message(write) {
                Either::Left(one) => self.database().enqueue(one).await,
                Either::Right(several) => self.database().enqueue(several).await,
            }
            .unwrap();
        }
        count("enqueued", writes.len() as u64);
        if let Some(how) = reopen {
            // It drains what is queued, and keeps what of it failed.
            self.reopen(how).await;
            count("opened again with writes in the queue that nobody waited for", 1);
        } else {
            self.database().flush().await.unwrap();
            self.are_kept(before + known.letters.buried).await;
        }
        crash.inspect(|crash| disarm(crash));
        count("dead letters kept", known.letters.buried);
        self.compare_letters(known).await;
    }

    pub(crate) async fn retry(&mut self, known: &Known, ids: Option<Vec<i64>>, crash: Option<&Crash>) {
        crash.inspect(|crash| arm(crash));
        let before = self.database().status().writer.buried;
        let retried = self.database().retry_dead_letters(RetryDeadLetters { ids }).await.unwrap();
        let expected = known.letters;
        assert_eq!(
            (retried.committed, retried.failed, retried.missing),
            (expected.committed, expected.buried, expected.missing)
        );
        self.are_kept(before + expected.buried).await;
        crash.inspect(|crash| disarm(crash));
        count("dead letters committed", expected.committed);
        count("dead letters that failed again", expected.buried);
        self.compare_letters(known).await;
    }

    pub(crate) async fn expire(&mut self, known: &Known, ids: Option<Vec<i64>>, old: bool) {
        let older_than = old.then_some(Duration::from_hours(1));
        let expired =
            self.database().expire_dead_letters(ExpireDeadLetters { ids, older_than }).await.unwrap();
        assert_eq!(expired.expired, known.letters.expired);
        count("dead letters thrown away", expired.expired);
        self.compare_letters(known).await;
    }

    /// They are kept after their callers are answered, if there are callers.
    async fn are_kept(&self, count: u64) {
        until("what failed is kept", || self.database().status().writer.buried >= count).await;
        assert_eq!(self.database().status().writer.buried, count, "each is kept once");
    }

    pub(crate) async fn compare_letters(&self, known: &Known) {
        let all = GetDeadLetters { limit: GetDeadLetters::MAX_LIMIT, after_id: 0 };
        let letters = self.database().dead_letters(all).await.unwrap();
        let are_known = letters.len() == known.reference.letters().len()
            && letters
                .iter()
                .zip(known.reference.letters())
                .all(|(found, (id, letter))| is(found, *id, letter));
        assert!(are_known, "{letters:#?} instead of {:#?}", known.reference.letters());
    }
}

fn is(found: &DeadLetter, id: i64, letter: &Letter) -> bool {
    let statements = letter.body.iter().map(Op::statement);
    found.id == id
        && found.statements.iter().cloned().eq(statements)
        && found.key.as_deref() == letter.key.map(key).as_ref().map(IdempotencyKey::as_str)
        && (found.code.as_str(), found.attempts) == (letter.code, letter.attempts)
}
