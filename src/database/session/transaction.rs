//! The transactions of a session: how they begin, what they are run on, and how they end.

use super::{Outcome, Session, SessionError, Transaction, Writing, misplaced};
use crate::database::lease::Wish;
use crate::database::snapshot::SnapshotError;
use crate::error::{LeaseEnd, ReadError, StatementError, StatementErrorKind, WriteError};
use crate::message::script::{self, Kind, Mode};
use crate::message::{BeginLease, LeaseTerms, Step, StepResult};
use crate::policy::RefusedBecause;

/// SQLite's codes (<https://sqlite.org/rescode.html>).
const READONLY: i32 = 8;
const BUSY_SNAPSHOT: i32 = 517;

impl Session {
    pub(super) async fn begin(&mut self, mode: Mode) -> Outcome {
        if !self.is_autocommit() {
            return Err(misplaced("cannot start a transaction within a transaction"));
        }
        self.transaction = match mode {
            Mode::Immediate => self.lease(None).await?,
            Mode::Deferred => Transaction::Begun { reads_only: false },
            Mode::ReadOnly => Transaction::Begun { reads_only: true },
        };
        Ok(StepResult::default())
    }

    pub(super) async fn lease(&self, outermost: Option<Vec<String>>) -> Result<Transaction, SessionError> {
        let wait = self.database.inner.settings.writer.lease_wait;
        let terms = LeaseTerms { foreign_keys: self.foreign_keys, last_rowid: self.last_rowid.unwrap_or(0) };
        match self.database.lease_on(BeginLease::new().timeout(wait), terms).await {
            Ok(lease) => Ok(Transaction::Writing(Writing { lease, outermost })),
            Err(WriteError::Refused(refusal)) if refusal.because == RefusedBecause::DeadlinePassed => {
                Err(SessionError::TransactionBusy)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Brings an open transaction to where a statement of this kind can be run.
    pub(super) async fn take_up(&mut self, kind: &Kind) -> Result<(), SessionError> {
        let reads = match kind {
            Kind::Read | Kind::Unclear => true,
            Kind::Pragma { name, value } => !matches!(
                (name.as_str(), value),
                ("user_version" | "application_id", Some(_)) | ("optimize", _)
            ),
            _ => false,
        };
        match &self.transaction {
            Transaction::Begun { reads_only } if reads || *reads_only => {
                let may_write = !reads_only;
                // If its turn does not come it stays as it is: a client that is told to try again does so, and means the
                // transaction that it began.
                let writer = &self.database.inner.settings.writer;
                let snapshot = self.database.snapshot(writer.lease_wait, writer.lease_timeout).await;
                let snapshot = snapshot.map_err(|error| match error {
                    ReadError::Refused(refusal) if refusal.because == RefusedBecause::DeadlinePassed => {
                        SessionError::TransactionBusy
                    }
                    error => error.into(),
                })?;
                self.transaction = Transaction::Reading { snapshot, may_write };
            }
            Transaction::Begun { .. } => self.transaction = self.lease(None).await?,
            Transaction::Reading { may_write: true, .. } if !reads => self.begin_to_write().await?,
            _ => {}
        }
        Ok(())
    }

    /// A transaction that has read wants to write: it has to be the next one after what it saw.
    pub(super) async fn begin_to_write(&mut self) -> Result<(), SessionError> {
        let leased = self.lease(None).await?;
        if let Transaction::Reading { snapshot, .. } = &self.transaction
            && snapshot.commit != self.database.last_commit()
        {
            let message = "others have written since this transaction read; roll it back and begin again, with BEGIN IMMEDIATE if it is to write";
            let error = StatementError::with_code(StatementErrorKind::Sqlite, BUSY_SNAPSHOT, message);
            return Err(WriteError::from(error).into());
        }
        self.transaction = leased;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Outcome {
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None => return Err(misplaced("cannot commit - no transaction is active")),
            Transaction::Begun { .. } | Transaction::Reading { .. } => {}
            Transaction::Writing(Writing { lease, outermost }) => match lease.wish_to_commit().await {
                Ok(Wish::Committed) => {}
                Ok(Wish::Refused(lease, error)) => {
                    self.transaction = Transaction::Writing(Writing { lease, outermost });
                    return Err(WriteError::from(error).into());
                }
                Err(error) => return Err(self.lost(error)),
            },
        }
        Ok(StepResult::default())
    }

    pub(super) async fn rollback(&mut self) -> Outcome {
        match std::mem::replace(&mut self.transaction, Transaction::None) {
            Transaction::None => return Err(misplaced("cannot rollback - no transaction is active")),
            Transaction::Begun { .. } | Transaction::Reading { .. } => {}
            Transaction::Writing(writing) => writing.lease.rollback().await,
        }
        Ok(StepResult::default())
    }

    /// A savepoint outside of a transaction begins one, which ends when it is released.
    pub(super) async fn savepoint(&mut self, kind: Kind, step: Step) -> Outcome {
        if let (Kind::Savepoint(_), true) = (&kind, self.is_autocommit()) {
            self.transaction = self.lease(Some(Vec::new())).await?;
            let begun = self.savepoint_in_transaction(kind, step).await;
            if begun.is_err() && !self.is_autocommit() {
                // There is no savepoint whose release would end it, and nobody else could write.
                self.rollback().await?;
            }
            return begun;
        }
        if self.is_autocommit() {
            let (Kind::Savepoint(name) | Kind::Release(name) | Kind::RollbackTo(name)) = &kind else {
                return Err(misplaced("no such savepoint"));
            };
            return Err(misplaced(&format!("no such savepoint: {name}")));
        }
        self.savepoint_in_transaction(kind, step).await
    }

    async fn savepoint_in_transaction(&mut self, kind: Kind, step: Step) -> Outcome {
        let place =
            |names: &[String], name: &str| names.iter().rposition(|known| known.eq_ignore_ascii_case(name));
        if let (Kind::Release(name), Transaction::Writing(Writing { outermost: Some(names), .. })) =
            (&kind, &self.transaction)
            && place(names, name) == Some(0)
        {
            return self.commit().await;
        }
        let result = self.step_in_transaction(step).await?;
        if let Transaction::Writing(Writing { outermost: Some(names), .. }) = &mut self.transaction {
            let known = names.len();
            match kind {
                Kind::Savepoint(name) => names.push(name),
                Kind::Release(name) => names.truncate(place(names, &name).unwrap_or(known)),
                Kind::RollbackTo(name) => {
                    names.truncate(place(names, &name).map_or(known, |place| place + 1));
                }
                _ => {}
            }
        }
        Ok(result)
    }

    pub(super) async fn step_in_transaction(&mut self, step: Step) -> Outcome {
        let kind = script::kind(&step.statement.sql);
        self.take_up(&kind).await?;
        if let Transaction::Reading { snapshot, may_write } = &mut self.transaction {
            let may_write = *may_write;
            match snapshot.read(step.statement.clone(), self.last_rowid.unwrap_or(0)).await {
                Ok(found) => return Ok(self.noted(found, step.wants_rows)),
                // A WITH, most likely.
                Err(SnapshotError::Read(ReadError::Statement(error)))
                    if may_write && error.kind == StatementErrorKind::NotReadOnly =>
                {
                    self.begin_to_write().await?;
                }
                Err(error) => return Err(self.unread(error)),
            }
        }
        self.step_leased(step).await
    }

    pub(super) async fn step_leased(&mut self, step: Step) -> Outcome {
        let Transaction::Writing(writing) = &mut self.transaction else {
            return Err(misplaced("no transaction is active"));
        };
        let result = match writing.lease.step(step.statement, step.wants_rows).await {
            Ok(stepped) => {
                if stepped.is_over {
                    self.transaction = Transaction::None;
                }
                stepped.result.map_err(WriteError::from)?
            }
            Err(error) => return Err(self.lost(error)),
        };
        Ok(self.noted(result, step.wants_rows))
    }

    /// The lease is over.
    pub(super) fn lost(&mut self, error: WriteError) -> SessionError {
        self.transaction = Transaction::None;
        match error {
            WriteError::LeaseEnded(LeaseEnd::Expired) => SessionError::TransactionTimeout,
            error => error.into(),
        }
    }

    /// A snapshot gave no answer.
    pub(super) fn unread(&mut self, error: SnapshotError) -> SessionError {
        match error {
            SnapshotError::Read(ReadError::Statement(error))
                if error.kind == StatementErrorKind::NotReadOnly =>
            {
                let message = "the transaction was begun to read only; begin another one to write";
                let error = StatementError::with_code(StatementErrorKind::NotReadOnly, READONLY, message);
                ReadError::from(error).into()
            }
            SnapshotError::Read(error) => error.into(),
            SnapshotError::Expired => {
                self.transaction = Transaction::None;
                SessionError::TransactionTimeout
            }
        }
    }
}
