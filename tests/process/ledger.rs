//! The oracle: what callers sent, and what they were told became of it. Afterwards the file has to agree.
//!
//! A write is one row in `heads`; every other one is a transaction with a second row in `parts`, so that half of it would
//! show. Nothing in the schema hinders a row from being there twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use actix_sqlite::rusqlite::Connection;

pub(crate) const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS heads (seq INTEGER PRIMARY KEY AUTOINCREMENT, caller INTEGER, n INTEGER)",
    "CREATE TABLE IF NOT EXISTS parts (head INTEGER REFERENCES heads (seq), caller INTEGER, n INTEGER)",
];

/// A write: the n-th of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) caller: i64,
    pub(crate) n: i64,
}

impl Write {
    /// Whether it is a transaction of two rows.
    pub(crate) fn has_part(self) -> bool {
        self.n % 2 == 0
    }
}

/// What the caller knows of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Sent, and not answered: absent or whole, and if it is there, in a commit after this one.
    Unknown {
        after: u64,
    },
    /// Answered, and that it was not executed: absent.
    NotExecuted,
    Acknowledged {
        seq: i64,
        commit: u64,
    },
}

/// What callers know, all of them.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    fates: BTreeMap<Write, Fate>,
    acknowledged: u64,
    newest: u64,
}

/// How many writes the file was found to agree on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) acknowledged: usize,
    pub(crate) not_executed: usize,
    pub(crate) unknown_there: usize,
    pub(crate) unknown_absent: usize,
}

impl Ledger {
    /// To be said before it is sent, first or again.
    pub(crate) fn sent(&self, write: Write) {
        let mut book = self.0.lock().unwrap();
        let after = book.newest;
        match book.fates.entry(write).or_insert(Fate::NotExecuted) {
            Fate::Acknowledged { .. } => panic!("{write:?} is done"),
            // The first time it was sent it may have come through.
            Fate::Unknown { .. } => {}
            fate @ Fate::NotExecuted => *fate = Fate::Unknown { after },
        }
    }

    pub(crate) fn acknowledged(&self, write: Write, seq: i64, commit: u64) {
        let mut book = self.0.lock().unwrap();
        let Some(Fate::Unknown { after }) = book.fates.insert(write, Fate::Acknowledged { seq, commit })
        else {
            panic!("{write:?} was answered before, or never sent")
        };
        assert!(commit > after, "{write:?} in commit {commit}, sent after {after} was acknowledged");
        book.acknowledged += 1;
        book.newest = book.newest.max(commit);
    }

    pub(crate) fn not_executed(&self, write: Write) {
        let before = self.0.lock().unwrap().fates.insert(write, Fate::NotExecuted);
        assert!(matches!(before, Some(Fate::Unknown { .. })), "{write:?} was {before:?}");
    }

