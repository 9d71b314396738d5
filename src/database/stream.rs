//! The rows of a query as they come.

use tokio::sync::{mpsc, oneshot};

use crate::actors::ticket::{Chunk, Presence, ReadReply};
use crate::error::ReadError;
use crate::message::{Column, Columns, Value};

/// The rows of a query, in pieces, as a reader finds them. Dropping it ends the query.
#[derive(Debug)]
pub struct RowStream {
    columns: Columns,
    types: Vec<Column>,
    chunks: mpsc::Receiver<Chunk>,
    /// How it ended; none after it was told.
    end: Option<oneshot::Receiver<Result<(), ReadError>>>,
    presence: Presence,
}

/// Pieces between reader and receiver; more would only hold memory.
const PIECES: usize = 4;

impl RowStream {
    pub(super) fn channel() -> (ReadReply, Self) {
        let (sender, chunks) = mpsc::channel(PIECES);
        let (told, end) = oneshot::channel();
        let reply = ReadReply::Stream { chunks: sender, end: told };
        (
            reply,
            Self {
                columns: Columns::default(),
                types: Vec::new(),
                chunks,
                end: Some(end),
                presence: Presence::default(),
            },
        )
    }

    /// Seen by the reader.
    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Waits for the columns, with which every result begins.
    pub(super) async fn begin(mut self) -> Result<Self, ReadError> {
        loop {
            match self.chunks.recv().await {
                Some(Chunk::TypedColumns(columns)) => self.types = columns,
                Some(Chunk::Columns(columns)) => {
                    self.columns = columns;
                    return Ok(self);
                }
                Some(Chunk::Rows(_)) | None => {
                    return self.failure().await.map_or_else(|| Err(super::stopped().into()), Err);
                }
            }
        }
    }

    /// The columns with their types, if they were asked for.
    pub(super) fn take_types(&mut self) -> Vec<Column> {
        std::mem::take(&mut self.types)
    }

    /// After the last piece: what was wrong, told once. A reader that is gone without a word did not get to the end.
    async fn failure(&mut self) -> Option<ReadError> {
        let end = self.end.take()?.await;
        end.unwrap_or_else(|_| Err(super::stopped().into())).err()
    }

    /// Names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows; `None` after the last ones.
    ///
    /// # Errors
    /// [`ReadError`] if the query fails on the way.
    pub async fn next(&mut self) -> Option<Result<Vec<Vec<Value>>, ReadError>> {
        match self.chunks.recv().await {
            Some(Chunk::Rows(rows)) => Some(Ok(rows)),
            Some(Chunk::Columns(_) | Chunk::TypedColumns(_)) => Some(Ok(Vec::new())),
            None => self.failure().await.map(Err),
        }
    }
}
