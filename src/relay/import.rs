//! Many message logs at once: newline-delimited JSON, one [`AddMessageLog`] a line, in constant memory.
//!
//! Bytes go in as they come, in pieces of any size; each line is a write of its own, so a bad one is rejected with its
//! number and the others go in. A window of writes is under way at any time, in the bulk lane of the queue: the writer
//! commits them in groups, and lets the writes of others go before.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::AddMessageLog;
use crate::Database;
use crate::database::PendingWrite;
use crate::error::WriteError;
use crate::policy::Overflow;

/// Writes under way at once, and their bytes: so much of a file is in memory. Half of them make a batch, while the lines
/// of the next one are read.
const WINDOW: usize = 1024;
const WINDOW_BYTES: usize = 8 << 20;

/// Rejected lines that are named; further ones are only counted, so that a file of nonsense takes no memory.
const MAX_NAMED: usize = 1_000;

/// What became of the lines of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct ImportReport {
    /// Lines that are new rows.
    pub inserted: u64,
    /// Lines that were there before.
    pub duplicates: u64,
    /// Lines that were not taken.
    pub rejected: u64,
    /// The rejected lines, the first 1000 of them.
    pub errors: Vec<RejectedLine>,
}

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct RejectedLine {
    /// Its number, from 1.
    pub line: u64,
    /// The stable code: `invalid_json`, `invalid_utf8`, `line_too_long`, or that of the write's error.
    pub code: String,
    /// What is wrong with it.
    pub detail: String,
}

/// A line whose write is queued.
struct UnderWay {
    line: u64,
    bytes: usize,
    write: PendingWrite,
}

/// An import under way.
pub struct Import {
    database: Database,
    max_line: usize,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// The line is longer than it may be; the rest of it is passed over.
    too_long: bool,
    line: u64,
    under_way: VecDeque<UnderWay>,
    bytes_under_way: usize,
    report: ImportReport,
}

impl Import {
    /// An import into `database`; lines of more than `max_line` bytes are rejected.
    pub fn new(database: Database, max_line: usize) -> Self {
        Self {
            database,
            max_line,
            partial: Vec::new(),
            too_long: false,
            line: 0,
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            report: ImportReport::default(),
        }
    }

    /// Takes the next bytes; returns when their lines are under way.
    ///
    /// # Errors
    /// The [`WriteError`] of a database that is full, shutting down or failing. What [`Self::report`] counts is
    /// committed; importing the same file again skips it.
    pub async fn feed(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.partial.is_empty() && !self.too_long {
                self.line(line).await?;
            } else {
                self.keep(line);
                self.end_line().await?;
            }
        }
        self.keep(bytes);
        Ok(())
    }

    /// Takes the last line, if it had no end, and waits for all that is under way.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub async fn finish(&mut self) -> Result<ImportReport, WriteError> {
        if !self.partial.is_empty() || self.too_long {
            self.end_line().await?;
        }
        while !self.under_way.is_empty() {
            self.settle_one().await?;
        }
        Ok(self.report.clone())
    }

    /// What became of the lines so far.
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.partial.len() + bytes.len() > self.max_line + 1 {
            self.too_long = true;
            self.partial.clear();
        }
        if !self.too_long {
            self.partial.extend_from_slice(bytes);
        }
    }

    async fn end_line(&mut self) -> Result<(), WriteError> {
        let line = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.too_long) {
            self.line += 1;
            self.reject_too_long();
            return Ok(());
        }
        self.line(&line).await
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), WriteError> {
        self.line += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.max_line {
            self.reject_too_long();
            return Ok(());
        }
        let Ok(text) = std::str::from_utf8(line) else {
            self.reject(self.line, "invalid_utf8", "the line is not UTF-8".into());
            return Ok(());
        };
        // A file may begin with a byte order mark, and blank lines say nothing.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Ok(());
        }
        let message = match serde_json::from_str::<AddMessageLog>(text) {
            Ok(message) => message,
            Err(error) => {
                self.reject(self.line, "invalid_json", error.to_string());
                return Ok(());
            }
        };
        let bytes = text.len();
        // One line alone may be larger than the window.
        while self.under_way.len() >= WINDOW
            || (self.bytes_under_way + bytes > WINDOW_BYTES && !self.under_way.is_empty())
        {
            self.settle_one().await?;
        }
        // A full queue is no reason to reject a line: it waits for its turn.
        let write = message.into_import();
        match write.and_then(|write| self.database.submit_with(write, Overflow::Wait)) {
            Ok(write) => {
                self.bytes_under_way += bytes;
                self.under_way.push_back(UnderWay { line: self.line, bytes, write });
            }
            Err(error) => self.reject(self.line, error.code(), error.to_string()),
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), WriteError> {
        let Some(UnderWay { line, bytes, write }) = self.under_way.pop_front() else { return Ok(()) };
        let outcome = write.outcome().await;
        self.bytes_under_way -= bytes;
        match outcome {
            Ok(committed) if AddMessageLog::was_inserted(&committed) => self.report.inserted += 1,
            Ok(_) => self.report.duplicates += 1,
            // Not the line's fault: the next one would fare no better.
            Err(error) if error.is_retryable() || error.outcome() == crate::Outcome::Unknown => {
                return Err(error);
            }
            Err(error) => self.reject(line, error.code(), error.to_string()),
        }
        Ok(())
    }

    fn reject_too_long(&mut self) {
        let detail = format!("the line is longer than {} bytes", self.max_line);
        self.reject(self.line, "line_too_long", detail);
    }

    fn reject(&mut self, line: u64, code: &str, detail: String) {
        self.report.rejected += 1;
        if self.report.errors.len() < MAX_NAMED {
            self.report.errors.push(RejectedLine { line, code: code.to_owned(), detail });
            // Those found by parsing come before those that the writer found in earlier lines.
            self.report.errors.sort_by_key(|error| error.line);
        }
    }
}
