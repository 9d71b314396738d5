//! The door: the one way into a database, as a handle that any thread may hold.

mod actor;
mod dead_letters;
mod lease;
mod logic;
mod open;
#[cfg(feature = "relay")]
mod relay;
mod session;
mod settle;
mod shutdown;
mod snapshot;
mod status;
mod stream;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::select;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, oneshot};

pub use actor::{DatabaseActor, Flush, GetStatus};
pub use lease::Lease;
pub use open::DatabaseBuilder;
pub(crate) use session::{Event, Session, SessionError};
pub use shutdown::ShutdownReport;
pub use stream::RowStream;

use crate::actors::shared::Shared;
use crate::actors::ticket::{
    Presence, ReadAnswer, ReadReply, ReadTicket, ReplyTo, TimeLimit, WriteAnswer, WriteTicket,
};
use crate::engine::Engine;
use crate::error::{ReadError, Refusal, StartError, WriteError};
use crate::message::{
    CommitSeq, Committed, Execute, Extent, Query, QueryOne, Read, ReadRequest, Receipt, Row, Rows, Task,
    Transaction, TransactionReceipt, Write, WriteRequest,
};
use crate::policy::{Lane, Overflow, RefusedBecause};
use crate::queue::Pushed;
use crate::settings::Settings;
use crate::stats;

/// A handle to an open database: cheap to clone, usable from any thread.
///
/// Writes go to one writer, which commits them in groups; reads go to a pool. Neither blocks the caller's thread. When
/// the last handle is dropped, what is queued is committed and the file is closed; [`Database::shutdown`] does the same
/// and tells how it went.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    settings: Settings,
    /// How many snapshots there may be besides those there are.
    snapshots: Arc<Semaphore>,
    /// Of the sessions' leases one at a time is in the queue, or has the writer.
    lease_turns: Arc<Semaphore>,
    settling: settle::Settling,
}

