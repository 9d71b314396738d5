//! The same door as an address, for code that would rather send messages: `Addr<DatabaseActor>`, `Recipient<Execute>`.
//!
//! While the queue is full (and `queue.overflow` is `wait`) the actor takes no further message, so its mailbox fills up
//! and `send` waits: backpressure reaches the sender. `do_send` ignores mailbox bounds, as always in actix.

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised, SystemRegistry,
    SystemService, WrapFuture,
};

use super::{Database, PendingWrite, Submit};
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{
    CommitSeq, Committed, Execute, Query, QueryOne, Receipt, Row, Rows, Transaction, TransactionReceipt,
};
use crate::policy::RefusedBecause;
use crate::stats::Status;

/// A [`Database`] as an actor. It answers each message of the handle, and may be put into the system's registry.
#[derive(Default)]
pub struct DatabaseActor {
    /// `None` if the registry made it and nobody had put an opened one there.
    database: Option<Database>,
}

/// Asks for the [`Status`]; `None` if no database was opened behind this address.
#[derive(Debug, Clone, Copy)]
pub struct GetStatus;

/// Asks for everything queued before to be committed.
#[derive(Debug, Clone, Copy)]
pub struct Flush;

impl DatabaseActor {
    /// The actor of an opened database; start it to have its address.
    pub fn new(database: Database) -> Self {
        Self { database: Some(database) }
    }

    /// Starts it as this system's one instance: from now on [`SystemService::from_registry`] gives its address anywhere
    /// in the system. To be called once, before anybody asks the registry.
    pub fn register(database: Database) -> actix::Addr<Self> {
        let address = Self::new(database).start();
        SystemRegistry::set(address.clone());
        address
    }

    fn database(&self) -> Result<Database, Refusal> {
        self.database.clone().ok_or_else(|| Refusal::new(RefusedBecause::NotOpen))
    }

    /// Queues a write in the order of the messages, and holds the mailbox back while the queue is full.
    pub(crate) fn write<T: 'static>(
        &self,
        write: impl Submit,
        ctx: &mut Context<Self>,
        answer: impl FnOnce(Committed) -> T + 'static,
    ) -> ResponseFuture<Result<T, WriteError>> {
        let database = match self.database() {
            Ok(database) => database,
            Err(refusal) => return Box::pin(async move { Err(refusal.into()) }),
        };
        let mut pending: PendingWrite = database.submit(write);
        if let Some(admitted) = pending.take_waiting() {
            ctx.wait(async move { drop(admitted.await) }.into_actor(self).map(|(), _, _| ()));
        }
        Box::pin(async move { pending.outcome().await.map(answer) })
    }

    /// Runs a query of the handle.
    pub(crate) fn read<T, F>(&self, read: impl FnOnce(Database) -> F) -> ResponseFuture<Result<T, ReadError>>
    where
        T: 'static,
        F: Future<Output = Result<T, ReadError>> + 'static,
    {
        match self.database() {
            Ok(database) => Box::pin(read(database)),
            Err(refusal) => Box::pin(async move { Err(refusal.into()) }),
        }
    }
}

impl Actor for DatabaseActor {
    type Context = Context<Self>;
}

impl Supervised for DatabaseActor {}
impl SystemService for DatabaseActor {}

impl Message for Execute {
    type Result = Result<Receipt, WriteError>;
}

impl Message for Transaction {
    type Result = Result<TransactionReceipt, WriteError>;
}

impl Message for Query {
    type Result = Result<Rows, ReadError>;
}

impl Message for QueryOne {
    type Result = Result<Option<Row>, ReadError>;
}

impl Message for Flush {
    type Result = Result<CommitSeq, WriteError>;
}

impl Message for GetStatus {
    type Result = Option<Status>;
}

impl Handler<Execute> for DatabaseActor {
    type Result = ResponseFuture<Result<Receipt, WriteError>>;

    fn handle(&mut self, execute: Execute, ctx: &mut Self::Context) -> Self::Result {
        self.write(execute, ctx, Receipt::from)
    }
}

impl Handler<Transaction> for DatabaseActor {
    type Result = ResponseFuture<Result<TransactionReceipt, WriteError>>;

    fn handle(&mut self, transaction: Transaction, ctx: &mut Self::Context) -> Self::Result {
        self.write(transaction, ctx, |committed| committed)
    }
}

impl Handler<Query> for DatabaseActor {
    type Result = ResponseFuture<Result<Rows, ReadError>>;

    fn handle(&mut self, query: Query, _: &mut Self::Context) -> Self::Result {
        self.read(|database| async move { database.query(query).await })
    }
}

impl Handler<QueryOne> for DatabaseActor {
    type Result = ResponseFuture<Result<Option<Row>, ReadError>>;

    fn handle(&mut self, query: QueryOne, _: &mut Self::Context) -> Self::Result {
        self.read(|database| async move { database.query_one(query.0).await })
    }
}

impl Handler<Flush> for DatabaseActor {
    type Result = ResponseFuture<Result<CommitSeq, WriteError>>;

    fn handle(&mut self, _: Flush, _: &mut Self::Context) -> Self::Result {
        match self.database() {
            Ok(database) => Box::pin(async move { database.flush().await }),
            Err(refusal) => Box::pin(async move { Err(refusal.into()) }),
        }
    }
}

impl Handler<GetStatus> for DatabaseActor {
    type Result = Option<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        self.database.as_ref().map(Database::status)
    }
}
