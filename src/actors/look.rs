//! One look at the file for several queries: while they follow each other without a pause, a reader keeps its read
//! transaction, as to begin and end one costs about as much as to find a row.
//!
//! A query has to show every write that was acknowledged before it was asked. So a look is over as soon as there is
//! news of a commit that it does not see. It is over, too, when the log was moved into the file (a reader that is still in
//! the log would keep it from starting again), after a short time in any case, and when nothing waits.

use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::engine::ReadEngine;
use crate::error::ReadError;
use crate::message::CommitSeq;
use crate::stats;

/// No look is longer, but for the query that it ends with. By so much may a checkpoint be put off.
const LONGEST: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Look {
    held: Option<Held>,
    /// Whether the last query found this one waiting.
    busy: bool,
}

struct Held {
    commit: CommitSeq,
    checkpoints: u64,
    since: Instant,
}

impl Look {
    /// To be called before each query, when it is known that it was asked. If there is no look to be had, the query runs by
    /// itself, and says what is wrong. An error means that the connection is of no more use.
    pub(super) fn begin(&mut self, engine: &mut dyn ReadEngine, shared: &Shared) -> Result<(), ReadError> {
        if !std::mem::replace(&mut self.busy, true) {
            return Ok(());
        }
        let (now, checkpoints) = (Instant::now(), stats::get(&shared.stats.checkpoints));
        let last = *shared.last_commit.borrow();
        let is_good = |held: &Held| {
            held.commit >= last && held.checkpoints == checkpoints && now - held.since < LONGEST
        };
        if self.held.as_ref().is_some_and(is_good) {
            return Ok(());
        }
        self.held = None;
        engine.release()?;
        match engine.hold() {
            // It may see a later one, but none before.
            Ok(()) => self.held = Some(Held { commit: last, checkpoints, since: now }),
            Err(_) => engine.release()?,
        }
        Ok(())
    }

    /// To be called when no query waits.
    pub(super) fn end(&mut self, engine: &mut dyn ReadEngine) -> Result<(), ReadError> {
        self.busy = false;
        match self.held.take() {
            Some(_) => engine.release(),
            None => Ok(()),
        }
    }
}
