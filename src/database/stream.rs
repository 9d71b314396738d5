//! The rows of a query as they come.

use tokio::sync::mpsc;

use crate::actors::ticket::Chunk;
use crate::error::ReadError;
use crate::message::Value;

/// The rows of a query, in pieces, as a reader finds them. Dropping it ends the query.
#[derive(Debug)]
pub struct RowStream {
    columns: Vec<String>,
    chunks: mpsc::Receiver<Result<Chunk, ReadError>>,
}

/// Pieces between reader and receiver; more would only hold memory.
const PIECES: usize = 4;

impl RowStream {
    pub(super) fn channel() -> (mpsc::Sender<Result<Chunk, ReadError>>, Self) {
        let (sender, chunks) = mpsc::channel(PIECES);
        (sender, Self { columns: Vec::new(), chunks })
    }

    /// Waits for the columns, with which every result begins.
    pub(super) async fn begin(mut self) -> Result<Self, ReadError> {
        match self.chunks.recv().await {
            Some(Ok(Chunk::Columns(columns))) => self.columns = columns,
            Some(Ok(Chunk::Rows(_))) | None => return Err(super::stopped().into()),
            Some(Err(error)) => return Err(error),
        }
        Ok(self)
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
        match self.chunks.recv().await? {
            Ok(Chunk::Rows(rows)) => Some(Ok(rows)),
            Ok(Chunk::Columns(_)) => Some(Ok(Vec::new())),
            Err(error) => Some(Err(error)),
        }
    }
}
