//! What a case says to the database: a schema, statements on it that the model understands, and writes made of them.

use actix_sqlite::{IdempotencyKey, Statement, Value, params};

pub(crate) const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INTEGER PRIMARY KEY, k INTEGER UNIQUE, v INTEGER NOT NULL CHECK (v < 100))",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES t DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE guarded (n)",
];

/// Fails whoever inserts there, and everybody in the same transaction. Where there is no trigger at all, the database
/// looks less closely at what failed, so it is not always there.
pub(crate) const GUARD: &str =
    "CREATE TRIGGER guard BEFORE INSERT ON guarded BEGIN SELECT RAISE(ROLLBACK, 'back it rolls'); END";

/// All that is stored, in one query: one snapshot.
pub(crate) const EVERYTHING: &str = "SELECT 0, id, k, v FROM t UNION ALL SELECT 1, id, parent, 0 FROM child
    UNION ALL SELECT 2, rowid, n, 0 FROM guarded ORDER BY 1, 2";

/// A row of [`EVERYTHING`].
pub(crate) type Stored = (i64, i64, i64, i64);

/// What a statement that violates a constraint does, in SQLite's words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Or {
    Abort,
    Fail,
    Rollback,
    Ignore,
}

impl Or {
    fn name(self) -> &'static str {
        match self {
            Self::Abort => "ABORT",
            Self::Fail => "FAIL",
            Self::Rollback => "ROLLBACK",
            Self::Ignore => "IGNORE",
        }
    }
}

/// A statement that the model understands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Insert { or: Or, rows: Vec<(i64, Option<i64>)> },
    Upsert { k: i64, v: i64 },
    Add { or: Or, from: i64, n: i64 },
    Delete { k: i64 },
    Child { parent: i64 },
    DeleteChildren { parent: i64 },
    Guarded,
    NoSuchTable,
    Commit,
    Read,
}

/// What a write says: the same statements are the same write under a key, sent alone or as a transaction.
pub(crate) type Body = Vec<Op>;

/// A write that a caller sends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) body: Body,
    pub(crate) key: Option<u8>,
    /// Its time is up before it is sent.
    pub(crate) late: bool,
}

impl Op {
    /// Whether its failure ends the transaction.
    pub(crate) fn rolls_back_all(&self) -> bool {
        matches!(
            self,
            Self::Insert { or: Or::Rollback, .. } | Self::Add { or: Or::Rollback, .. } | Self::Guarded
        )
    }

    pub(crate) fn statement(&self) -> Statement {
        match self {
            Self::Insert { or, rows } => {
                let values = vec!["(?, ?)"; rows.len()].join(", ");
                let sql = format!("INSERT OR {} INTO t (k, v) VALUES {values} RETURNING id", or.name());
                let params: Vec<Value> =
                    rows.iter().flat_map(|(k, v)| [Some(*k), *v]).map(Value::from).collect();
                Statement::new(sql).params(params)
            }
            Self::Upsert { k, v } => {
                let sql = "INSERT INTO t (k, v) VALUES (?1, ?2)
                    ON CONFLICT (k) DO UPDATE SET v = v + excluded.v RETURNING id, k, v";
                (sql, params![*k, *v]).into()
            }
            Self::Add { or, from, n } => {
                // The sign keeps the index out of it: rows are visited, and returned, by id.
                let sql = format!("UPDATE OR {} t SET v = v + ?2 WHERE +k >= ?1 RETURNING id, v", or.name());
                (sql, params![*from, *n]).into()
            }
            Self::Delete { k } => ("DELETE FROM t WHERE k = ?1 RETURNING id", params![*k]).into(),
            Self::Child { parent } => ("INSERT INTO child (parent) VALUES (?1)", params![*parent]).into(),
            Self::DeleteChildren { parent } => {
                ("DELETE FROM child WHERE parent = ?1", params![*parent]).into()
            }
            Self::Guarded => "INSERT INTO guarded VALUES (1)".into(),
            Self::NoSuchTable => "INSERT INTO nowhere VALUES (1)".into(),
            Self::Commit => "COMMIT".into(),
            Self::Read => "SELECT id, k, v FROM t ORDER BY id".into(),
        }
    }
}

/// The key of this number.
pub(crate) fn key(number: u8) -> IdempotencyKey {
    IdempotencyKey::new(format!("key {number}")).unwrap()
}
