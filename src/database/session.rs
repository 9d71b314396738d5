//! A session: what a connection of one's own would be. Statements come one by one or as programs, `BEGIN` and `COMMIT` are
//! statements among them, and what is written is read again.
//!
//! Outside of a transaction a write goes into the group commit like any other, and a read to the readers. A program that
//! begins and ends its own transactions is one write of a batch. A transaction that stays open between two requests is a
//! lease on the writer from its first write on (`BEGIN IMMEDIATE`: from its beginning). Until then, and for as long as one
//! lasts that says that it only reads, it is a snapshot, which keeps nobody waiting; to write after reading it must still be
//! true what was read, as in SQLite.

mod plan;
mod transaction;

use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;

use super::snapshot::Snapshot;
use super::{Database, Lease};
use crate::error::{ReadError, StatementError, StatementErrorKind, WriteError};
use crate::message::script::{self, Kind, Mode};
use crate::message::{
    Column, Condition, Description, Program, ProgramEnd, Query, Statement, Step, StepOutcomes, StepResult,
    Task, Value,
};
use crate::policy::Lane;
use crate::settings;

/// Why something of a session failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The transaction was open for longer than it may, and is rolled back.
    #[error("the transaction was open for too long and was rolled back (writer.lease_timeout); begin again")]
    TransactionTimeout,
    /// Its turn did not come in time.
    #[error("the transaction waited too long for its turn (writer.lease_wait); try again later")]
    TransactionBusy,
}

/// Results of a program as they come.
#[derive(Debug)]
pub(crate) enum Event {
    Begin { step: usize, columns: Vec<Column> },
    Row(Vec<Value>),
    End { rows_affected: u64, last_insert_rowid: Option<i64> },
    Failed { step: usize, error: SessionError },
}

/// One caller's session. Dropping it rolls back its transaction.
pub(crate) struct Session {
    database: Database,
    transaction: Transaction,
    /// Whether foreign keys are enforced in what it writes.
    foreign_keys: bool,
    /// What it inserted last.
    last_rowid: Option<i64>,
}

/// What a session has open.
enum Transaction {
    None,
    /// Begun, but nothing was asked of it yet.
    Begun {
        reads_only: bool,
    },
    Writing(Writing),
    Reading {
        snapshot: Snapshot,
        /// It may go on to write if nobody else did since.
        may_write: bool,
    },
}

struct Writing {
    lease: Lease,
    /// If a savepoint began it: it ends when that is released.
    outermost: Option<Vec<String>>,
}

type Outcome = Result<StepResult, SessionError>;

