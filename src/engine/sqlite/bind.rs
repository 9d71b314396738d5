//! Gives a prepared statement its parameters, each exactly once, and turns its rows into values.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, Statement as Prepared, ToSql};

use super::errors::statement_error;
use crate::error::{StatementError, StatementErrorKind as Kind};
use crate::message::{Column, Description, Params, Value};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Real(real) => ValueRef::Real(*real),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn invalid(message: String) -> StatementError {
    StatementError::new(Kind::InvalidParams, message)
}

pub(super) fn bind(prepared: &mut Prepared<'_>, params: &Params) -> Result<(), StatementError> {
    let wanted = prepared.parameter_count();
    match params {
        Params::Positional(values) => {
            if values.len() != wanted {
                return Err(invalid(format!(
                    "the statement has {wanted} parameters, {} were given",
                    values.len()
                )));
            }
            for (index, value) in values.iter().enumerate() {
                prepared.raw_bind_parameter(index + 1, value).map_err(|error| statement_error(&error))?;
            }
        }
        Params::Named(values) => {
            for index in 1..=wanted {
                let name = prepared.parameter_name(index).ok_or_else(|| {
                    invalid(format!("parameter {index} has no name; give the parameters as an array"))
                })?;
                let value = values.get(name).or_else(|| values.get(name.get(1..).unwrap_or_default()));
                let value =
                    value.ok_or_else(|| invalid(format!("no value was given for parameter {name}")))?.clone();
                prepared.raw_bind_parameter(index, value).map_err(|error| statement_error(&error))?;
            }
            // Not by their number: `:a` and `@a` are two parameters, and one name serves both.
            let is_known = |name: &str| {
                (1..=wanted).any(|index| {
                    prepared
                        .parameter_name(index)
                        .is_some_and(|known| known == name || known.get(1..) == Some(name))
                })
            };
            if let Some(unknown) = values.keys().find(|name| !is_known(name)) {
                return Err(invalid(format!("the statement has no parameter {unknown:?}")));
            }
        }
    }
    Ok(())
}

/// A statement of blanks and comments is prepared to nothing, and nothing cannot be run.
pub(super) fn refuse_empty(prepared: &Prepared<'_>) -> Result<(), StatementError> {
    let may_be_empty = prepared.readonly() && prepared.column_count() == 0 && prepared.parameter_count() == 0;
    if may_be_empty && prepared.expanded_sql().is_none() {
        return Err(StatementError::new(Kind::EmptyStatement, "there is no statement in this text"));
    }
    Ok(())
}

/// What the values of a row will occupy, without copying one. Past `most` it does not matter how much.
pub(super) fn row_size(row: &Row<'_>, columns: usize, most: usize) -> Result<usize, StatementError> {
    let mut size = 0_usize;
    for index in 0..columns {
        size += value_size(row.get_ref(index).map_err(|error| statement_error(&error))?);
        if size > most {
            break;
        }
    }
    Ok(size)
}

/// Names and declared types of the columns.
pub(super) fn columns(prepared: &Prepared<'_>) -> Vec<Column> {
    let column = |column: &rusqlite::Column<'_>| Column {
        name: column.name().to_owned(),
        decltype: column.decl_type().map(str::to_owned),
    };
    prepared.columns().iter().map(column).collect()
}

pub(super) fn describe(prepared: &Prepared<'_>) -> Description {
    let name = |index| prepared.parameter_name(index).map(str::to_owned);
    Description {
        params: (1..=prepared.parameter_count()).map(name).collect(),
        columns: columns(prepared),
        is_explain: prepared.is_explain() != 0,
        is_readonly: prepared.readonly(),
    }
}

pub(super) fn row_values(row: &Row<'_>, columns: &[String]) -> Result<Vec<Value>, StatementError> {
    (0..columns.len())
        .map(|index| owned(row, index, row.get_ref(index).map_err(|error| statement_error(&error))?))
        .collect()
}

/// The values of a row and what they occupy, if that is no more than `most`; each is looked at once.
pub(super) fn row_within(row: &Row<'_>, columns: usize, most: usize) -> Result<SizedRow, StatementError> {
    let mut size = 0_usize;
    let mut values = Vec::with_capacity(columns);
    for index in 0..columns {
        let value = row.get_ref(index).map_err(|error| statement_error(&error))?;
        size += value_size(value);
        if size > most {
            return Ok(SizedRow { size, values: None });
        }
        values.push(owned(row, index, value)?);
    }
    Ok(SizedRow { size, values: Some(values) })
}

/// A row that was measured, and copied unless it is too large.
pub(super) struct SizedRow {
    pub(super) size: usize,
    pub(super) values: Option<Vec<Value>>,
}

fn value_size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null => 1,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn owned(row: &Row<'_>, index: usize, value: ValueRef<'_>) -> Result<Value, StatementError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        ValueRef::Text(text) => {
            if let Ok(text) = std::str::from_utf8(text) {
                Value::Text(text.to_owned())
            } else {
                let column = row.as_ref().column_name(index).unwrap_or_default();
                let message = format!("the text in column {column:?} is not UTF-8; select it CAST AS BLOB");
                return Err(StatementError::new(Kind::InvalidText, message));
            }
        }
    })
}
