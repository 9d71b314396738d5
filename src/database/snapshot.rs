//! A snapshot: the file as it was when its first statement ran, for as long as somebody looks at it, beside all writes. It is
//! a connection that the readers run queries on; no reader is kept by it, only the write-ahead log from there on, and so
//! it is bounded in time.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::AbortHandle;

use super::{Database, answered, in_time};
use crate::actors::ticket::{Held, Presence, ReadReply, ReadTicket, ReplyTo};
use crate::error::{ReadError, Refusal};
use crate::message::{CommitSeq, Description, Extent, Query, ReadRequest, Statement, StepResult};
use crate::policy::{Overflow, RefusedBecause};

/// Why a snapshot has no answer.
#[derive(Debug)]
pub(super) enum SnapshotError {
    Read(ReadError),
    /// Its time is up.
    Expired,
}

/// A view of the file that does not change. Dropping it lets go of it.
pub(super) struct Snapshot {
    database: Database,
    view: Arc<Mutex<View>>,
    /// The last COMMIT that it shows.
    pub(super) commit: CommitSeq,
    until: Instant,
    end: Option<AbortHandle>,
}

/// What there is of a snapshot.
#[derive(Default)]
struct View {
    /// None while a query runs on it, and after its time.
    held: Option<Held>,
    /// Its place among all snapshots, which others may be waiting for; none after its time.
    _permit: Option<OwnedSemaphorePermit>,
    /// Its time is up: a query that runs on it just now is its last.
    is_over: bool,
}

impl Database {
    /// Begins to look at the file as it is now, for `longest` at most.
    pub(super) async fn snapshot(&self, wait: Duration, longest: Duration) -> Result<Snapshot, ReadError> {
        let deadline = Instant::now() + wait;
        let permit = in_time(deadline, Arc::clone(&self.inner.snapshots).acquire_owned()).await;
        let permit = permit.ok_or_else(|| Refusal::new(RefusedBecause::DeadlinePassed))?.ok();
        let held = self.read_as(request(Statement::new(""), 0), ReadReply::Hold, deadline).await?;
        let commit = held.commit;
        let view = Arc::new(Mutex::new(View { held: Some(held), _permit: permit, is_over: false }));
        let until = Instant::now() + longest;
        let forgotten = Arc::clone(&view);
        let end = tokio::runtime::Handle::try_current().ok().map(|runtime| {
            let mut news = self.inner.shared.health.subscribe();
            let end = async move {
                // Nor does it keep the file open at the end of the database.
                let closing = pin!(news.wait_for(|health| health.state.is_closing()));
                let _ = tokio::time::timeout_at(until.into(), closing).await;
                let over = View { is_over: true, ..View::default() };
                drop(std::mem::replace(&mut *lock(&forgotten), over));
            };
            runtime.spawn(end).abort_handle()
        });
        Ok(Snapshot { database: self.clone(), view, commit, until, end })
    }

    /// Runs one statement that reads, of a session that inserted this rowid last.
    pub(super) async fn read_typed(
        &self,
        statement: Statement,
        last_rowid: i64,
    ) -> Result<StepResult, ReadError> {
        let deadline = self.read_deadline(&Query::new(""));
        self.read_as(request(statement, last_rowid), ReadReply::Typed, deadline).await
    }

    /// Says what a statement is, without running it.
    pub(super) async fn describe(&self, sql: String) -> Result<Description, ReadError> {
        let deadline = self.read_deadline(&Query::new(""));
        self.read_as(request(Statement::new(sql), 0), ReadReply::Description, deadline).await
    }
}

fn request(statement: Statement, last_rowid: i64) -> ReadRequest {
    ReadRequest { statement, extent: Extent::Limited, is_own: false, session: Some(last_rowid) }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshot {
    /// Runs one statement that reads.
    pub(super) async fn read(
        &mut self,
        statement: Statement,
        last_rowid: i64,
    ) -> Result<StepResult, SnapshotError> {
        self.ask(request(statement, last_rowid), ReadReply::Typed).await
    }

    /// Says what a statement is, in the schema as it was.
    pub(super) async fn describe(&mut self, sql: String) -> Result<Description, SnapshotError> {
        self.ask(request(Statement::new(sql), 0), ReadReply::Description).await
    }

    async fn ask<T>(
        &mut self,
        request: ReadRequest,
        reply: impl FnOnce(ReplyTo<T>) -> ReadReply,
    ) -> Result<T, SnapshotError> {
        let held = lock(&self.view).held.take();
        let Some(held) = held else { return Err(SnapshotError::Expired) };
        let deadline = self.database.read_deadline(&Query::new("")).min(self.until);
        let (reply_to, found) = ReplyTo::channel();
        let (give_back, mut returned) = oneshot::channel();
        let presence = Presence::default();
        let ticket = ReadTicket::new(request, reply(reply_to), deadline, &presence);
        self.database.push_read(ticket.on(held, give_back));
        let answer = answered(found, deadline).await;
        // It comes before the answer; a reader that panicked does not give it back.
        let held = returned.try_recv().ok();
        let mut view = lock(&self.view);
        let is_over = view.is_over || Instant::now() >= self.until;
        if !is_over {
            view.held = held;
        }
        drop(view);
        match answer {
            Err(_) if is_over => Err(SnapshotError::Expired),
            answer => answer.map_err(SnapshotError::Read),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.end.take().into_iter().for_each(|end| end.abort());
        let Some(held) = lock(&self.view).held.take() else { return };
        let presence = Presence::default();
        let ticket =
            ReadTicket::new(request(Statement::new(""), 0), ReadReply::Release, self.until, &presence);
        let (give_back, _) = oneshot::channel();
        // A reader keeps it for the next one; if there is no room in the queue, it is closed here and now.
        let _ = self.database.inner.shared.reads.push(ticket.on(held, give_back), Overflow::Reject);
    }
}