impl Inner {
    /// The one way into the queue of writes.
    #[allow(clippy::result_large_err, reason = "a write that is refused is given back as it is")]
    fn push(&self, ticket: WriteTicket, overflow: Overflow) -> Result<Pushed, (WriteTicket, RefusedBecause)> {
        let is_flush = ticket.request.task.is_flush();
        let pushed = self.shared.intake.push(ticket, overflow);
        if !is_flush {
            self.settling.note_write();
        }
        pushed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Database {
    /// Opens the file that the settings name, with everything at work when it returns.
    ///
    /// # Errors
    /// [`StartError`] says why it cannot be opened; nothing in it was changed then.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
        DatabaseBuilder::new(settings).open().await
    }

    /// For more than settings, such as migrations of one's own.
    pub fn builder(settings: Settings) -> DatabaseBuilder {
        DatabaseBuilder::new(settings)
    }

    /// Commits one statement: a text, a text with parameters as a tuple, or an [`Execute`].
    ///
    /// The write takes its place in the queue when the future is first polled. A future that is dropped before the
    /// write's turn takes the write back.
    ///
    /// # Errors
    /// [`WriteError`]: the write was not executed, or, in the one case that says so, its outcome is unknown.
    pub async fn execute(&self, write: impl Into<Execute>) -> Result<Receipt, WriteError> {
        // As `send` does, whose future within this one would hold the message once more.
        self.submit(write.into())?.outcome().await.map(Execute::reply)
    }

    /// Commits several statements, all or none.
    ///
    /// # Errors
    /// [`WriteError`], as for [`Database::execute`].
    pub async fn transaction(&self, transaction: Transaction) -> Result<TransactionReceipt, WriteError> {
        self.send(transaction).await
    }

    /// Commits what any [`Write`] message says, and answers with its reply.
    ///
    /// # Errors
    /// [`WriteError`], as for [`Database::execute`].
    pub async fn send<W: Write>(&self, write: W) -> Result<W::Reply, WriteError> {
        self.submit(write)?.outcome().await.map(W::reply)
    }

    /// Answers any [`Read`] message.
    ///
    /// # Errors
    /// [`ReadError`], as for [`Database::query`].
    pub async fn ask<R: Read>(&self, read: R) -> Result<R::Reply, ReadError> {
        R::reply(self.read(read.into_query()?).await?)
    }

    /// Runs one statement that reads, and returns its rows.
    ///
    /// The rows show every write that was acknowledged before this was called.
    ///
    /// # Errors
    /// [`ReadError`] says why there are no rows.
    pub async fn query(&self, query: impl Into<Query>) -> Result<Rows, ReadError> {
        self.ask(query.into()).await
    }

    /// Runs one statement that reads, and returns its first row.
    ///
    /// # Errors
    /// [`ReadError`] says why there is no answer; no row at all is `None`.
    pub async fn query_one(&self, query: impl Into<Query>) -> Result<Option<Row>, ReadError> {
        self.ask(QueryOne::new(query)).await
    }

    /// Runs one statement that reads, and returns each row as a `T`: a struct by column names, a tuple by position, or
    /// a plain type if there is one column.
    ///
    /// # Errors
    /// [`ReadError`], also if a row does not fit the type.
    pub async fn query_as<T: DeserializeOwned>(&self, query: impl Into<Query>) -> Result<Vec<T>, ReadError> {
        self.query(query).await?.deserialize()
    }

    /// Runs one statement that reads, and returns its rows as they come, however many. The time limit holds; the limits
    /// in rows and bytes do not.
    ///
    /// # Errors
    /// [`ReadError`] if it fails before the first row.
    pub async fn query_stream(&self, query: impl Into<Query>) -> Result<RowStream, ReadError> {
        self.stream(query.into(), None).await
    }

    async fn stream(&self, query: Query, session: Option<i64>) -> Result<RowStream, ReadError> {
        let deadline = self.read_deadline(&query);
        self.wait_for_commit(query.min_commit, deadline).await?;
        let (reply, stream) = RowStream::channel();
        let request = ReadRequest {
            statement: query.statement,
            extent: Extent::Unlimited,
            is_own: query.is_own,
            session,
        };
        self.push_read(ReadTicket::new(request, reply, deadline, stream.presence()));
        stream.begin().await
    }

    /// Returns when every write that was queued before, in either lane, is committed or has failed; a batch that waits for
    /// company is committed at once.
    ///
    /// # Errors
    /// [`WriteError`] if the database is closed or failed.
    pub async fn flush(&self) -> Result<CommitSeq, WriteError> {
        let mut last = CommitSeq::default();
        for flush in self.push_flush() {
            last = last.max(flush.outcome().await?.commit);
        }
        Ok(last)
    }

    /// Puts what [`Self::flush`] waits for into the queue at once.
    fn push_flush(&self) -> impl Iterator<Item = PendingWrite> + Send + use<> {
        let (held, waiting) = self.inner.shared.intake.load();
        let is_used = |lane| held[lane].items + waiting[lane] > 0;
        let push = |lane| self.push_write(Task::Flush.into(), lane, None, Overflow::Wait);
        // A lane where nobody waits needs none; but for what the writer has in hand there has to be one somewhere.
        let bulk = is_used(Lane::Bulk).then(|| push(Lane::Bulk));
        let interactive = (bulk.is_none() || is_used(Lane::Interactive)).then(|| push(Lane::Interactive));
        bulk.into_iter().chain(interactive)
    }

    /// The number of the last COMMIT. Before the first one of this process: one that none in the file is above.
    pub fn last_commit(&self) -> CommitSeq {
        *self.inner.shared.last_commit.borrow()
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Puts a write into the queue at once, to be awaited later.
    pub(crate) fn submit(&self, write: impl Write) -> Result<PendingWrite, WriteError> {
        self.submit_with(write, self.inner.settings.queue.overflow)
    }

    /// The same, whatever the settings say about a full queue.
    pub(crate) fn submit_with(
        &self,
        write: impl Write,
        overflow: Overflow,
    ) -> Result<PendingWrite, WriteError> {
        let (request, lane, limit) = request(write)?;
        Ok(self.push_write(request, lane, limit, overflow))
    }

    fn push_write(
        &self,
        request: WriteRequest,
        lane: Lane,
        limit: Option<TimeLimit>,
        overflow: Overflow,
    ) -> PendingWrite {
        let (ticket, answer) = WriteTicket::new(request, lane, limit.clone());
        match self.inner.push(ticket, overflow) {
            Ok(Pushed::Entered) => PendingWrite { answer, limit, waiting: None },
            Ok(Pushed::Waiting(admitted)) => PendingWrite { answer, limit, waiting: Some(admitted) },
            Err((ticket, because)) => {
                stats::add(&self.inner.shared.stats.writes_refused, 1);
                ticket.refuse(because);
                PendingWrite { answer, limit, waiting: None }
            }
        }
    }

    /// Not an `async fn`: its future would have room for the query twice.
    fn read(&self, query: Query) -> impl Future<Output = Result<Rows, ReadError>> {
        let deadline = self.read_deadline(&query);
        let Query { statement, extent, is_own, min_commit, .. } = query;
        let request = ReadRequest { statement, extent, is_own, session: None };
        async move {
            self.wait_for_commit(min_commit, deadline).await?;
            self.read_as(request, ReadReply::Rows, deadline).await
        }
    }

    /// Puts a read into the queue at once, to be answered in this form.
    fn read_as<T>(
        &self,
        request: ReadRequest,
        form: impl FnOnce(ReplyTo<T>) -> ReadReply,
        deadline: Instant,
    ) -> impl Future<Output = Result<T, ReadError>> {
        let (reply, answer) = ReplyTo::channel();
        let presence = Presence::default();
        self.push_read(ReadTicket::new(request, form(reply), deadline, &presence));
        async move {
            // Lives as long as this future: a caller who drops it ends the query.
            let _presence = presence;
            answered(answer, deadline).await
        }
    }

    fn push_read(&self, ticket: ReadTicket) {
        if let Err((ticket, because)) =
            self.inner.shared.reads.push(ticket, self.inner.settings.readers.overflow)
        {
            stats::add(&self.inner.shared.stats.queries_refused, 1);
            ticket.refuse(because);
        }
    }

    fn read_deadline(&self, query: &Query) -> Instant {
        let longest = self.inner.settings.readers.query_timeout;
        Instant::now() + query.timeout.map_or(longest, |timeout| timeout.min(longest))
    }

    /// Returns when the commit that the query asks for can be seen.
    async fn wait_for_commit(&self, wanted: Option<CommitSeq>, deadline: Instant) -> Result<(), ReadError> {
        let Some(wanted) = wanted else { return Ok(()) };
        let reached_or_ended = async {
            let mut news = self.inner.shared.last_commit.subscribe();
            let reached = pin!(news.wait_for(|last| *last >= wanted));
            // After the end no commit will come, and the queue says why.
            select(reached, pin!(self.ended())).await;
        };
        // In a box: few queries ask for a commit, and the future of each would be twice as large.
        if Box::pin(in_time(deadline, reached_or_ended)).await.is_some() {
            return Ok(());
        }
        Err(ReadError::CommitNotReached { wanted: wanted.0, last: self.last_commit().0 })
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Database")
            .field("path", &self.inner.settings.database.path)
            .finish_non_exhaustive()
    }
}

/// What a message asks for, in which lane, and until when it may begin.
fn request(write: impl Write) -> Result<(WriteRequest, Lane, Option<TimeLimit>), WriteError> {
    let transaction = write.into_transaction()?;
    let (lane, limit) = (transaction.lane, transaction.timeout.and_then(time_limit));
    Ok((transaction.into(), lane, limit))
}

/// A time beyond the end of the clock is no limit.
fn time_limit(timeout: Duration) -> Option<TimeLimit> {
    Instant::now().checked_add(timeout).map(TimeLimit::new)
}

/// A write in the queue. Dropping it takes the write back, if its turn has not come.
pub(crate) struct PendingWrite {
    answer: oneshot::Receiver<WriteAnswer>,
    limit: Option<TimeLimit>,
    waiting: Option<oneshot::Receiver<()>>,
}

impl PendingWrite {
    /// Told when the write has entered the queue, if it found it full.
    pub(crate) fn take_waiting(&mut self) -> Option<oneshot::Receiver<()>> {
        self.waiting.take()
    }

    pub(crate) async fn outcome(mut self) -> Result<Committed, WriteError> {
        if let Some(limit) = &self.limit {
            // In a box: few writes have a limit, and the future of each would be as large as a timer and an answer.
            match Box::pin(in_time(limit.deadline, &mut self.answer)).await {
                Some(answer) => return outcome(answer),
                None if limit.give_up() => return Err(Refusal::new(RefusedBecause::DeadlinePassed).into()),
                // Its turn has begun, and it runs to its end.
                None => {}
            }
        }
        outcome((&mut self.answer).await)
    }
}

/// A ticket is always answered; only the end of the process takes it away.
fn outcome(answer: Result<WriteAnswer, oneshot::error::RecvError>) -> Result<Committed, WriteError> {
    answer.map_or_else(
        |_| Err(WriteError::Unknown("the writer's thread is gone".into())),
        |answer| answer.outcome,
    )
}

/// By so much a reader's own word on a query's time goes before the door's.
const GRACE: Duration = Duration::from_millis(50);

/// The future's output, if it comes in time. Outside of a tokio (or actix) runtime there is no timer: then it is waited
/// for as long as it takes, and only the actors keep the time.
async fn in_time<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Some(future.await);
    }
    tokio::time::timeout_at(deadline.into(), future).await.ok()
}

/// What a reader answers. It keeps the time of what it runs, and says more of it; this is for what waits for a reader.
async fn answered<T>(answer: oneshot::Receiver<ReadAnswer<T>>, deadline: Instant) -> Result<T, ReadError> {
    in_time(deadline + GRACE, answer).await.map_or_else(
        || Err(Refusal::new(RefusedBecause::DeadlinePassed).into()),
        |answer| answer.map_or_else(|_| Err(stopped().into()), |answer| answer.result),
    )
}

fn stopped() -> Refusal {
    Refusal::new(RefusedBecause::ShuttingDown)
}
