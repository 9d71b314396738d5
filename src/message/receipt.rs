//! What a caller holds after the COMMIT of its write.

use serde::{Deserialize, Serialize};

use super::{Columns, Results, RowRef, Rows, Value};

/// The number of a COMMIT. Later commits have higher numbers, across restarts too; writes of one group commit share it. Not
/// every number is used: a process that opens the file goes on by up to a thousand later than the one before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct CommitSeq(pub u64);

impl std::fmt::Display for CommitSeq {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What one statement did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct StatementResult {
    /// Rows inserted, updated or deleted by the statement itself, triggers and cascades not counted.
    pub rows_affected: u64,
    /// The rowid of the row this statement inserted last; `None` if it inserted none.
    pub last_insert_rowid: Option<i64>,
    /// Names of the columns of `rows`; empty without RETURNING.
    pub columns: Columns,
    /// The rows of RETURNING (or of a SELECT sent as a write), values in column order.
    pub rows: Vec<Vec<Value>>,
}

impl StatementResult {
    /// The first row, if there is one.
    pub fn first_row(&self) -> Option<RowRef<'_>> {
        self.rows.first().map(|values| RowRef::new(&self.columns, values))
    }

    /// What it occupies, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.rows.iter().flatten().map(Value::size).sum()
    }
}

/// Proof that one statement is committed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Receipt {
    /// Rows inserted, updated or deleted by the statement itself, triggers and cascades not counted.
    pub rows_affected: u64,
    /// The rowid of the row this very statement inserted last; `None` if it inserted none.
    pub last_insert_rowid: Option<i64>,
    /// Names of the columns of `rows`; empty without RETURNING.
    pub columns: Columns,
    /// The rows of RETURNING, values in column order.
    pub rows: Vec<Vec<Value>>,
    /// The COMMIT that holds the write.
    pub commit: CommitSeq,
}

impl Receipt {
    /// The rows of RETURNING, to be read by name or by type.
    pub fn into_rows(self) -> Rows {
        Rows { columns: self.columns, rows: self.rows }
    }
}

/// Proof that a transaction is committed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct TransactionReceipt {
    /// One result a statement, in order.
    pub results: Results,
    /// The COMMIT that holds the transaction.
    pub commit: CommitSeq,
}

/// A receipt before it is given the form the caller asked for.
pub(crate) type Committed = TransactionReceipt;

impl From<Committed> for Receipt {
    fn from(committed: Committed) -> Self {
        let result = committed.results.into_iter().next().unwrap_or_default();
        Self {
            rows_affected: result.rows_affected,
            last_insert_rowid: result.last_insert_rowid,
            columns: result.columns,
            rows: result.rows,
            commit: committed.commit,
        }
    }
}
