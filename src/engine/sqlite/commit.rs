//! A batch becomes a transaction, and each of its writes an outcome of its own.
//!
//! All writes of a batch run in one transaction. One that fails and leaves nothing behind is answered with its error.
//! One that soils the transaction (ends it, leaves rows behind although it failed, leaves a foreign key violated) is
//! isolated: everything is rolled back, and the writes before it, itself, and the writes after it are committed as
//! transactions of their own, in this order. Nothing is settled before the COMMIT that makes it true.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::at_hand::AtHand;
use super::authorizer::Trusted;
use super::columns::KnownColumns;
use super::ghost::{WritingConnection, may_leave_ghost};
use super::identity::OpenFiles;
use super::numbers::Numbers;
use super::own::{self, own};
use super::query::Deadline;
use super::run::{Limits, Ran};
use super::wal::Checkpointer;
use super::{dead_letters, errors, idempotency, rowid};
use crate::engine::{Batch, EngineFailure, Occasion, Outcomes, WriteEngine, WriteOutcome};
use crate::error::{StatementError, WriteError};
use crate::message::{Burial, CommitSeq, Committed, LeaseSeat};
use crate::settings::{DatabaseSettings, Settings};

pub(super) struct SqliteWriter {
    pub(super) conn: WritingConnection,
    pub(super) numbers: Numbers,
    /// What the COMMIT of the last attempt took, if it came to one.
    sealing: Option<Duration>,
    pub(super) deadline: Deadline,
    pub(super) rowids: rowid::Watch,
    checkpointer: Checkpointer,
    pub(super) known: KnownColumns,
    pub(super) limits: Limits,
    /// Set when no statement of a caller may run any more.
    pub(super) interrupted: Arc<AtomicBool>,
    files: OpenFiles,
    pub(super) settings: DatabaseSettings,
    /// When old idempotency keys are next looked for.
    keys_kept_until: Instant,
    /// How many keys too many there were when that was looked for last, less those that went since.
    surplus_keys: i64,
    /// How many keys go at once: more than a batch brings, so that a surplus shrinks however fast keys come.
    keys_at_once: usize,
}

/// Between two clean-ups of idempotency keys.
const KEY_KEEPING_PERIOD: Duration = Duration::from_secs(10);

/// Keys that are forgotten at once, at least.
const LEAST_KEYS_AT_ONCE: usize = 2_000;

/// How the attempt to commit some writes in one transaction ended.
enum Attempt {
    Committed(Vec<WriteOutcome>),
    /// The write at this place soiled the transaction, with this error; everything is rolled back.
    Soiled {
        at: usize,
        error: WriteError,
    },
    /// The COMMIT was refused and nobody knows for whose sake; everything is rolled back.
    CommitRefused(StatementError),
}

impl SqliteWriter {
    pub(super) fn new(
        conn: WritingConnection,
        numbers: Numbers,
        checkpointer: Checkpointer,
        path: &Path,
        settings: &Settings,
        interrupted: Arc<AtomicBool>,
    ) -> rusqlite::Result<Self> {
        let writer = &settings.writer;
        Ok(Self {
            numbers,
            sealing: None,
            deadline: Deadline::install(&conn, Arc::clone(&interrupted))?,
            interrupted,
            files: OpenFiles::of(path),
            rowids: rowid::Watch::install(&conn)?,
            checkpointer,
            known: KnownColumns::default(),
            limits: Limits::new(writer),
            settings: settings.database.clone(),
            keys_kept_until: Instant::now(),
            surplus_keys: 0,
            keys_at_once: writer.max_batch_writes.get().saturating_mul(2).max(LEAST_KEYS_AT_ONCE),
            conn,
        })
    }

