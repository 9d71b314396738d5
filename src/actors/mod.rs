//! WHO: the actors that own threads and connections. Beside `database/actor.rs` only these files speak actix.

mod look;
mod open_batch;
pub(crate) mod reader;
pub(crate) mod shared;
pub(crate) mod supervisor;
pub(crate) mod ticket;
pub(crate) mod writer;

use actix::Message;
use tokio::sync::oneshot;

use crate::error::StartError;

/// The supervisor's order to a writer: open a connection, say so, and commit batches until the queue is closed.
pub(crate) struct Collect {
    pub(crate) ready: oneshot::Sender<()>,
}

impl Message for Collect {
    type Result = Exit;
}

/// The supervisor's order to a reader: open a connection, say so, and answer queries until the queue is closed.
pub(crate) struct Serve {
    pub(crate) ready: oneshot::Sender<()>,
}

impl Message for Serve {
    type Result = Exit;
}

/// How an actor's work ended. It is the reply to the order.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The queue was closed, and all of it is answered.
    Drained,
    /// There was no connection to be had.
    CannotOpen(StartError),
    /// The storage failed, or the code panicked.
    Failed(String),
}
