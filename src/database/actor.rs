//! The same door as an address, for code that would rather send messages: `Addr<DatabaseActor>`, `Recipient<Execute>`.
//!
//! While the queue is full (and `queue.overflow` is `wait`) the actor takes no further message, so its mailbox fills up
//! and `send` waits: backpressure reaches the sender. `do_send` ignores mailbox bounds, as always in actix.

use actix::dev::{MessageResponse, OneshotSender};
use actix::fut::wrap_future;
use actix::{
    Actor, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised, SystemRegistry, SystemService,
};
use tokio::sync::oneshot;

use super::{Database, Lease, dead_letters};
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{
    BeginLease, CommitSeq, Enqueue, Enqueued, Execute, ExpireDeadLetters, Expired, GetDeadLetters, Keyed,
    Query, QueryOne, Read, Retried, RetryDeadLetters, Transact, Transacted, Transaction, Write,
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
}

impl Actor for DatabaseActor {
    type Context = Context<Self>;
}

impl Supervised for DatabaseActor {}
impl SystemService for DatabaseActor {}

/// Any write: it is queued in the order of the messages, and the mailbox is held back while the queue is full. One that
/// nobody waits for (`do_send`) becomes a dead letter if it fails.
impl<W> Handler<W> for DatabaseActor
where
    W: Write + Message<Result = Result<<W as Write>::Reply, WriteError>>,
{
    type Result = Submission<W>;

    fn handle(&mut self, write: W, _: &mut Self::Context) -> Self::Result {
        Submission { database: self.database(), write }
    }
}

/// A write on its way into the queue. Only here it shows whether anybody waits for its answer.
pub struct Submission<W> {
    database: Result<Database, Refusal>,
    write: W,
}

impl<W> MessageResponse<DatabaseActor, W> for Submission<W>
where
    W: Write + Message<Result = Result<<W as Write>::Reply, WriteError>>,
{
    fn handle(self, ctx: &mut Context<DatabaseActor>, sender: Option<OneshotSender<W::Result>>) {
        let Self { database, write } = self;
        let Some(sender) = sender else {
            let admitted = database.map_err(WriteError::from).and_then(|database| {
                database.submit_unattended(write).inspect_err(|error| database.note_loss(error))
            });
            return hold_back(admitted.ok().flatten(), ctx);
        };
        let pending = database.map_err(WriteError::from).and_then(|database| database.submit(write));
        let pending = pending.map(|mut write| {
            hold_back(write.take_waiting(), ctx);
            write
        });
        actix_rt::spawn(async move {
            let answer = async { pending?.outcome().await.map(<W as Write>::reply) }.await;
            // A caller that left in the meantime gets nothing, and that is all right.
            let _ = sender.send(answer);
        });
    }
}

/// Takes no further message before a write has entered the queue.
fn hold_back(admitted: Option<oneshot::Receiver<()>>, ctx: &mut Context<DatabaseActor>) {
    if let Some(admitted) = admitted {
        ctx.wait(wrap_future(async move { drop(admitted.await) }));
    }
}

impl<W: Write> Message for Enqueue<W> {
    type Result = Result<Enqueued, WriteError>;
}

impl<W: Write> Handler<Enqueue<W>> for DatabaseActor {
    type Result = ResponseFuture<Result<Enqueued, WriteError>>;

    fn handle(&mut self, Enqueue(write): Enqueue<W>, ctx: &mut Self::Context) -> Self::Result {
        let database = self.database().map_err(WriteError::from);
        let admitted = match database.and_then(|database| database.submit_unattended(write)) {
            Ok(admitted) => admitted,
            Err(error) => return Box::pin(async move { Err(error) }),
        };
        // The mailbox is held back as long as the caller waits, and told with it.
        let (tell, told) = oneshot::channel();
        let waiting = admitted.map(|admitted| {
            ctx.wait(wrap_future(async move {
                if admitted.await.is_ok() {
                    let _ = tell.send(());
                }
            }));
            told
        });
        Box::pin(dead_letters::enqueued(waiting))
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
reads!(Query, QueryOne, GetDeadLetters);

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
            hold_back(pending.write.take_waiting(), ctx);
            pending
        });
        Box::pin(async move { pending?.outcome().await })
    }
}

/// Orders about dead letters, each answered by the handle's method.
macro_rules! dead_letters {
    ($($order:ty => $method:ident -> $reply:ty),* $(,)?) => {$(
        impl Message for $order {
            type Result = Result<$reply, WriteError>;
        }

        impl Handler<$order> for DatabaseActor {
            type Result = ResponseFuture<Result<$reply, WriteError>>;

            fn handle(&mut self, order: $order, _: &mut Self::Context) -> Self::Result {
                let database = self.database();
                Box::pin(async move { database?.$method(order).await })
            }
        }
    )*};
}

dead_letters!(RetryDeadLetters => retry_dead_letters -> Retried, ExpireDeadLetters => expire_dead_letters -> Expired);

impl Message for BeginLease {
    type Result = Result<Lease, WriteError>;
}

impl Handler<BeginLease> for DatabaseActor {
    type Result = ResponseFuture<Result<Lease, WriteError>>;

    fn handle(&mut self, begin: BeginLease, ctx: &mut Self::Context) -> Self::Result {
        let pending = self.database().map(|database| {
            let mut pending = database.submit_lease(begin);
            hold_back(pending.write.take_waiting(), ctx);
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
