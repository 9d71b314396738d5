//! The rows a query answers with, by name, by position or as a type of the caller's.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::de::RowDeserializer;
use super::{Columns, Value};
use crate::error::ReadError;

/// A result: names of columns, and rows with values in that order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Rows {
    /// Names of the columns.
    pub columns: Columns,
    /// The rows, values in column order.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> {
        self.rows.iter().map(|values| RowRef::new(&self.columns, values))
    }

    /// The first row, if there is one.
    pub fn first(&self) -> Option<RowRef<'_>> {
        self.rows.first().map(|values| RowRef::new(&self.columns, values))
    }

    /// Every row as a `T`: a struct by column names, a tuple by position, or a plain type if there is one column.
    ///
    /// # Errors
    /// [`ReadError::Deserialize`] names the row and what does not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<Vec<T>, ReadError> {
        self.iter()
            .enumerate()
            .map(|(index, row)| {
                row.deserialize().map_err(|error| match error {
                    ReadError::Deserialize(reason) => {
                        ReadError::Deserialize(format!("row {}: {reason}", index + 1))
                    }
                    other => other,
                })
            })
            .collect()
    }
}

/// One row of a result that is still in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowRef<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl<'a> RowRef<'a> {
    pub(crate) fn new(columns: &'a [String], values: &'a [Value]) -> Self {
        Self { columns, values }
    }

    /// The value of the column of this name.
    pub fn get(&self, column: &str) -> Option<&'a Value> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)
    }

    /// The values in column order.
    pub fn values(&self) -> &'a [Value] {
        self.values
    }

    /// The row as a `T`; see [`Rows::deserialize`].
    ///
    /// # Errors
    /// [`ReadError::Deserialize`] says what does not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        T::deserialize(RowDeserializer::new(self.columns, self.values))
            .map_err(|error| ReadError::Deserialize(error.to_string()))
    }
}

/// One row by itself, as [`QueryOne`](crate::QueryOne) answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Row {
    /// Names of the columns.
    pub columns: Columns,
    /// The values in column order.
    pub values: Vec<Value>,
}

impl Row {
    /// The value of the column of this name.
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.by_ref().get(column)
    }

    /// The row as a `T`; see [`Rows::deserialize`].
    ///
    /// # Errors
    /// [`ReadError::Deserialize`] says what does not fit.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        self.by_ref().deserialize()
    }

    fn by_ref(&self) -> RowRef<'_> {
        RowRef::new(&self.columns, &self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Status {
        Online,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Account {
        id: i64,
        email: String,
        active: bool,
        cookie: Option<String>,
        status: Status,
        score: f64,
    }

    fn rows() -> Rows {
        Rows {
            columns: Columns::from_iter(["id", "email", "active", "cookie", "status", "score"]),
            rows: vec![vec![7.into(), "a@b".into(), true.into(), Value::Null, "online".into(), 2.into()]],
        }
    }

    type Tuple = (i64, String, bool, Option<String>, String, f64);

    #[test]
    fn a_row_becomes_a_struct_a_tuple_or_a_plain_value() {
        let account = Account {
            id: 7,
            email: "a@b".into(),
            active: true,
            cookie: None,
            status: Status::Online,
            score: 2.0,
        };
        assert_eq!(rows().deserialize::<Account>().unwrap(), [account]);
        assert_eq!(rows().deserialize::<Tuple>().unwrap()[0].1, "a@b");
        let one = Rows { columns: Columns::from_iter(["count"]), rows: vec![vec![3.into()]] };
        assert_eq!(one.deserialize::<u32>().unwrap(), [3]);
        assert_eq!(one.deserialize::<(u32,)>().unwrap(), [(3,)]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = rows().deserialize::<i64>().unwrap_err().to_string();
        assert!(error.contains("row 1") && error.contains("6 columns"), "{error}");
        let mut wrong = rows();
        wrong.rows[0][0] = "seven".into();
        let error = wrong.deserialize::<Account>().unwrap_err().to_string();
        assert!(error.contains("column `id`"), "{error}");
    }
}
