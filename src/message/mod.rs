//! WHAT is said: the messages callers send and the replies they get. No I/O, no actors, no SQLite.

mod columns;
mod de;
mod dead_letter;
mod execute;
mod lease;
mod logic;
mod program;
mod query;
mod receipt;
mod results;
mod rows;
pub(crate) mod script;
mod statement;
mod transaction;
mod typed;
mod value;

pub use columns::Columns;
pub use dead_letter::{
    DeadLetter, Enqueue, Enqueued, ExpireDeadLetters, Expired, GetDeadLetters, Retried, RetryDeadLetters,
};
pub use execute::Execute;
pub use lease::BeginLease;
pub use logic::{Abort, Transact, Transacted, Tx};
pub use query::{Query, QueryOne};
pub use receipt::{CommitSeq, Receipt, StatementResult, TransactionReceipt};
pub use results::Results;
pub use rows::{Row, RowRef, Rows};
pub use statement::{IdempotencyKey, Params, ParamsError, Statement};
pub use transaction::Transaction;
pub use typed::{Keyed, Read, Write};
pub use value::Value;

pub(crate) use dead_letter::{Burial, Buried, GetDeadLetterIds, statements_from_json};
pub(crate) use lease::{LeaseHold, LeaseOrder, LeaseSeat, LeaseTerms, Stepped};
pub(crate) use logic::{Logic, Returned, Steps, panic_message};
pub(crate) use program::{
    Column, Condition, Description, Program, ProgramEnd, Step, StepOutcomes, StepResult,
};
pub(crate) use query::{Extent, ReadRequest};
pub(crate) use receipt::Committed;
pub(crate) use statement::Fingerprint;
pub(crate) use transaction::{Task, WriteRequest};
