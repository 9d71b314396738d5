//! What the database has to do, without a database: two tables and the idempotency keys, in memory. Says of each write
//! which receipt or error it has to get, and what is stored then. And the dead letters.

use std::collections::BTreeMap;

use actix_sqlite::{Columns, StatementResult, Value};

use crate::ops::{Body, Op, Or, Stored, Write};

/// What the caller has to be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    /// If `again`, the receipt is the one that its key got before, the number of the commit included.
    Committed { results: Vec<StatementResult>, again: bool },
    /// `index`: the statement that is named, if one is.
    Failed { code: &'static str, index: Option<usize> },
}

impl Expected {
    fn failed(code: &'static str) -> Self {
        Self::Failed { code, index: None }
    }
}

/// How the holder of a lease lets go of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    RollBack,
    Drop,
}

/// What the holder of a lease has to be told: of each statement, and of its COMMIT, if it asked for one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LeaseTold {
    pub(crate) ran: Vec<Ran>,
    pub(crate) committed: Option<Result<(), &'static str>>,
}

/// A write that failed and that nobody waited for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Letter {
    pub(crate) body: Body,
    pub(crate) key: Option<u8>,
    pub(crate) code: &'static str,
    pub(crate) attempts: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Tables {
    /// By id: k and v.
    t: BTreeMap<i64, (i64, i64)>,
    /// By id: the parent.
    child: BTreeMap<i64, i64>,
    /// How many rows.
    guarded: i64,
    has_guard: bool,
}

/// The model.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    tables: Tables,
    keys: BTreeMap<u8, (Body, Vec<StatementResult>)>,
    letters: BTreeMap<i64, Letter>,
    /// The highest number that a dead letter ever had.
    last_letter: i64,
    max_letters: i64,
}

/// What a statement gives, or the code of its error.
pub(crate) type Ran = Result<StatementResult, &'static str>;

const VIOLATED: &str = "constraint_violation";
const ENDED: &str = "lease_ended";

impl Reference {
    pub(crate) fn new(has_guard: bool, max_letters: usize) -> Self {
        Self {
            tables: Tables { has_guard, ..Tables::default() },
            keys: BTreeMap::new(),
            letters: BTreeMap::new(),
            last_letter: 0,
            max_letters: i64::try_from(max_letters).unwrap(),
        }
    }

    /// Runs a write, and says what its caller has to be told.
    pub(crate) fn write(&mut self, write: &Write) -> Expected {
        if write.late {
            return Expected::failed("deadline_passed");
        }
        let known = write.key.and_then(|key| self.keys.get(&key));
        match known {
            Some((body, results)) if *body == write.body => {
                return Expected::Committed { results: results.clone(), again: true };
            }
            Some(_) => return Expected::failed("idempotency_conflict"),
            None => {}
        }
        match self.tables.run_all(&write.body) {
            Ok((tables, results)) => {
                self.tables = tables;
                if let Some(key) = write.key {
                    self.keys.insert(key, (write.body.clone(), results.clone()));
                }
                Expected::Committed { results, again: false }
            }
            Err(failed) => failed,
        }
    }

    /// Runs a lease. If the writer crashes at a statement, nothing is kept.
    pub(crate) fn lease(&mut self, ops: &[Op], end: End, crashes_at: Option<usize>) -> LeaseTold {
        let mut tables = self.tables.clone();
        let mut is_over = false;
        let mut ran = Vec::new();
        for (place, op) in ops.iter().enumerate() {
            is_over |= crashes_at == Some(place);
            if is_over {
                ran.push(Err(ENDED));
                continue;
            }
            let result = tables.run_alone(op);
            is_over = result.is_err() && op.rolls_back_all();
            ran.push(result);
        }
        let committed = match end {
            End::RollBack | End::Drop => None,
            End::Commit if is_over => Some(Err(ENDED)),
            End::Commit if tables.is_orphaned() => Some(Err(VIOLATED)),
            End::Commit => {
                self.tables = tables;
                Some(Ok(()))
            }
        };
        LeaseTold { ran, committed }
    }

