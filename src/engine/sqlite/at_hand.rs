//! The callers' statements that a batch ran last, kept at hand.
//!
//! Most writes of a batch say the same with other values. To look a statement up in the cache, unbind its values and
//! put it back costs three hashes of its text and a copy of it for each write; to compare the text with those at hand
//! costs next to nothing. All go back to the cache when the batch ends.

use std::borrow::Cow;

use rusqlite::{CachedStatement, Connection};

use super::prepare;
use crate::error::StatementError;
use crate::message::Statement;

/// Enough for two kinds of transactions in turns; more would only be searched.
const KEPT: usize = 4;

pub(super) struct AtHand<'a> {
    conn: &'a Connection,
    kept: Vec<(Cow<'static, str>, CachedStatement<'a>)>,
    /// Which one makes room next.
    oldest: usize,
}

impl<'a> AtHand<'a> {
    pub(super) fn new(conn: &'a Connection) -> Self {
        Self { conn, kept: Vec::with_capacity(KEPT), oldest: 0 }
    }

    /// The prepared statement of a caller's text. Its values are those of the last time: each must be bound again.
    pub(super) fn prepare(
        &mut self,
        statement: &Statement,
    ) -> Result<&mut CachedStatement<'a>, StatementError> {
        let sql = &statement.sql;
        let place = match self.kept.iter().position(|(text, _)| is_same(text, sql)) {
            Some(place) => place,
            None => self.fetch(statement)?,
        };
        Ok(&mut self.kept[place].1)
    }

    fn fetch(&mut self, Statement { sql, .. }: &Statement) -> Result<usize, StatementError> {
        let prepared = prepare::prepare(self.conn, sql)?;
        if self.kept.len() < KEPT {
            self.kept.push((sql.clone(), prepared));
            return Ok(self.kept.len() - 1);
        }
        let place = self.oldest;
        self.kept[place] = (sql.clone(), prepared);
        self.oldest = (place + 1) % KEPT;
        Ok(place)
    }
}

/// One text at one place is not compared, and most texts are constants.
fn is_same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}
