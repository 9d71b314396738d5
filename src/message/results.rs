//! The results of a write's statements.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::StatementResult;

/// One result a statement, in order: a slice, which takes no memory of its own where a write is one statement, or one and a
/// look at what it did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema), schema(value_type = Vec<StatementResult>))]
#[serde(transparent)]
pub struct Results(SmallVec<[StatementResult; 2]>);

impl Results {
    pub(crate) fn with_capacity(statements: usize) -> Self {
        Self(SmallVec::with_capacity(statements))
    }

    pub(crate) fn push(&mut self, result: StatementResult) {
        self.0.push(result);
    }
}

impl Deref for Results {
    type Target = [StatementResult];

    fn deref(&self) -> &[StatementResult] {
        &self.0
    }
}

impl FromIterator<StatementResult> for Results {
    fn from_iter<I: IntoIterator<Item = StatementResult>>(results: I) -> Self {
        Self(results.into_iter().collect())
    }
}

impl IntoIterator for Results {
    type Item = StatementResult;
    type IntoIter = smallvec::IntoIter<[StatementResult; 2]>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Results {
    type Item = &'a StatementResult;
    type IntoIter = std::slice::Iter<'a, StatementResult>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
