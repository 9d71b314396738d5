//! A session: what a connection of one's own would be. Statements come one by one or as programs, `BEGIN` and `COMMIT` are
//! statements among them, and what is written is read again.

use tokio::sync::mpsc;

use super::Database;
use crate::error::{ReadError, StatementError, WriteError};
use crate::message::{Column, Description, Statement, Step, StepOutcomes, StepResult, Value};

/// Why something of a session failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The transaction was open for longer than it may, and is rolled back.
    #[error("the transaction was open for too long and was rolled back (writer.lease_timeout)")]
    TransactionTimeout,
    /// Its turn did not come in time.
    #[error("the transaction waited too long for its turn; try again later")]
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
}

impl Session {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Whether no transaction is open.
    pub(crate) fn is_autocommit(&self) -> bool {
        true
    }

    /// Runs one statement.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<StepResult, SessionError> {
        let receipt = self.database.execute(statement).await?;
        let name = |name| Column { name, decltype: None };
        Ok(StepResult {
            columns: receipt.columns.into_iter().map(name).collect(),
            rows: receipt.rows,
            rows_affected: receipt.rows_affected,
            last_insert_rowid: receipt.last_insert_rowid,
        })
    }

    /// Runs a program.
    pub(crate) async fn run(&mut self, steps: Vec<Step>) -> StepOutcomes<SessionError> {
        let mut outcomes = Vec::new();
        for step in steps {
            let runs = step.condition.is_none_or(|condition| condition.holds(&outcomes, true));
            outcomes.push(if runs { Some(self.execute(step.statement).await) } else { None });
        }
        outcomes
    }

    /// Runs a program and tells of it as it goes; ends early if nobody listens any more.
    pub(crate) async fn run_streamed(&mut self, steps: Vec<Step>, _events: mpsc::Sender<Event>) {
        self.run(steps).await;
    }

    /// Runs all statements of a text, up to the first that fails.
    pub(crate) async fn sequence(&mut self, sql: String) -> Result<(), SessionError> {
        self.execute(sql.into()).await.map(drop)
    }

    /// Says what a statement is, without running it.
    pub(crate) async fn describe(&mut self, sql: String) -> Result<Description, SessionError> {
        let _ = sql;
        Err(WriteError::from(StatementError::new(
            crate::error::StatementErrorKind::InvalidSql,
            "not there yet",
        ))
        .into())
    }
}