    /// How many acknowledgements there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().unwrap().acknowledged
    }

    pub(crate) fn newest(&self) -> u64 {
        self.0.lock().unwrap().newest
    }

    /// Writes whose caller heard nothing.
    pub(crate) fn unknown(&self) -> Vec<Write> {
        let book = self.0.lock().unwrap();
        let unknown = book.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Unknown { .. }));
        unknown.map(|(write, _)| *write).collect()
    }

    /// A caller's writes that must be there, and those that may be; they are forgotten.
    pub(crate) fn settle(&self, caller: i64) -> (Vec<i64>, Vec<i64>) {
        let mut book = self.0.lock().unwrap();
        let (mut there, mut maybe) = (Vec::new(), Vec::new());
        let all = Write { caller, n: i64::MIN }..=Write { caller, n: i64::MAX };
        for (write, fate) in book.fates.range(all) {
            match fate {
                Fate::Acknowledged { .. } => there.push(write.n),
                Fate::Unknown { .. } => maybe.push(write.n),
                Fate::NotExecuted => {}
            }
        }
        book.fates.retain(|write, _| write.caller != caller);
        (there, maybe)
    }

    /// Compares with a file that nobody has open.
    ///
    /// # Errors
    /// Where they differ.
    pub(crate) fn agrees_with(&self, file: &Path) -> Result<Agreed, String> {
        let conn = Connection::open(file).map_err(|error| error.to_string())?;
        let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let strays: i64 =
            conn.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
        if (sound.as_str(), strays) != ("ok", 0) {
            return Err(format!("the file is damaged: {sound}, {strays} rows without their head"));
        }
        let heads = rows(&conn, "SELECT caller, n, seq FROM heads ORDER BY seq");
        let parts = rows(&conn, "SELECT caller, n, head FROM parts ORDER BY head");
        let book = self.0.lock().unwrap();
        let mut agreed = Agreed::default();
        for (write, fate) in &book.fates {
            let (heads, parts) = (heads.get(write), parts.get(write));
            let whole = match (heads.map(Vec::as_slice), parts.map(Vec::as_slice)) {
                (Some([seq]), None) if !write.has_part() => Some(*seq),
                (Some([seq]), Some([head])) if write.has_part() && seq == head => Some(*seq),
                (None, None) => None,
                _ => return Err(format!("{write:?} is {fate:?}, and has rows {heads:?} and {parts:?}")),
            };
            match (fate, whole) {
                (Fate::Acknowledged { seq, .. }, Some(found)) if *seq == found => agreed.acknowledged += 1,
                (Fate::NotExecuted, None) => agreed.not_executed += 1,
                (Fate::Unknown { .. }, Some(_)) => agreed.unknown_there += 1,
                (Fate::Unknown { .. }, None) => agreed.unknown_absent += 1,
                _ => return Err(format!("{write:?} is {fate:?}, and is found at {whole:?}")),
            }
        }
        if let Some(stranger) = heads.keys().chain(parts.keys()).find(|write| !book.fates.contains_key(write))
        {
            return Err(format!("{stranger:?} is there, and nobody sent it"));
        }
        let mut in_order: Vec<_> = book.fates.values().filter_map(place).collect();
        in_order.sort_unstable();
        match in_order.windows(2).find(|pair| pair[0].1 > pair[1].1) {
            Some(pair) => Err(format!("rows and commits are in another order: {pair:?}")),
            None => Ok(agreed),
        }
    }
}

fn place(fate: &Fate) -> Option<(i64, u64)> {
    match fate {
        Fate::Acknowledged { seq, commit } => Some((*seq, *commit)),
        Fate::Unknown { .. } | Fate::NotExecuted => None,
    }
}

/// Rows of each write.
fn rows(conn: &Connection, sql: &str) -> BTreeMap<Write, Vec<i64>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut statement = conn.prepare(sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let write = Write { caller: row.get(0).unwrap(), n: row.get(1).unwrap() };
        found.entry(write).or_default().push(row.get(2).unwrap());
    }
    found
}

/// The ledger's own teeth: it agrees with the right file, and with no wrong one.
#[test]
fn a_ledger_sees_what_is_lost_doubled_halved_or_made_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.db");
    let ledger = Ledger::default();
    let write = |n| Write { caller: 1, n };
    (1..=6).chain([9]).for_each(|n| ledger.sent(write(n)));
    (1..=3).for_each(|n| ledger.acknowledged(write(n), n, u64::try_from(n).unwrap()));
    ledger.not_executed(write(4));
    let right = "INSERT INTO heads VALUES (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 6);
                 INSERT INTO parts VALUES (2, 1, 2), (4, 1, 6);";
    let check = |change: &str| {
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch(
            "PRAGMA foreign_keys = OFF; DROP TABLE IF EXISTS heads; DROP TABLE IF EXISTS parts",
        )
        .unwrap();
        conn.execute_batch(&format!("{}; {}; {right} {change}", SCHEMA[0], SCHEMA[1])).unwrap();
        drop(conn);
        ledger.agrees_with(&file)
    };
    let agreed = Agreed { acknowledged: 3, not_executed: 1, unknown_there: 1, unknown_absent: 2 };
    assert_eq!(check(""), Ok(agreed));
    for wrong in [
        "DELETE FROM heads WHERE n = 1",
        "INSERT INTO heads VALUES (5, 1, 1)",
        "DELETE FROM parts WHERE n = 2",
        "INSERT INTO parts VALUES (2, 1, 2)",
        "DELETE FROM parts WHERE n = 6",
        "DELETE FROM heads WHERE n = 6",
        "INSERT INTO heads VALUES (5, 1, 4); INSERT INTO parts VALUES (5, 1, 4)",
        "INSERT INTO heads VALUES (5, 1, 7)",
        "UPDATE heads SET seq = 9 WHERE n = 1",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    // The number of a commit is all the callers have to tell the order by.
    ledger.acknowledged(write(9), 5, 2);
    assert!(check("INSERT INTO heads VALUES (5, 1, 9)").unwrap_err().contains("another order"));
}
