//! A single read.

use std::time::Duration;

use super::{CommitSeq, Params, Statement};

/// One SELECT (or anything else that writes nothing), answered with [`Rows`](crate::Rows).
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What to run.
    pub statement: Statement,
    /// How long it may take, waiting included; shortens `readers.query_timeout`, never lengthens it.
    pub timeout: Option<Duration>,
    /// Waits until this commit can be seen. Not needed after one's own write: whatever was acknowledged before the
    /// query began is seen. It is for numbers that came another way, such as from another process.
    pub min_commit: Option<CommitSeq>,
    pub(crate) extent: Extent,
    /// Whether it reads the engine's own tables, which are closed to callers.
    pub(crate) is_own: bool,
}

impl Query {
    /// A read of `statement`: a text, or a text and its parameters as a tuple.
    pub fn new(statement: impl Into<Statement>) -> Self {
        Self {
            statement: statement.into(),
            timeout: None,
            min_commit: None,
            extent: Extent::Limited,
            is_own: false,
        }
    }

    /// With these parameters.
    #[must_use]
    pub fn params(mut self, params: impl Into<Params>) -> Self {
        self.statement = self.statement.params(params);
        self
    }

    /// Given up after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Begun only when this commit can be seen.
    #[must_use]
    pub fn min_commit(mut self, commit: CommitSeq) -> Self {
        self.min_commit = Some(commit);
        self
    }
}

impl Query {
    pub(crate) fn first_row_only(mut self) -> Self {
        self.extent = Extent::First;
        self
    }

    pub(crate) fn of_the_engine(mut self) -> Self {
        self.is_own = true;
        self
    }
}

impl<S: Into<Statement>> From<S> for Query {
    fn from(statement: S) -> Self {
        Self::new(statement)
    }
}

/// A read of the first row only, answered with an optional row; the same as a [`Query`] in all else.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryOne(pub Query);

impl QueryOne {
    /// A read of the first row of `query`.
    pub fn new(query: impl Into<Query>) -> Self {
        Self(query.into())
    }
}

/// A read on its way to the engine.
#[derive(Debug, Clone)]
pub(crate) struct ReadRequest {
    pub(crate) statement: Statement,
    pub(crate) extent: Extent,
    pub(crate) is_own: bool,
    /// If a session asks: the rowid it inserted last, or 0. It wants to know the declared types of the columns, too.
    pub(crate) session: Option<i64>,
}

/// How much of a result is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All, but an error past the limits in rows and bytes: the rows are held in memory.
    Limited,
    /// The first row.
    First,
    /// All, however many: the rows are passed on as they come.
    Unlimited,
}
