//! What is answered, in the words of the protocol.

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::error::WireError;
use super::proto::Version;
use super::value::{AsText, Outgoing};
use crate::Value;
use crate::database::{Event, SessionError};
use crate::message::{Column, Description, StepOutcomes, StepResult};

/// The answer to a request that succeeded.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Response {
    Execute { result: StmtResult },
    Batch { result: BatchResult },
    Sequence,
    Describe { result: DescribeResult },
    StoreSql,
    CloseSql,
    GetAutocommit { is_autocommit: bool },
    Close,
    OpenStream,
    CloseStream,
    OpenCursor,
    FetchCursor { entries: Vec<Entry>, done: bool },
    CloseCursor,
}

/// One result of a pipeline.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StreamResult {
    Ok { response: Response },
    Error { error: WireError },
}

impl From<Result<Response, WireError>> for StreamResult {
    fn from(result: Result<Response, WireError>) -> Self {
        match result {
            Ok(response) => Self::Ok { response },
            Err(error) => Self::Error { error },
        }
    }
}

/// What a statement did, as this version says it.
pub(super) struct StmtResult {
    pub(super) result: StepResult,
    pub(super) version: Version,
}

impl Serialize for StmtResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let StepResult { columns, rows, rows_affected, last_insert_rowid } = &self.result;
        let mut object = serializer.serialize_struct("StmtResult", 5)?;
        object.serialize_field("cols", &Cols { columns, version: self.version })?;
        object.serialize_field("rows", &Rows(rows))?;
        object.serialize_field("affected_row_count", rows_affected)?;
        object.serialize_field("last_insert_rowid", &last_insert_rowid.map(AsText))?;
        object.serialize_field("replication_index", &())?;
        object.end()
    }
}

struct Rows<'a>(&'a [Vec<Value>]);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|row| Row(row)))
    }
}

struct Row<'a>(&'a [Value]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Outgoing))
    }
}

struct Cols<'a> {
    columns: &'a [Column],
    version: Version,
}

impl Serialize for Cols<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Col<'a> {
            name: &'a str,
        }
        #[derive(Serialize)]
        struct TypedCol<'a> {
            name: &'a str,
            decltype: Option<&'a str>,
        }
        let mut list = serializer.serialize_seq(Some(self.columns.len()))?;
        for Column { name, decltype } in self.columns {
            if self.version == Version::One {
                list.serialize_element(&Col { name })?;
            } else {
                list.serialize_element(&TypedCol { name, decltype: decltype.as_deref() })?;
            }
        }
        list.end()
    }
}

/// What became of a step; none if it was passed over.
type Step = Option<Result<StmtResult, WireError>>;

/// What the steps of a batch did.
pub(super) struct BatchResult {
    steps: Vec<Step>,
}

impl BatchResult {
    pub(super) fn new(outcomes: StepOutcomes<SessionError>, version: Version) -> Self {
        let outcome = |outcome: Result<StepResult, SessionError>| {
            outcome.map(|result| StmtResult { result, version }).map_err(WireError::from)
        };
        Self { steps: outcomes.into_iter().map(|step| step.map(outcome)).collect() }
    }
}

impl Serialize for BatchResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Of all steps what this says of each.
        struct Each<'a, T>(&'a [Step], fn(&Step) -> Option<&T>);
        impl<T: Serialize> Serialize for Each<'_, T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter().map(self.1))
            }
        }
        let results = Each(&self.steps, |step| step.as_ref().and_then(|step| step.as_ref().ok()));
        let errors = Each(&self.steps, |step| step.as_ref().and_then(|step| step.as_ref().err()));
        let mut object = serializer.serialize_struct("BatchResult", 3)?;
        object.serialize_field("step_results", &results)?;
        object.serialize_field("step_errors", &errors)?;
        object.serialize_field("replication_index", &())?;
        object.end()
    }
}

/// What a statement is.
pub(super) struct DescribeResult(pub(super) Description);

impl Serialize for DescribeResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Param<'a> {
            name: Option<&'a str>,
        }
        let Description { params, columns, is_explain, is_readonly } = &self.0;
        let params: Vec<_> = params.iter().map(|name| Param { name: name.as_deref() }).collect();
        let mut object = serializer.serialize_struct("DescribeResult", 4)?;
        object.serialize_field("params", &params)?;
        object.serialize_field("cols", &Cols { columns, version: Version::Two })?;
        object.serialize_field("is_explain", is_explain)?;
        object.serialize_field("is_readonly", is_readonly)?;
        object.end()
    }
}

/// A piece of a result that is told as it comes.
pub(super) struct Entry {
    event: Result<Event, WireError>,
    /// Whether row ids are numbers: those who wrote the client in Rust read them so here, against the specification.
    rowid_is_number: bool,
}

impl Entry {
    pub(super) fn new(event: Event, rowid_is_number: bool) -> Self {
        Self { event: Ok(event), rowid_is_number }
    }

    /// The end of a cursor that could not begin.
    pub(super) fn failed(error: WireError) -> Self {
        Self { event: Err(error), rowid_is_number: false }
    }

    /// What it occupies, about, in bytes.
    pub(super) fn size(&self) -> usize {
        const OVERHEAD: usize = 32;
        match &self.event {
            Ok(Event::Row(row)) => row.iter().map(|value| value.size() + OVERHEAD).sum(),
            _ => 4 * OVERHEAD,
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Entry", 3)?;
        match &self.event {
            Ok(Event::Begin { step, columns }) => {
                object.serialize_field("type", "step_begin")?;
                object.serialize_field("step", step)?;
                object.serialize_field("cols", &Cols { columns, version: Version::Three })?;
            }
            Ok(Event::Row(row)) => {
                object.serialize_field("type", "row")?;
                object.serialize_field("row", &Row(row))?;
            }
            Ok(Event::End { rows_affected, last_insert_rowid }) => {
                object.serialize_field("type", "step_end")?;
                object.serialize_field("affected_row_count", rows_affected)?;
                if self.rowid_is_number {
                    object.serialize_field("last_insert_rowid", last_insert_rowid)?;
                } else {
                    object.serialize_field("last_insert_rowid", &last_insert_rowid.map(AsText))?;
                }
            }
            Ok(Event::Failed { step, error }) => {
                object.serialize_field("type", "step_error")?;
                object.serialize_field("step", step)?;
                object.serialize_field("error", &WireError::from(error.clone()))?;
            }
            Err(error) => {
                object.serialize_field("type", "error")?;
                object.serialize_field("error", error)?;
            }
        }
        object.end()
    }
}
