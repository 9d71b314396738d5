//! What `benches/micro.rs` measures of this protocol, by way of `bench_internals`: a request read, and an answer written.
#![allow(missing_docs, reason = "no part of the interface")]

use super::error::WireError;
use super::proto::{PipelineBody, Version};
use super::result::{Response, StmtResult, StreamResult};
use crate::Rows;
use crate::message::{Column, StepResult};

/// How many requests there are in the body of a pipeline.
pub fn read_pipeline(json: &[u8]) -> Option<usize> {
    serde_json::from_slice::<PipelineBody>(json).ok().map(|body| body.requests.len())
}

/// The answer to one statement of a pipeline.
pub struct HranaAnswer(StreamResult);

impl HranaAnswer {
    pub fn new(rows: Rows) -> Self {
        let columns = rows.columns.iter().map(|name| Column { name: name.clone(), decltype: None }).collect();
        let result = StepResult { columns, rows: rows.rows, rows_affected: 0, last_insert_rowid: None };
        let result = StmtResult { result, version: Version::Three };
        Self(Ok::<_, WireError>(Response::Execute { result }).into())
    }

    pub fn to_json(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&self.0).ok()
    }
}
