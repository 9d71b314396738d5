//! What makes a type a message that a database answers. The messages of this crate are defined by it, and an
//! application's own are on an equal footing: they become actor messages by implementing `actix::Message` too.

use super::{Execute, IdempotencyKey, Query, QueryOne, Receipt, Row, Rows, Transaction, TransactionReceipt};
use crate::error::{ReadError, WriteError};

/// A message that is answered after a COMMIT.
pub trait Write: Send + 'static {
    /// What the caller gets.
    type Reply: Send + 'static;

    /// The statements to run, all or none, and the lane in which they wait ([`Transaction::bulk`]).
    ///
    /// # Errors
    /// [`WriteError::InvalidMessage`] if a field is out of its bounds.
    fn into_transaction(self) -> Result<Transaction, WriteError>;

    /// The reply, made of the results of the statements.
    fn reply(committed: TransactionReceipt) -> Self::Reply;
}

/// A message that is answered with what the database holds.
pub trait Read: Send + 'static {
    /// What the caller gets.
    type Reply: Send + 'static;

    /// The query to run.
    ///
    /// # Errors
    /// [`ReadError::InvalidMessage`] if a field is out of its bounds.
    fn into_query(self) -> Result<Query, ReadError>;

    /// The reply, made of the rows.
    ///
    /// # Errors
    /// [`ReadError::Deserialize`] if the rows are not what the message takes them for.
    fn reply(rows: Rows) -> Result<Self::Reply, ReadError>;
}

/// Any write under an idempotency key: committed once, however often it is sent.
#[derive(Debug, Clone)]
pub struct Keyed<W> {
    /// What is written.
    pub write: W,
    /// Under which key.
    pub key: IdempotencyKey,
}

impl<W: Write> Write for Keyed<W> {
    type Reply = W::Reply;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        Ok(self.write.into_transaction()?.idempotency_key(self.key))
    }

    fn reply(committed: TransactionReceipt) -> W::Reply {
        W::reply(committed)
    }
}

impl Write for Execute {
    type Reply = Receipt;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        let Self { statement, timeout, key, lane } = self;
        Ok(Transaction { statements: vec![statement], timeout, key, lane })
    }

    fn reply(committed: TransactionReceipt) -> Receipt {
        committed.into()
    }
}

impl Write for Transaction {
    type Reply = TransactionReceipt;

    fn into_transaction(self) -> Result<Transaction, WriteError> {
        Ok(self)
    }

    fn reply(committed: TransactionReceipt) -> TransactionReceipt {
        committed
    }
}

impl Read for Query {
    type Reply = Rows;

    fn into_query(self) -> Result<Query, ReadError> {
        Ok(self)
    }

    fn reply(rows: Rows) -> Result<Rows, ReadError> {
        Ok(rows)
    }
}

impl Read for QueryOne {
    type Reply = Option<Row>;

    fn into_query(self) -> Result<Query, ReadError> {
        Ok(self.0.first_row_only())
    }

    fn reply(rows: Rows) -> Result<Option<Row>, ReadError> {
        Ok(rows.rows.into_iter().next().map(|values| Row { columns: rows.columns, values }))
    }
}
