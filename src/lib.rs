//! SQLite that never blocks an actix application.
//!
//! Writes from any number of actors, threads and remote clients are grouped into transactions by one writer thread and
//! acknowledged after their COMMIT; reads are served by a pool; a supervisor restarts what fails.
//!
//! # The way of a write
//!
//! [`Database::execute`] (or [`DatabaseActor`], the same door as an address) puts the write into the bounded queue of
//! `queue.rs`; for `actors/writer.rs`, `engine/sqlite/commit.rs` runs what is there as one transaction, each write succeeding
//! or failing alone, and meanwhile `actors/open_batch.rs` brings what else comes, as long as `policy/batch.rs` says so; after
//! the COMMIT each caller gets its own [`Receipt`].
//!
//! # What always holds
//!
//! - Acknowledged means committed.
//! - A write that failed left nothing behind, and did its neighbours no harm.
//! - Writes run in the order in which they entered their lane of the queue. Between the lanes ([`Lane`]) there is no
//!   order but that of turns: a caller who uses both waits for the one before sending the other, where it matters.
//! - A [`WriteError`] says what became of the write: not executed, or (only if the storage keeps failing) unknown.
//! - The queue belongs to the door: a writer that dies leaves it untouched, and gives back what it held.
//! - Imports go one way: `main > cli, server > database > actors > engine > message`; `policy` knows only `std`; only
//!   `actors` and `database/actor.rs` speak actix.
//! - The library starts no actix `System`, and installs no subscriber, recorder, allocator or signal handler.

// Sessions are there for the protocols of the daemon.
#![cfg_attr(not(feature = "server"), allow(dead_code, unused_imports))]

mod actors;
#[cfg(feature = "bench-internals")]
#[doc(hidden)]
pub mod bench_internals;
#[cfg(feature = "cli")]
pub mod cli;
mod database;
mod engine;
mod error;
#[cfg(feature = "server")]
mod layout;
mod message;
mod policy;
mod queue;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "server")]
pub mod server;
pub mod settings;
mod stats;
#[cfg(feature = "cli")]
pub mod telemetry;

pub use database::{
    Database, DatabaseActor, DatabaseBuilder, Flush, GetStatus, Lease, RowStream, ShutdownReport,
};
pub use engine::sqlite::MigrationError;
pub use error::{
    LeaseEnd, Outcome, ReadError, Refusal, RefusedBecause, StartError, StatementError, StatementErrorKind,
    WriteError,
};
pub use message::{
    Abort, BeginLease, Columns, CommitSeq, DeadLetter, Enqueue, Enqueued, Execute, ExpireDeadLetters,
    Expired, GetDeadLetters, IdempotencyKey, Keyed, Params, ParamsError, Query, QueryOne, Read, Receipt,
    Results, Retried, RetryDeadLetters, Row, RowRef, Rows, Statement, StatementResult, Transact, Transacted,
    Transaction, TransactionReceipt, Tx, Value, Write,
};
pub use policy::{FlushReason, Lane, Linger, Overflow, RestartPolicy};
pub use settings::{Settings, SettingsError};
pub use stats::{DatabaseStatus, QueueStatus, ReadersStatus, State, Status, WriterStatus, WriterTime};

/// The SQLite binding this library is built on, for embedders that need the same one.
pub use rusqlite;

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
