//! The same door as an address, for code that would rather send messages: `Addr<DatabaseActor>`, `Recipient<Execute>`.
//!
//! While the queue is full (and `queue.overflow` is `wait`) the actor takes no further message, so its mailbox fills up
//! and `send` waits: backpressure reaches the sender. `do_send` ignores mailbox bounds, as always in actix.

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
    SystemRegistry, SystemService, WrapFuture,
};

use super::{Database, Lease, PendingWrite};
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{
    BeginLease, CommitSeq, Execute, Keyed, Query, QueryOne, Read, Transact, Transacted, Transaction, Write,
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

    /// Takes no further message before this write has entered the queue.
    fn hold_back(&self, write: &mut PendingWrite, ctx: &mut Context<Self>) {
        if let Some(admitted) = write.take_waiting() {
            ctx.wait(async move { drop(admitted.await) }.into_actor(self).map(|(), _, _| ()));
        }
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
        let pending = pending.map(|mut write| {
            self.hold_back(&mut write, ctx);
            write
        });
        Box::pin(async move { pending?.outcome().await.map(W::reply) })
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

impl<T: Send + 'static> Message for Transact<T> {
    type Result = Result<Transacted<T>, WriteError>;
}

impl<T: Send + 'static> Handler<Transact<T>> for DatabaseActor {
    type Result = ResponseFuture<Result<Transacted<T>, WriteError>>;

    fn handle(&mut self, transact: Transact<T>, ctx: &mut Self::Context) -> Self::Result {
        let pending = self.database().map(|database| {
            let mut pending = database.submit_logic(transact);
            self.hold_back(&mut pending.write, ctx);
            pending
        });
        Box::pin(async move { pending?.outcome().await })
    }
}

impl Message for BeginLease {
    type Result = Result<Lease, WriteError>;
}

impl Handler<BeginLease> for DatabaseActor {
    type Result = ResponseFuture<Result<Lease, WriteError>>;

    fn handle(&mut self, begin: BeginLease, ctx: &mut Self::Context) -> Self::Result {
        let pending = self.database().map(|database| {
            let mut pending = database.submit_lease(begin);
            self.hold_back(&mut pending.write, ctx);
            pending
        });
        Box::pin(async move { pending?.granted().await })
    }
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