    /// Runs a write that nobody waits for; whether it became a dead letter.
    pub(crate) fn enqueue(&mut self, write: &Write) -> bool {
        let Expected::Failed { code, .. } = self.write(write) else { return false };
        self.last_letter += 1;
        let letter = Letter { body: write.body.clone(), key: write.key, code, attempts: 1 };
        self.letters.insert(self.last_letter, letter);
        let oldest = self.last_letter - self.max_letters;
        self.letters.retain(|id, _| *id > oldest);
        true
    }

    /// Tries a dead letter again: whether that was committed, `None` if there is none.
    pub(crate) fn retry(&mut self, id: i64) -> Option<bool> {
        let letter = self.letters.get(&id)?.clone();
        let write = Write { body: letter.body, key: letter.key, late: false };
        match self.write(&write) {
            Expected::Committed { .. } => drop(self.letters.remove(&id)),
            Expected::Failed { code, .. } => {
                let attempts = letter.attempts + 1;
                self.letters.entry(id).and_modify(|letter| (letter.code, letter.attempts) = (code, attempts));
            }
        }
        Some(!self.letters.contains_key(&id))
    }

    /// Throws dead letters away; how many.
    pub(crate) fn expire(&mut self, ids: Option<&[i64]>) -> usize {
        let before = self.letters.len();
        self.letters.retain(|id, _| ids.is_some_and(|ids| !ids.contains(id)));
        before - self.letters.len()
    }

    /// The dead letters, by number.
    pub(crate) fn letters(&self) -> &BTreeMap<i64, Letter> {
        &self.letters
    }

    pub(crate) fn last_letter(&self) -> i64 {
        self.last_letter
    }

    /// The rows of [`crate::ops::EVERYTHING`].
    pub(crate) fn stored(&self) -> Vec<Stored> {
        let t = self.tables.t.iter().map(|(id, (k, v))| (0, *id, *k, *v));
        let child = self.tables.child.iter().map(|(id, parent)| (1, *id, *parent, 0));
        t.chain(child).chain((1..=self.tables.guarded).map(|id| (2, id, 1, 0))).collect()
    }

    /// What the write under this key gave.
    pub(crate) fn results(&self, key: u8) -> Option<&[StatementResult]> {
        self.keys.get(&key).map(|(_, results)| results.as_slice())
    }

    /// Each key that was used, and for what.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u8, &Body)> {
        self.keys.iter().map(|(key, (body, _))| (*key, body))
    }
}

impl Tables {
    fn run_all(&self, body: &Body) -> Result<(Self, Vec<StatementResult>), Expected> {
        let mut after = self.clone();
        let mut results = Vec::new();
        for (index, op) in body.iter().enumerate() {
            // Only where there are several is one of them named.
            let named = (body.len() > 1).then_some(index);
            results.push(after.run(op).map_err(|code| Expected::Failed { code, index: named })?);
        }
        if after.is_orphaned() { Err(Expected::failed(VIOLATED)) } else { Ok((after, results)) }
    }

    fn is_orphaned(&self) -> bool {
        self.child.values().any(|parent| !self.t.contains_key(parent))
    }

    /// Runs a statement of a lease, which goes on after an error: only what fails with `FAIL` leaves something behind.
    fn run_alone(&mut self, op: &Op) -> Ran {
        let before = self.clone();
        let result = self.run(op);
        let keeps = matches!(op, Op::Insert { or: Or::Fail, .. } | Op::Add { or: Or::Fail, .. });
        if result.is_err() && !keeps {
            *self = before;
        }
        result
    }

