//! A transaction with logic of the caller's between its statements, run on the writer's thread.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::{CommitSeq, Rows, Statement, StatementResult};
use crate::error::{ReadError, StatementError, StatementErrorKind, WriteError};

/// What logic runs its statements with: each sees what those before it did, and what every earlier write did.
pub struct Tx<'a> {
    steps: &'a mut dyn Steps,
}

/// Who runs the statements of logic.
pub(crate) trait Steps {
    fn run(&mut self, statement: &Statement) -> Result<StatementResult, StatementError>;
}

impl<'a> Tx<'a> {
    pub(crate) fn new(steps: &'a mut dyn Steps) -> Self {
        Self { steps }
    }

    /// Runs one statement. An error may be handled, and the logic go on: the statement left nothing behind. One that did
    /// all the same (`OR FAIL`, `OR ROLLBACK`) fails the whole transaction whatever the logic makes of it.
    ///
    /// # Errors
    /// [`StatementError`] says what was wrong.
    pub fn execute(&mut self, statement: impl Into<Statement>) -> Result<StatementResult, StatementError> {
        self.steps.run(&statement.into())
    }

    /// Runs one statement for its rows.
    ///
    /// # Errors
    /// [`StatementError`] says what was wrong.
    pub fn query(&mut self, statement: impl Into<Statement>) -> Result<Rows, StatementError> {
        self.execute(statement).map(|result| Rows { columns: result.columns, rows: result.rows })
    }

    /// Runs one statement for its rows, each as a `T`: a struct by column names, a tuple by position, or a plain type if
    /// there is one column.
    ///
    /// # Errors
    /// [`Abort`], also if a row does not fit the type.
    pub fn query_as<T: DeserializeOwned>(
        &mut self,
        statement: impl Into<Statement>,
    ) -> Result<Vec<T>, Abort> {
        self.query(statement)?.deserialize().map_err(|error: ReadError| Abort::new(error.to_string()))
    }
}

impl fmt::Debug for Tx<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tx").finish_non_exhaustive()
    }
}

/// Why logic does not want its transaction committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// A statement failed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It decided so.
    #[error("{0}")]
    Decided(String),
}

impl Abort {
    /// A decision, with its reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self::Decided(reason.into())
    }
}

impl From<Abort> for WriteError {
    fn from(abort: Abort) -> Self {
        match abort {
            Abort::Statement(error) => Self::Statement(error),
            Abort::Decided(reason) => Self::Aborted(reason),
        }
    }
}

/// A message: a transaction with logic of the caller's, answered with what the logic returned once that is committed.
///
/// The logic runs on the writer's thread inside a savepoint of its own, in its turn among the other writes, and keeps
/// them waiting while it runs: it should do nothing but run statements and decide. Its statements together have
/// `writer.statement_timeout`; a panic in it fails it alone. If a neighbour in the batch has to be isolated it is rolled
/// back and run again, so it may run more than once; what counts is the last time.
pub struct Transact<T> {
    pub(crate) logic: Logic,
    pub(crate) value: Returned<T>,
}

/// Where the value of the last run is left for the caller.
pub(crate) type Returned<T> = Arc<Mutex<Option<T>>>;

/// What logic returned, and the COMMIT that holds what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transacted<T> {
    /// What it returned.
    pub value: T,
    /// The COMMIT.
    pub commit: CommitSeq,
}

impl<T: Send + 'static> Transact<T> {
    /// A transaction of this logic.
    pub fn new(mut logic: impl FnMut(&mut Tx<'_>) -> Result<T, Abort> + Send + 'static) -> Self {
        let value: Returned<T> = Arc::default();
        let slot = Arc::clone(&value);
        let run = move |tx: &mut Tx<'_>| {
            let returned = logic(tx)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(returned);
            Ok(())
        };
        Self { logic: Logic(RefCell::new(Box::new(run))), value }
    }
}

impl<T> fmt::Debug for Transact<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transact").finish_non_exhaustive()
    }
}

type Run = Box<dyn FnMut(&mut Tx<'_>) -> Result<(), Abort> + Send>;

/// Logic on its way to the engine. It belongs to one thread at a time.
pub(crate) struct Logic(RefCell<Run>);

impl Logic {
    /// Runs it once; a panic becomes its error.
    pub(crate) fn run(&self, steps: &mut dyn Steps) -> Result<(), WriteError> {
        let mut tx = Tx::new(steps);
        let mut logic = self.0.borrow_mut();
        match catch_unwind(AssertUnwindSafe(|| logic(&mut tx))) {
            Ok(returned) => returned.map_err(WriteError::from),
            Err(panic) => {
                let message = format!("the logic {}", panic_message(panic.as_ref()));
                Err(StatementError::new(StatementErrorKind::Panicked, message).into())
            }
        }
    }
}

impl fmt::Debug for Logic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Logic")
    }
}

/// What a panic said, for an error, the log and the status.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}