impl Session {
    pub(crate) fn new(database: Database) -> Self {
        Self { database, transaction: Transaction::None, foreign_keys: true, last_rowid: None }
    }

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        matches!(self.transaction, Transaction::None)
    }

    /// Runs one statement.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Outcome {
        self.step(Step::of(statement)).await
    }

    /// Runs a program.
    pub(crate) async fn run(&mut self, steps: Vec<Step>) -> StepOutcomes<SessionError> {
        if self.is_autocommit() && self.foreign_keys && plan::is_for_the_writer(&steps) {
            return self.run_in_a_batch(steps).await;
        }
        self.run_step_by_step(steps).await
    }

    /// Runs a program and tells of it as it goes; ends early if nobody listens any more.
    pub(crate) async fn run_streamed(&mut self, steps: Vec<Step>, events: mpsc::Sender<Event>) {
        if self.is_autocommit() && steps.iter().all(plan::may_be_streamed) {
            // Told by errors alone: the rows are out.
            let mut outcomes = StepOutcomes::new();
            for (place, step) in steps.into_iter().enumerate() {
                let runs = step.condition.as_ref().is_none_or(|condition| condition.holds(&outcomes, true));
                let outcome = if runs { Some(self.stream(place, step, &events).await) } else { None };
                if events.is_closed() {
                    return;
                }
                outcomes.push(outcome);
            }
            return;
        }
        for (place, outcome) in self.run(steps).await.into_iter().enumerate() {
            let Some(outcome) = outcome else { continue };
            if tell(place, outcome, &events).await.is_err() {
                return;
            }
        }
    }

    /// Runs all statements of a text, up to the first that fails.
    pub(crate) async fn sequence(&mut self, sql: String) -> Result<(), SessionError> {
        let step = |(place, text): (usize, &str)| Step {
            statement: Statement::new(text.to_owned()),
            condition: place.checked_sub(1).map(Condition::Ok),
            wants_rows: false,
        };
        let steps = script::statements(&sql).into_iter().enumerate().map(step).collect();
        self.run(steps).await.into_iter().flatten().find_map(Result::err).map_or(Ok(()), Err)
    }

    /// Says what a statement is, without running it.
    pub(crate) async fn describe(&mut self, sql: String) -> Result<Description, SessionError> {
        let kind = script::kind(&sql);
        let is_readonly = kind != Kind::Begin(Mode::Immediate);
        let is_ours = match kind {
            Kind::Read | Kind::Unclear | Kind::Other => false,
            // To prepare one may be to run it, and these are answered by the session.
            Kind::Pragma { name, value } => {
                value.is_some() && ["foreign_keys", "busy_timeout"].contains(&name.as_str())
            }
            _ => true,
        };
        if is_ours {
            return Ok(Description { is_readonly, ..Description::default() });
        }
        self.take_up(&Kind::Read).await?;
        match &mut self.transaction {
            Transaction::Writing(writing) => match writing.lease.describe(sql).await {
                Ok(described) => Ok(described.map_err(WriteError::from)?),
                Err(error) => Err(self.lost(error)),
            },
            Transaction::Reading { snapshot, .. } => {
                let described = snapshot.describe(sql).await;
                described.map_err(|error| self.unread(error))
            }
            Transaction::None | Transaction::Begun { .. } => {
                self.database.settle().await;
                Ok(self.database.describe(sql).await?)
            }
        }
    }

    /// As one write among others; or, if that cannot be, step by step.
    async fn run_in_a_batch(&mut self, steps: Vec<Step>) -> StepOutcomes<SessionError> {
        let steps = Arc::new(steps);
        match self.submit(Arc::clone(&steps)).await {
            Ok(Some(outcomes)) => {
                let outcome = |result: Result<StepResult, StatementError>| {
                    result.map_err(|error| WriteError::from(error).into())
                };
                outcomes.into_iter().map(|result| result.map(outcome)).collect()
            }
            Ok(None) => self.run_step_by_step(Arc::unwrap_or_clone(steps)).await,
            // Nothing of it was run: its first step says so, and those that go on regardless say it too.
            Err(error) => {
                let mut outcomes = StepOutcomes::new();
                for step in steps.iter() {
                    let runs =
                        step.condition.as_ref().is_none_or(|condition| condition.holds(&outcomes, true));
                    outcomes.push(runs.then(|| Err(error.clone().into())));
                }
                outcomes
            }
        }
    }

    /// What came of steps that the writer ran as one write; none if they are more than that.
    async fn submit(&mut self, steps: Arc<Vec<Step>>) -> Result<Option<StepOutcomes>, WriteError> {
        let (program, ended) = Program::new(steps, self.last_rowid.unwrap_or(0));
        let overflow = self.database.inner.settings.queue.overflow;
        let pending =
            self.database.push_write(Task::Program(program).into(), Lane::Interactive, None, overflow);
        let committed = pending.outcome().await;
        let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (committed, ended) {
            (Ok(_), Some(ProgramEnd::Done(outcomes))) => {
                let mut noted = |result| self.noted(result, true);
                let outcome = |result: Option<Result<_, _>>| result.map(|result| result.map(&mut noted));
                Ok(Some(outcomes.into_iter().map(outcome).collect()))
            }
            // Only now: a program that was run again, and ended otherwise, has left that.
            (_, Some(ProgramEnd::NeedsLease)) => Ok(None),
            (Err(error), _) => Err(error),
            (Ok(_), None) => Err(WriteError::Unknown("the program's end is gone".into())),
        }
    }

    async fn run_step_by_step(&mut self, steps: Vec<Step>) -> StepOutcomes<SessionError> {
        let only_reads = plan::is_reading_transaction(&steps);
        let mut room = settings::bytes(self.database.inner.settings.readers.max_result_bytes);
        let mut outcomes = StepOutcomes::with_capacity(steps.len());
        for mut step in steps {
            let is_autocommit = self.is_autocommit();
            let runs =
                step.condition.take().is_none_or(|condition| condition.holds(&outcomes, is_autocommit));
            // What ends a transaction returns nothing, and left open it would keep others out.
            let fits = room > 0 || matches!(script::kind(&step.statement.sql), Kind::Commit | Kind::Rollback);
            let outcome = match (runs, fits) {
                (false, _) => None,
                (true, false) => Some(Err(no_room())),
                (true, true) => Some(self.step(step).await),
            };
            if let Some(Ok(result)) = &outcome {
                room = room.saturating_sub(result.size());
            }
            if let (true, Transaction::Begun { reads_only }) = (only_reads, &mut self.transaction) {
                *reads_only = true;
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Runs one step, whatever its condition.
    async fn step(&mut self, step: Step) -> Outcome {
        match script::kind(&step.statement.sql) {
            Kind::Begin(mode) => self.begin(mode).await,
            Kind::Commit => self.commit().await,
            Kind::Rollback => self.rollback().await,
            kind @ (Kind::Savepoint(_) | Kind::Release(_) | Kind::RollbackTo(_)) => {
                self.savepoint(kind, step).await
            }
            Kind::Pragma { name, value } => self.pragma(&name, value.as_deref(), step).await,
            _ if !self.is_autocommit() => self.step_in_transaction(step).await,
            Kind::Read => self.read(step).await,
            Kind::Unclear => self.read_or_write(step).await,
            Kind::Other => self.write(step).await,
        }
    }

    /// Of the PRAGMAs that set something for a connection, those that clients send as a matter of course.
    async fn pragma(&mut self, name: &str, value: Option<&str>, step: Step) -> Outcome {
        let is_autocommit = self.is_autocommit();
        match (name, value) {
            ("foreign_keys", None) => Ok(single("foreign_keys", i64::from(self.foreign_keys))),
            ("foreign_keys", Some(value)) => {
                // Within a transaction it does nothing, as in SQLite.
                if is_autocommit {
                    self.foreign_keys = is_true(value);
                }
                Ok(StepResult::default())
            }
            // Nobody waits for a lock here: writes wait for their turn, as the settings say.
            ("busy_timeout", value) => {
                Ok(single("timeout", value.and_then(|value| value.parse().ok()).unwrap_or(0)))
            }
            ("journal_mode", Some(value)) if value.eq_ignore_ascii_case("wal") => {
                Box::pin(self.step(Step::of("PRAGMA journal_mode".into()))).await
            }
            _ if !is_autocommit => self.step_in_transaction(step).await,
            ("user_version" | "application_id", Some(_)) | ("optimize", _) => self.write(step).await,
            // To ask for the mode of the journal is no reading to SQLite.
            _ => self.read_or_write(step).await,
        }
    }

    /// What only SQLite knows whether it writes.
    async fn read_or_write(&mut self, step: Step) -> Outcome {
        match self.read(step.clone()).await {
            Err(SessionError::Read(ReadError::Statement(error)))
                if error.kind == StatementErrorKind::NotReadOnly =>
            {
                self.write(step).await
            }
            outcome => outcome,
        }
    }

    async fn read(&mut self, Step { statement, wants_rows, .. }: Step) -> Outcome {
        self.database.settle().await;
        let found = self.database.read_typed(statement, self.last_rowid.unwrap_or(0)).await?;
        Ok(self.noted(found, wants_rows))
    }

    /// Commits one statement.
    async fn write(&mut self, step: Step) -> Outcome {
        if !self.foreign_keys {
            return self.write_without_foreign_keys(step).await;
        }
        let outcomes = self.submit(Arc::new(vec![step])).await?;
        match outcomes.into_iter().flatten().flatten().next() {
            Some(result) => Ok(result.map_err(WriteError::from)?),
            None => Err(WriteError::Unknown("the statement's result is gone".into()).into()),
        }
    }

    /// Whether they are enforced is said of a connection, outside of its transactions: so it takes a lease.
    async fn write_without_foreign_keys(&mut self, step: Step) -> Outcome {
        self.transaction = self.lease(None).await?;
        let result = self.step_in_transaction(step).await;
        if result.is_ok() {
            self.commit().await?;
        } else if !self.is_autocommit() {
            self.rollback().await?;
        }
        result
    }

    async fn stream(&mut self, place: usize, step: Step, events: &mpsc::Sender<Event>) -> Outcome {
        self.database.settle().await;
        let query = Query::new(step.statement.clone());
        let mut rows = match self.database.stream(query, Some(self.last_rowid.unwrap_or(0))).await {
            Ok(rows) => rows,
            // A WITH that writes.
            Err(ReadError::Statement(error)) if error.kind == StatementErrorKind::NotReadOnly => {
                let outcome = self.write(step).await;
                let told = outcome.as_ref().map(|_| StepResult::default()).map_err(Clone::clone);
                // Nobody there: the sender is asked for that.
                let _ = tell(place, outcome, events).await;
                return told;
            }
            Err(error) => {
                let _ = events.send(Event::Failed { step: place, error: error.clone().into() }).await;
                return Err(error.into());
            }
        };
        let told = async {
            let _ = events.send(Event::Begin { step: place, columns: rows.take_types() }).await;
            while let Some(piece) = rows.next().await {
                for row in piece? {
                    if send_row(row, events).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok::<(), ReadError>(())
        };
        let told = told.await.map_err(SessionError::from);
        let end = match &told {
            Ok(()) => Event::End { rows_affected: 0, last_insert_rowid: self.last_rowid },
            Err(error) => Event::Failed { step: place, error: error.clone() },
        };
        let _ = events.send(end).await;
        told.map(|()| StepResult::default())
    }

    /// The rowid of a result is that of the session, as on a connection of one's own.
    fn noted(&mut self, mut result: StepResult, wants_rows: bool) -> StepResult {
        self.last_rowid = result.last_insert_rowid.or(self.last_rowid);
        result.last_insert_rowid = self.last_rowid;
        if !wants_rows {
            result.rows.clear();
        }
        result
    }
}

/// Passes a row on. Many small ones may wait for their receiver; a large one waits until it is the only one: as many of
/// those as of small ones would fill the memory.
async fn send_row(row: Vec<Value>, events: &mpsc::Sender<Event>) -> Result<(), mpsc::error::SendError<()>> {
    const LARGE: usize = 4 << 10;
    let needed = if row.iter().map(Value::size).sum::<usize>() > LARGE { events.max_capacity() } else { 1 };
    if let Some(place) = events.reserve_many(needed).await?.next() {
        place.send(Event::Row(row));
    }
    Ok(())
}

/// Tells of a step that has been run.
async fn tell(
    place: usize,
    outcome: Outcome,
    events: &mpsc::Sender<Event>,
) -> Result<(), mpsc::error::SendError<Event>> {
    match outcome {
        Err(error) => events.send(Event::Failed { step: place, error }).await,
        Ok(StepResult { columns, rows, rows_affected, last_insert_rowid }) => {
            events.send(Event::Begin { step: place, columns }).await?;
            for row in rows {
                events.send(Event::Row(row)).await?;
            }
            events.send(Event::End { rows_affected, last_insert_rowid }).await
        }
    }
}

/// As SQLite reads it: whatever is not one of these is off.
fn is_true(value: &str) -> bool {
    ["on", "yes", "true"].iter().any(|word| value.eq_ignore_ascii_case(word))
        || value.parse::<i64>().is_ok_and(|number| number != 0)
}

fn no_room() -> SessionError {
    let message = "it was not run: the results of those before it are as large as they may be together (readers.max_result_bytes)";
    ReadError::from(StatementError::new(StatementErrorKind::ResultTooLarge, message)).into()
}

fn single(name: &str, value: i64) -> StepResult {
    StepResult {
        columns: vec![Column { name: name.to_owned(), decltype: None }],
        rows: vec![vec![value.into()]],
        ..StepResult::default()
    }
}

fn misplaced(message: &str) -> SessionError {
    WriteError::from(StatementError::misplaced(message)).into()
}

#[cfg(test)]
mod tests;
