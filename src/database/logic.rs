//! Transactions with logic of the caller's.

use std::sync::PoisonError;

use super::{Database, PendingWrite};
use crate::error::WriteError;
use crate::message::{Abort, Returned, Task, Transact, Transacted, Tx};

impl Database {
    /// Runs logic as one transaction on the writer, in its turn among the other writes and isolated from them: it sees what
    /// each of its statements gave before it decides on the next. See [`Transact`] for what it may do.
    ///
    /// ```no_run
    /// # async fn example(db: actix_sqlite::Database) -> Result<(), Box<dyn std::error::Error>> {
    /// use actix_sqlite::{Abort, params};
    ///
    /// let left = db
    ///     .transact(|tx| {
    ///         let stock: Vec<i64> = tx.query_as("SELECT stock FROM goods WHERE id = 7")?;
    ///         let left = stock.first().map_or(0, |stock| *stock) - 1;
    ///         if left < 0 {
    ///             return Err(Abort::new("sold out"));
    ///         }
    ///         tx.execute(("UPDATE goods SET stock = ?1 WHERE id = 7", params![left]))?;
    ///         Ok(left)
    ///     })
    ///     .await?
    ///     .value;
    /// # let _ = left;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`WriteError::Aborted`] if the logic decided against it; else as for [`Database::execute`].
    pub async fn transact<T: Send + 'static>(
        &self,
        logic: impl FnMut(&mut Tx<'_>) -> Result<T, Abort> + Send + 'static,
    ) -> Result<Transacted<T>, WriteError> {
        self.submit_logic(Transact::new(logic)).outcome().await
    }

    /// Puts logic into the queue at once, to be awaited later.
    pub(super) fn submit_logic<T: Send + 'static>(
        &self,
        Transact { logic, value }: Transact<T>,
    ) -> PendingLogic<T> {
        let overflow = self.inner.settings.queue.overflow;
        PendingLogic { write: self.push_write(Task::Logic(logic).into(), None, overflow), value }
    }
}

/// Logic in the queue.
pub(super) struct PendingLogic<T> {
    pub(super) write: PendingWrite,
    value: Returned<T>,
}

impl<T> PendingLogic<T> {
    pub(super) async fn outcome(self) -> Result<Transacted<T>, WriteError> {
        let committed = self.write.outcome().await?;
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Committed logic has returned, and its value was left before.
        let value = value.ok_or_else(|| WriteError::Unknown("the logic's value is gone".into()))?;
        Ok(Transacted { value, commit: committed.commit })
    }
}
