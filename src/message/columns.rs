//! Names of columns, shared by all results of the same shape.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The names of a result's columns, in order: a slice of texts. To clone it copies no name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema), schema(value_type = Vec<String>))]
#[serde(transparent)]
pub struct Columns(Arc<[String]>);

impl Deref for Columns {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl<S: Into<String>> FromIterator<S> for Columns {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

impl<S, const N: usize> PartialEq<[S; N]> for Columns
where
    String: PartialEq<S>,
{
    fn eq(&self, names: &[S; N]) -> bool {
        **self == *names
    }
}
