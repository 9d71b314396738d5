//! Names of columns, shared by all results of the same shape.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// The names of a result's columns, in order: a slice of texts. To clone it copies no name.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema), schema(value_type = Vec<String>))]
#[serde(from = "Vec<String>")]
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

impl From<Vec<String>> for Columns {
    fn from(names: Vec<String>) -> Self {
        Self(names.into())
    }
}

impl Serialize for Columns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'a> IntoIterator for &'a Columns {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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

impl<S> PartialEq<Vec<S>> for Columns
where
    String: PartialEq<S>,
{
    fn eq(&self, names: &Vec<S>) -> bool {
        **self == **names
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