    /// What is left of the tables after an error are the rows that it came to before.
    fn run(&mut self, op: &Op) -> Ran {
        match op {
            Op::Insert { or, rows } => self.insert(*or, rows),
            Op::Upsert { k, v } => self.upsert(*k, *v),
            Op::Add { or, from, n } => self.add(*or, *from, *n),
            Op::Delete { k } => {
                let found = self.id_of(*k);
                found.and_then(|id| self.t.remove(&id));
                let rows = found.into_iter().map(|id| vec![id.into()]).collect();
                Ok(StatementResult { columns: columns(&["id"]), ..changed(rows) })
            }
            Op::Child { parent } => {
                let id = next(&self.child);
                self.child.insert(id, *parent);
                Ok(StatementResult { rows_affected: 1, last_insert_rowid: Some(id), ..Default::default() })
            }
            Op::DeleteChildren { parent } => {
                let before = self.child.len();
                self.child.retain(|_, of| of != parent);
                let rows_affected = u64::try_from(before - self.child.len()).unwrap();
                Ok(StatementResult { rows_affected, ..Default::default() })
            }
            Op::Guarded if self.has_guard => Err(VIOLATED),
            Op::Guarded => {
                self.guarded += 1;
                let last_insert_rowid = Some(self.guarded);
                Ok(StatementResult { rows_affected: 1, last_insert_rowid, ..Default::default() })
            }
            Op::NoSuchTable => Err("invalid_sql"),
            Op::Commit => Err("forbidden_sql"),
            Op::Read => {
                let rows = self.t.iter().map(|(id, (k, v))| row(&[*id, *k, *v])).collect();
                Ok(StatementResult { columns: columns(&["id", "k", "v"]), rows, ..Default::default() })
            }
        }
    }

    fn insert(&mut self, or: Or, rows: &[(i64, Option<i64>)]) -> Ran {
        let mut inserted = Vec::new();
        for (k, v) in rows {
            match v {
                Some(v) if *v < 100 && self.id_of(*k).is_none() => {
                    let id = next(&self.t);
                    self.t.insert(id, (*k, *v));
                    inserted.push(id);
                }
                _ if or == Or::Ignore => {}
                _ => return Err(VIOLATED),
            }
        }
        let rows = inserted.iter().map(|id| row(&[*id])).collect();
        let last_insert_rowid = inserted.last().copied();
        Ok(StatementResult { columns: columns(&["id"]), last_insert_rowid, ..changed(rows) })
    }

    fn upsert(&mut self, k: i64, v: i64) -> Ran {
        if v >= 100 {
            return Err(VIOLATED);
        }
        let found = self.id_of(k);
        let id = found.unwrap_or_else(|| next(&self.t));
        let stored = self.t.entry(id).or_insert((k, 0));
        stored.1 += v;
        if stored.1 >= 100 {
            return Err(VIOLATED);
        }
        let rows = vec![row(&[id, k, stored.1])];
        let last_insert_rowid = found.is_none().then_some(id);
        Ok(StatementResult { columns: columns(&["id", "k", "v"]), last_insert_rowid, ..changed(rows) })
    }

    fn add(&mut self, or: Or, from: i64, n: i64) -> Ran {
        let mut rows = Vec::new();
        for (id, (k, v)) in &mut self.t {
            if *k < from {
                continue;
            }
            if *v + n < 100 {
                *v += n;
                rows.push(row(&[*id, *v]));
            } else if or != Or::Ignore {
                return Err(VIOLATED);
            }
        }
        Ok(StatementResult { columns: columns(&["id", "v"]), ..changed(rows) })
    }

    fn id_of(&self, k: i64) -> Option<i64> {
        self.t.iter().find(|(_, (of, _))| *of == k).map(|(id, _)| *id)
    }
}

/// The rowid that SQLite gives.
fn next<T>(rows: &BTreeMap<i64, T>) -> i64 {
    rows.last_key_value().map_or(1, |(id, _)| id + 1)
}

fn row(values: &[i64]) -> Vec<Value> {
    values.iter().map(|value| Value::Integer(*value)).collect()
}

fn columns(names: &[&str]) -> Columns {
    names.iter().copied().collect()
}

/// The result of a statement that returns each row it changed.
fn changed(rows: Vec<Vec<Value>>) -> StatementResult {
    StatementResult { rows_affected: u64::try_from(rows.len()).unwrap(), rows, ..Default::default() }
}