    /// Runs the writes of a range in one transaction, as they come, and commits it.
    fn attempt(
        &mut self,
        batch: &mut dyn Batch,
        range: &Range<usize>,
        in_doubt: &mut Range<usize>,
    ) -> Result<Attempt, EngineFailure> {
        let nothing = Committed { commit: self.numbers.last(), ..Committed::default() };
        let mut outcomes = Vec::with_capacity(batch.len().min(range.end) - range.start);
        let mut places = range.clone();
        // Before the first write that changes something there is nothing to commit.
        let first = loop {
            let Some(at) = places.next() else { return Ok(Attempt::Committed(outcomes)) };
            match batch.write(at) {
                Some(write) if write.task.is_flush() => outcomes.push(Ok(nothing.clone())),
                Some(_) => break at,
                None => return Ok(Attempt::Committed(outcomes)),
            }
        };
        if let Some(refusal) = self.refusal()? {
            for at in first..range.end {
                let Some(write) = batch.write(at) else { break };
                outcomes.push(if write.task.is_flush() { Ok(nothing.clone()) } else { Err(refusal.clone()) });
            }
            return Ok(Attempt::Committed(outcomes));
        }
        let commit = self.numbers.next();
        fail::fail_point!("before_begin");
        own::run(&self.conn, own!("BEGIN IMMEDIATE")).map_err(|error| storage_failure(&error))?;
        let mut at_hand = AtHand::new(&self.conn);
        let mut is_past_middle = false;
        for at in first..range.end {
            let Some(write) = batch.write(at) else { break };
            let ran = self.run(write, commit, &mut at_hand);
            if !is_past_middle && at + 1 >= range.start.midpoint(batch.len().min(range.end)) {
                is_past_middle = true;
                fail::fail_point!("mid_batch");
            }
            match ran {
                Ran::Clean(outcome) => outcomes.push(outcome),
                Ran::Soiled(error) => {
                    drop(at_hand);
                    self.rollback()?;
                    return Ok(Attempt::Soiled { at, error });
                }
            }
        }
        drop(at_hand);
        if outcomes.iter().all(Result::is_err) {
            self.rollback()?;
            return Ok(Attempt::Committed(outcomes));
        }
        fail::fail_point!("before_commit");
        self.check_files()?;
        let begun = Instant::now();
        match self.seal() {
            Ok(()) => {
                self.sealing = Some(begun.elapsed());
                Ok(Attempt::Committed(outcomes))
            }
            Err(error) if may_leave_ghost(&error) => {
                *in_doubt = range.start..range.start + outcomes.len();
                Err(storage_failure(&error))
            }
            Err(error) => {
                self.rollback()?;
                Ok(Attempt::CommitRefused(errors::statement_error(&error)))
            }
        }
    }

    /// Why nothing may be written now, if the log is as long as it may be.
    pub(super) fn refusal(&mut self) -> Result<Option<WriteError>, EngineFailure> {
        self.checkpointer.refusal(&self.conn).map_err(|error| storage_failure(&error))
    }

    /// Commits under the next number.
    pub(super) fn seal(&mut self) -> rusqlite::Result<()> {
        let trusted = Trusted::begin();
        let reserved = self.numbers.reserve(&self.conn, &trusted)?;
        let committed = own::prepare(&self.conn, own!("COMMIT"), &trusted)
            .and_then(|mut commit| commit.execute([]))
            .map(|_| ());
        self.conn.note(&committed);
        committed?;
        self.numbers.committed(reserved);
        Ok(())
    }

    /// Whether there are more keys to forget.
    fn forget_keys(&mut self) -> rusqlite::Result<bool> {
        if self.surplus_keys == 0 {
            self.surplus_keys = idempotency::surplus(&self.conn, &self.settings)?;
        }
        idempotency::forget(&self.conn, &self.settings, self.keys_at_once, &mut self.surplus_keys)
    }

    /// To be asked before a COMMIT: one into files that nobody finds again would be acknowledged and lost.
    pub(super) fn check_files(&self) -> Result<(), EngineFailure> {
        self.files.check().map_err(EngineFailure::Storage)
    }

