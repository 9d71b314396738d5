//! Writes that nobody waits for, and those of them that failed.

use futures_util::stream::{self, StreamExt};
use tokio::sync::oneshot;

use super::Database;
use crate::actors::ticket::WriteTicket;
use crate::error::{ReadError, Refusal, WriteError};
use crate::message::{
    Committed, DeadLetter, Enqueued, ExpireDeadLetters, Expired, GetDeadLetterIds, GetDeadLetters, Retried,
    RetryDeadLetters, Task, Write,
};
use crate::policy::{Lane, Overflow, RefusedBecause};
use crate::queue::Pushed;
use crate::stats;

/// Told when a full queue has taken a write.
pub(super) type Admitted = oneshot::Receiver<()>;

/// How many dead letters are tried again at once: enough for a batch.
const AT_ONCE: usize = 256;

/// How many are looked for at once.
const IDS_AT_ONCE: usize = 1_000;

impl Database {
    /// Puts a write into the queue and does not wait for its COMMIT. It is lost if the process dies before its turn; if it
    /// fails it is kept as a dead letter.
    ///
    /// # Errors
    /// [`WriteError`]: it has not entered the queue, and never will.
    pub async fn enqueue<W: Write>(&self, write: W) -> Result<Enqueued, WriteError> {
        enqueued(self.submit_unattended(write)?).await
    }

    /// The same at once; what is returned is told when a full queue has taken it.
    pub(super) fn submit_unattended(&self, write: impl Write) -> Result<Option<Admitted>, WriteError> {
        let (request, lane, limit) = super::request(write)?;
        let ticket = WriteTicket::unattended(request, lane, limit);
        match self.inner.push(ticket, self.inner.settings.queue.overflow) {
            Ok(Pushed::Entered) => Ok(None),
            Ok(Pushed::Waiting(admitted)) => Ok(Some(admitted)),
            Err((_, because)) => {
                stats::add(&self.inner.shared.stats.writes_refused, 1);
                Err(Refusal::new(because).into())
            }
        }
    }

    /// A write that nobody waits for did not enter the queue, and nobody hears of it but the log.
    pub(super) fn note_loss(&self, error: &WriteError) {
        self.inner.shared.note_loss(1, &error.to_string());
    }

    /// The dead letters, the oldest first.
    ///
    /// # Errors
    /// [`ReadError`] says why there is no answer.
    pub async fn dead_letters(&self, get: GetDeadLetters) -> Result<Vec<DeadLetter>, ReadError> {
        self.ask(get).await
    }

    /// Tries dead letters again, each alone.
    ///
    /// # Errors
    /// [`WriteError`] if the database cannot be asked; what failed again is counted, and keeps its new error.
    pub async fn retry_dead_letters(&self, retry: RetryDeadLetters) -> Result<Retried, WriteError> {
        let mut retried = Retried::default();
        if let Some(ids) = retry.ids {
            self.retry(&ids, &mut retried).await?;
            return Ok(retried);
        }
        let limit = IDS_AT_ONCE.min(self.inner.settings.readers.max_rows.get());
        let mut page = GetDeadLetterIds { limit, after_id: 0 };
        loop {
            let ids = self.ask(page).await.map_err(unreadable)?;
            let Some(last) = ids.last() else { return Ok(retried) };
            page.after_id = *last;
            self.retry(&ids, &mut retried).await?;
        }
    }

    async fn retry(&self, ids: &[i64], retried: &mut Retried) -> Result<(), WriteError> {
        let one =
            |id: i64| self.push_write(Task::Retry(id).into(), Lane::Bulk, None, Overflow::Wait).outcome();
        let mut outcomes = stream::iter(ids.iter().copied().map(one)).buffered(AT_ONCE);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(Committed { results, .. }) if results.is_empty() => retried.missing += 1,
                Ok(_) => retried.committed += 1,
                // Not its own failure, and the next ones fare no better.
                Err(error @ WriteError::Refused(_)) => return Err(error),
                Err(_) => retried.failed += 1,
            }
        }
        Ok(())
    }

    /// Throws dead letters away.
    ///
    /// # Errors
    /// [`WriteError`], as for [`Database::execute`].
    pub async fn expire_dead_letters(&self, expire: ExpireDeadLetters) -> Result<Expired, WriteError> {
        let committed = self
            .push_write(Task::Expire(expire).into(), Lane::Interactive, None, Overflow::Wait)
            .outcome()
            .await?;
        let expired = committed.results.iter().map(|result| result.rows_affected).sum();
        Ok(Expired { expired, commit: committed.commit })
    }
}

/// Waits until a full queue has taken the write.
pub(super) async fn enqueued(admitted: Option<Admitted>) -> Result<Enqueued, WriteError> {
    if let Some(admitted) = admitted {
        // It was outside the queue when that was closed for good.
        admitted.await.map_err(|_| Refusal::new(RefusedBecause::ShuttingDown))?;
    }
    Ok(Enqueued)
}

fn unreadable(error: ReadError) -> WriteError {
    match error {
        ReadError::Statement(error) => error.into(),
        ReadError::Refused(refusal) => refusal.into(),
        ReadError::InvalidMessage(reason) | ReadError::Deserialize(reason) => {
            WriteError::InvalidMessage(reason)
        }
        error @ ReadError::CommitNotReached { .. } => WriteError::InvalidMessage(error.to_string()),
    }
}
