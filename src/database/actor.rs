//! The same door as an address, for code that would rather send messages: `Addr<DatabaseActor>`, `Recipient<Execute>`.
//!
//! While the queue is full (and `queue.overflow` is `wait`) the actor takes no further message, so its mailbox fills up
//! and `send` waits: backpressure reaches the sender. `do_send` ignores mailbox bounds, as always in actix. A bulk write
//! that waits holds the mailbox back as any other: who loads in bulk through an actor starts another one for it, of the
//! same [`Database`].

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
    SystemRegistry, SystemService, WrapFuture,
};

use super::Database;
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{CommitSeq, Execute, Keyed, Query, QueryOne, Read, Transaction, Write};
use crate::policy::RefusedBecause;
use crate::stats::Status;

/// A [`Database`] as an actor. It answers each message of the handle, and may be put into the system's registry.
///
/// Its mailbox is held back while a write waits to be let into the queue, so bulk writes ([`Execute::bulk`]) that are not
/// to hold up interactive ones are sent to another actor of the same [`Database`].
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
}

impl Actor for DatabaseActor {
    type Context = Context<Self>;
}

impl Supervised for DatabaseActor {}
impl SystemService for DatabaseActor {}

/// Any write: it is queued in the order of the messages, and the mailbox is held back while the queue is full.
impl<W> Handler<W> for DatabaseActor
where
    W: Write + Message<Result = Result<<W as Write>::Reply, WriteError>>,
{
    type Result = ResponseFuture<Result<<W as Write>::Reply, WriteError>>;

    fn handle(&mut self, write: W, ctx: &mut Self::Context) -> Self::Result {
        let pending = self.database().map_err(WriteError::from).and_then(|database| database.submit(write));
        let mut pending = match pending {
            Ok(pending) => pending,
            Err(error) => return Box::pin(async move { Err(error) }),
        };
        if let Some(admitted) = pending.take_waiting() {
            ctx.wait(async move { drop(admitted.await) }.into_actor(self).map(|(), _, _| ()));
        }
        Box::pin(async move { pending.outcome().await.map(W::reply) })
    }
}

/// An actor message that reads. Two blanket handlers would overlap, so reads are listed.
macro_rules! reads {
    ($($read:ty),* $(,)?) => {$(
        impl Message for $read {
            type Result = Result<<$read as Read>::Reply, ReadError>;
        }

        impl Handler<$read> for DatabaseActor {
            type Result = ResponseFuture<Result<<$read as Read>::Reply, ReadError>>;

            fn handle(&mut self, read: $read, _: &mut Self::Context) -> Self::Result {
                let database = self.database();
                Box::pin(async move { database?.ask(read).await })
            }
        }
    )*};
}

macro_rules! writes {
    ($($write:ty),* $(,)?) => {$(
        impl Message for $write {
            type Result = Result<<$write as Write>::Reply, WriteError>;
        }
    )*};
}

writes!(Execute, Transaction);

impl<W: Write> Message for Keyed<W> {
    type Result = Result<W::Reply, WriteError>;
}
reads!(Query, QueryOne);

#[cfg(feature = "relay")]
mod relay {
    use super::{DatabaseActor, Handler, Message, Read, ReadError, ResponseFuture, Write, WriteError};
    use crate::relay::{
        AddAccount, AddMessageLog, DeleteAccount, GetAccount, GetAccounts, GetMessageLog, GetMessageLogs,
        UpdateAccountStatus,
    };

    writes!(AddAccount, UpdateAccountStatus, DeleteAccount, AddMessageLog);
    reads!(GetAccount, GetAccounts, GetMessageLog, GetMessageLogs);
}

impl Message for Flush {
    type Result = Result<CommitSeq, WriteError>;
}

impl Message for GetStatus {
    type Result = Option<Status>;
}

impl Handler<Flush> for DatabaseActor {
    type Result = ResponseFuture<Result<CommitSeq, WriteError>>;

    fn handle(&mut self, _: Flush, _: &mut Self::Context) -> Self::Result {
        let database = self.database();
        Box::pin(async move { database?.flush().await })
    }
}

impl Handler<GetStatus> for DatabaseActor {
    type Result = Option<Status>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        self.database.as_ref().map(Database::status)
    }
}