    pub(super) fn rollback(&self) -> Result<(), EngineFailure> {
        if self.conn.is_autocommit() {
            return Ok(());
        }
        own::run(&self.conn, own!("ROLLBACK")).map_err(|error| storage_failure(&error))
    }
}

impl WriteEngine for SqliteWriter {
    fn last_commit(&self) -> CommitSeq {
        self.numbers.last()
    }

    fn commit(&mut self, batch: &mut dyn Batch, outcomes: &mut Outcomes) -> Result<(), EngineFailure> {
        // A stack of ranges, the first on top, so that order is kept however often a range is split. The first one ends where
        // the batch does; once it had to be split, no more are taken: who is committed is not to wait for who comes.
        let mut ranges = Vec::new();
        ranges.push(0..usize::MAX);
        while let Some(range) = ranges.pop() {
            let attempt = self.attempt(batch, &range, &mut outcomes.in_doubt)?;
            let (start, end) = (range.start, range.end.min(batch.len()));
            match attempt {
                Attempt::Committed(results) => {
                    if let Some(sealing) = self.sealing.take() {
                        outcomes.commits += 1;
                        outcomes.sealing = sealing;
                    }
                    outcomes.settle(start, results);
                }
                // Nothing was before it, so it is nobody else's fault.
                Attempt::Soiled { at, error } if at == start => {
                    outcomes.replayed |= end > at + 1;
                    let needs_new_connection = breaks_connection(&error);
                    let reason = error.to_string();
                    outcomes.settle(at, [Err(error)]);
                    if needs_new_connection {
                        return Err(EngineFailure::Storage(reason));
                    }
                    ranges.push(at + 1..end);
                }
                Attempt::Soiled { at: soiler, .. } => {
                    outcomes.replayed = true;
                    ranges.extend([soiler + 1..end, soiler..soiler + 1, start..soiler]);
                }
                Attempt::CommitRefused(error) if end == start + 1 => {
                    outcomes.settle(start, [Err(error.into())]);
                }
                Attempt::CommitRefused(_) => {
                    outcomes.replayed = true;
                    let middle = start.midpoint(end);
                    ranges.extend([middle..end, start..middle]);
                }
            }
        }
        Ok(())
    }

    fn lease(&mut self, seat: &LeaseSeat, outcomes: &mut Outcomes) -> Result<(), EngineFailure> {
        self.hold(seat, outcomes)
    }

    fn bury(&mut self, dead: &[Burial]) -> Result<Option<usize>, EngineFailure> {
        if self.refusal()?.is_some() {
            return Ok(None);
        }
        dead_letters::bury(self, dead)
    }

    fn maintain(&mut self, occasion: Occasion) -> Result<(), EngineFailure> {
        let now = Instant::now();
        // To remove keys is to write.
        if now >= self.keys_kept_until && occasion != Occasion::Idle && !self.checkpointer.is_at_limit() {
            let more = match self.forget_keys() {
                Ok(more) => more,
                Err(error) if errors::statement_error(&error).breaks_connection() => {
                    return Err(storage_failure(&error));
                }
                // Keys that stay too long do no harm that would be worth a restart.
                Err(error) => {
                    tracing::warn!(%error, "old idempotency keys could not be removed");
                    false
                }
            };
            self.keys_kept_until = if more { now } else { now + KEY_KEEPING_PERIOD };
        }
        self.checkpointer.run(&self.conn, occasion).map_err(|error| storage_failure(&error))
    }

    fn idle_pause(&self) -> Option<Duration> {
        self.checkpointer.idle_pause()
    }
}

pub(super) fn storage_failure(error: &rusqlite::Error) -> EngineFailure {
    EngineFailure::Storage(errors::message(error))
}

fn breaks_connection(error: &WriteError) -> bool {
    let (WriteError::Statement(error) | WriteError::Transaction { error, .. }) = error else { return false };
    error.breaks_connection()
}
