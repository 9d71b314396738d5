//! The rows of a query as they come.

use tokio::sync::mpsc;

use crate::actors::ticket::Chunk;
use crate::error::{ReadError, StatementError, StatementErrorKind};
use crate::message::Value;

/// The rows of a query, in pieces, as a reader finds them. Dropping it ends the query.
#[derive(Debug)]
pub struct RowStream {
    columns: Vec<String>,
    chunks: mpsc::Receiver<Result<Chunk, ReadError>>,
    /// Nothing comes any more, and the receiver was told why.
    ended: bool,
}

/// Pieces between reader and receiver; more would only hold memory.
const PIECES: usize = 4;

impl RowStream {
    pub(super) fn channel() -> (mpsc::Sender<Result<Chunk, ReadError>>, Self) {
        let (sender, chunks) = mpsc::channel(PIECES);
        (sender, Self { columns: Vec::new(), chunks, ended: false })
    }

    /// Waits for the columns, with which every result begins.
    pub(super) async fn begin(mut self) -> Result<Self, ReadError> {
        match self.chunks.recv().await {
            Some(Ok(Chunk::Columns(columns))) => self.columns = columns,
            Some(Ok(Chunk::Rows(_) | Chunk::End)) | None => return Err(super::stopped().into()),
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
        if self.ended {
            return None;
        }
        match self.chunks.recv().await {
            Some(Ok(Chunk::Rows(rows))) => Some(Ok(rows)),
            Some(Ok(Chunk::Columns(_))) => Some(Ok(Vec::new())),
            Some(Ok(Chunk::End)) => {
                self.ended = true;
                None
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                Some(Err(cut_short().into()))
            }
        }
    }
}

/// The reader could not say why: the pieces it had sent were not taken.
fn cut_short() -> StatementError {
    let message = "the query ended before its last row, because the rows before were not taken in time";
    StatementError::new(StatementErrorKind::StatementTimeout, message)
}
