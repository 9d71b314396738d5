//! A program: statements in order, each run or passed over according to how those before it ended. What a connection of
//! one's own would do with them, sent in one go.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Statement, Value};
use crate::error::StatementError;

/// One statement of a program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) statement: Statement,
    /// None: it is run in any case.
    pub(crate) condition: Option<Condition>,
    /// Whether its rows are wanted, or only what it changed.
    pub(crate) wants_rows: bool,
}

/// Whether a step is run. Steps are named by their place, from 0, and stand before the one that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// That one was run and succeeded.
    Ok(usize),
    /// That one was run and failed.
    Error(usize),
    Not(Box<Condition>),
    /// All; true if there are none.
    And(Vec<Condition>),
    /// At least one; false if there are none.
    Or(Vec<Condition>),
    /// No transaction is open.
    IsAutocommit,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type it was declared with, if it is the column of a table.
    pub(crate) decltype: Option<String>,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct StepResult {
    pub(crate) columns: Vec<Column>,
    /// Empty if they were not wanted.
    pub(crate) rows: Vec<Vec<Value>>,
    pub(crate) rows_affected: u64,
    pub(crate) last_insert_rowid: Option<i64>,
}

/// What each step did, in their order; none for one that was passed over.
pub(crate) type StepOutcomes<E = StatementError> = Vec<Option<Result<StepResult, E>>>;

/// Steps on their way to the writer, to be run as one write of a batch: transactions that they begin and end are a part of
/// it that is kept or undone.
#[derive(Debug)]
pub(crate) struct Program {
    /// Shared with who sent it, and may have to run them otherwise.
    pub(crate) steps: Arc<Vec<Step>>,
    /// What `last_insert_rowid()` is to be before the first of them.
    pub(crate) last_rowid: i64,
    ended: Ended,
}

/// Where the end of a program is left for who sent it. If it ran more than once the last time counts.
pub(super) type Ended = Arc<Mutex<Option<ProgramEnd>>>;

/// How a program ended on the writer.
#[derive(Debug)]
pub(crate) enum ProgramEnd {
    /// Kept once it is committed.
    Done(StepOutcomes),
    /// It does what only a connection of one's own can, such as to leave a transaction open; nothing of it was kept.
    NeedsLease,
}

impl Program {
    pub(crate) fn new(steps: Arc<Vec<Step>>, last_rowid: i64) -> (Self, Ended) {
        let ended = Ended::default();
        (Self { steps, last_rowid, ended: Arc::clone(&ended) }, ended)
    }

    pub(crate) fn end(&self, end: ProgramEnd) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        self.steps.iter().map(|step| step.statement.size()).sum()
    }
}

impl Step {
    /// One statement whose rows are wanted.
    pub(crate) fn of(statement: Statement) -> Self {
        Self { statement, condition: None, wants_rows: true }
    }
}

impl Column {
    fn size(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.decltype.as_ref().map_or(0, String::len)
    }
}

impl StepResult {
    /// What it occupies, in bytes.
    pub(crate) fn size(&self) -> usize {
        let columns = self.columns.iter().map(Column::size);
        self.rows.iter().flatten().map(Value::size).chain(columns).sum()
    }
}

/// What a statement is, before it is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Description {
    /// Names of the parameters with their prefix, in the order of their numbers; none for a bare `?`.
    pub(crate) params: Vec<Option<String>>,
    pub(crate) columns: Vec<Column>,
    pub(crate) is_explain: bool,
    pub(crate) is_readonly: bool,
}

impl Condition {
    /// Whether it holds, given what came of the steps so far and whether a transaction is open.
    pub(crate) fn holds<E>(&self, outcomes: &StepOutcomes<E>, is_autocommit: bool) -> bool {
        let outcome = |step: usize| outcomes.get(step).and_then(Option::as_ref);
        match self {
            Self::Ok(step) => outcome(*step).is_some_and(Result::is_ok),
            Self::Error(step) => outcome(*step).is_some_and(Result::is_err),
            Self::Not(condition) => !condition.holds(outcomes, is_autocommit),
            Self::And(all) => all.iter().all(|condition| condition.holds(outcomes, is_autocommit)),
            Self::Or(any) => any.iter().any(|condition| condition.holds(outcomes, is_autocommit)),
            Self::IsAutocommit => is_autocommit,
        }
    }
}
