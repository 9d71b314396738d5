//! WHAT is said: the messages callers send and the replies they get. No I/O, no actors, no SQLite.

mod de;
mod execute;
mod query;
mod receipt;
mod rows;
mod statement;
mod transaction;
mod typed;
mod value;

pub use execute::Execute;
pub use query::{Query, QueryOne};
pub use receipt::{CommitSeq, Receipt, StatementResult, TransactionReceipt};
pub use rows::{Row, RowRef, Rows};
pub use statement::{IdempotencyKey, Params, ParamsError, Statement};
pub use transaction::Transaction;
pub use typed::{Keyed, Read, Write};
pub use value::Value;

pub(crate) use query::{Extent, ReadRequest};
pub(crate) use receipt::Committed;
pub(crate) use statement::Fingerprint;
pub(crate) use transaction::WriteRequest;
