//! Writes that nobody waits for, and what becomes of those that fail: dead letters, kept in the file with their error.

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{CommitSeq, Params, Query, Read, Rows, Statement, Task, WriteRequest};
use crate::error::{ReadError, WriteError};

/// Any write, answered when it has entered the queue: nothing is said about its COMMIT.
///
/// It is lost if the process dies before its turn. If it fails it becomes a [`DeadLetter`].
#[derive(Debug, Clone)]
pub struct Enqueue<W>(pub W);

/// The write is in the queue. It is not committed yet, and may still fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued;

/// A write that nobody waited for, and that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its number, by which it is retried or expired.
    pub id: i64,
    /// What it was to run, all or none.
    pub statements: Vec<Statement>,
    /// Its idempotency key, if it had one; retried, it is under the same key.
    pub key: Option<String>,
    /// The stable code of its last error.
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// When it failed last, in seconds since 1970.
    pub failed_at: i64,
    /// How often it was tried.
    pub attempts: u64,
}

/// Asks for dead letters, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetDeadLetters {
    /// How many at the most.
    pub limit: u32,
    /// Only those with a higher id: where the last page ended.
    pub after_id: i64,
}

impl Default for GetDeadLetters {
    fn default() -> Self {
        Self { limit: Self::LIMIT, after_id: 0 }
    }
}

impl GetDeadLetters {
    /// How many are asked for unless it is said otherwise.
    pub const LIMIT: u32 = 100;
    /// How many may be asked for at once.
    pub const MAX_LIMIT: u32 = 1_000;
}

/// Tries dead letters again, each as a write of its own; one that is committed is a dead letter no more, one that fails
/// keeps its new error.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RetryDeadLetters {
    /// Which; all that there are if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<i64>>,
}

/// What became of dead letters that were tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Retried {
    /// Committed, and dead letters no more.
    pub committed: u64,
    /// Failed again.
    pub failed: u64,
    /// Not there (any more).
    pub missing: u64,
}

/// Throws dead letters away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ExpireDeadLetters {
    /// Which; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<i64>>,
    /// Of those only the ones that failed at least so long ago.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde")]
    #[cfg_attr(feature = "server", schema(value_type = Option<String>, example = "30days"))]
    pub older_than: Option<Duration>,
}

/// How many dead letters were thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Expired {
    /// So many.
    pub expired: u64,
    /// The COMMIT that holds it.
    pub commit: CommitSeq,
}

/// How a dead letter's statements are stored: a later version must be able to read them.
#[derive(Deserialize)]
struct StoredStatement<'a> {
    sql: String,
    #[serde(borrow)]
    params: &'a RawValue,
}

/// The statements of a text in the file.
pub(crate) fn statements_from_json(json: &str) -> Result<Vec<Statement>, String> {
    let stored: Vec<StoredStatement<'_>> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let statement = |stored: StoredStatement<'_>| {
        let params = Params::from_json(stored.params.get()).map_err(|error| error.to_string())?;
        Ok(Statement::new(stored.sql).params(params))
    };
    stored.into_iter().map(statement).collect()
}

impl Read for GetDeadLetters {
    type Reply = Vec<DeadLetter>;

    fn into_query(self) -> Result<Query, ReadError> {
        // The mark makes it the engine's own.
        const SELECT: &str =
            "/* actix-sqlite */ SELECT id, statements, key, code, message, failed_at, attempts
             FROM _actix_sqlite_dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2";
        if self.limit == 0 || self.limit > Self::MAX_LIMIT {
            return Err(ReadError::InvalidMessage(format!("limit is between 1 and {}", Self::MAX_LIMIT)));
        }
        Ok(Query::new((SELECT, [self.after_id, i64::from(self.limit)])).of_the_engine())
    }

    fn reply(rows: Rows) -> Result<Vec<DeadLetter>, ReadError> {
        type Stored = (i64, String, Option<String>, String, String, i64, u64);
        let letter = |(id, statements, key, code, message, failed_at, attempts): Stored| {
            let statements = statements_from_json(&statements).map_err(ReadError::Deserialize)?;
            Ok(DeadLetter { id, statements, key, code, message, failed_at, attempts })
        };
        rows.deserialize::<Stored>()?.into_iter().map(letter).collect()
    }
}

/// Asks for the ids alone: what the letters hold may be more than a result may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GetDeadLetterIds {
    /// How many at the most.
    pub(crate) limit: usize,
    pub(crate) after_id: i64,
}

impl Read for GetDeadLetterIds {
    type Reply = Vec<i64>;

    fn into_query(self) -> Result<Query, ReadError> {
        const SELECT: &str =
            "/* actix-sqlite */ SELECT id FROM _actix_sqlite_dead_letters WHERE id > ?1 ORDER BY id LIMIT ?2";
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        Ok(Query::new((SELECT, [self.after_id, limit])).of_the_engine())
    }

    fn reply(rows: Rows) -> Result<Vec<i64>, ReadError> {
        rows.deserialize()
    }
}

/// What is to be kept of a write that failed.
#[derive(Debug, Clone)]
pub(crate) struct Burial {
    /// A new one, or one that was tried again.
    pub(crate) what: Buried,
    pub(crate) error: WriteError,
    /// In seconds since 1970.
    pub(crate) failed_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) enum Buried {
    New {
        /// Tells it from any other: it may be told twice.
        token: i64,
        statements: String,
        key: Option<String>,
    },
    Again {
        id: i64,
    },
}

impl Burial {
    /// Whether it is kept nowhere yet.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.what, Buried::New { .. })
    }

    /// What it occupies, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.what {
                Buried::New { statements, .. } => statements.len(),
                Buried::Again { .. } => 0,
            }
    }

    /// What is to be kept of a write that failed; `None` of one that cannot be tried again from what is stored: its
    /// statements are code of the caller's.
    pub(crate) fn of(request: &WriteRequest, error: &WriteError) -> Option<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let what = match &request.task {
            Task::Retry(id) => Buried::Again { id: *id },
            Task::Statements(statements) => Buried::New {
                token: token(since),
                statements: serde_json::to_string(statements).ok()?,
                key: request.key.as_ref().map(|key| key.as_str().to_owned()),
            },
            Task::Logic(_) | Task::Program(_) | Task::Lease(_) | Task::Expire(_) | Task::Flush => {
                return None;
            }
        };
        let failed_at = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Some(Self { what, error: error.clone(), failed_at })
    }
}

/// The time in nanoseconds, with its lowest bits counted so that no two are the same.
fn token(since: Duration) -> i64 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    (nanos & !0xffff) | i64::from(COUNT.fetch_add(1, Relaxed))
}
