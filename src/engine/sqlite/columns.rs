//! Names of columns that a connection has told before. Who asks the same again and again is given the same names, not a copy
//! of each for each result.

use std::cell::RefCell;

use rusqlite::Statement as Prepared;

use crate::message::Columns;

/// Enough for the shapes that come in turns; more would only be searched.
const KEPT: usize = 8;

/// In bytes, all names of a result together. A caller may make up names as long as texts may be.
const LONGEST: usize = 4_096;

#[derive(Default)]
pub(super) struct KnownColumns(RefCell<Kept>);

#[derive(Default)]
struct Kept {
    columns: Vec<Columns>,
    /// Which one makes room next.
    oldest: usize,
}

impl KnownColumns {
    /// The names of a statement's columns. They are compared one by one: after a change of the schema the same statement may
    /// have others.
    pub(super) fn of(&self, prepared: &Prepared<'_>) -> Columns {
        let count = prepared.column_count();
        if count == 0 {
            return Columns::default();
        }
        let Kept { columns, oldest } = &mut *self.0.borrow_mut();
        let is_same = |columns: &&Columns| {
            columns.len() == count
                && columns.iter().enumerate().all(|(index, name)| prepared.column_name(index) == Ok(name))
        };
        if let Some(known) = columns.iter().find(is_same) {
            return known.clone();
        }
        let new = Columns::from_iter(prepared.column_names());
        if new.iter().map(String::len).sum::<usize>() > LONGEST {
            return new;
        }
        if columns.len() < KEPT {
            columns.push(new.clone());
        } else {
            columns[*oldest] = new.clone();
            *oldest = (*oldest + 1) % KEPT;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn the_same_names_are_shared_and_others_told_as_they_are() {
        let conn = Connection::open_in_memory().unwrap();
        let known = KnownColumns::default();
        let of = |sql: &str| known.of(&conn.prepare(sql).unwrap());
        let first = of("SELECT 1 AS a, 2 AS b");
        let again = of("SELECT 3 AS a, 4 AS b");
        assert!(first.as_ptr() == again.as_ptr());
        assert_eq!(of("SELECT 1 AS b, 2 AS a"), ["b", "a"]);
        assert_eq!(of("SELECT 1 AS a"), ["a"]);
        assert!(of("CREATE TABLE t (x)").is_empty());
        // Many others take the place of the first, whose names stay as they were.
        for other in 0..2 * KEPT {
            assert_eq!(of(&format!("SELECT 1 AS c{other}")), [format!("c{other}")]);
        }
        let anew = of("SELECT 1 AS a, 2 AS b");
        assert!(anew == first && first.as_ptr() != anew.as_ptr());
        assert!(known.0.borrow().columns.len() <= KEPT);
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(of(&format!("SELECT 1 AS {long}")), [long.as_str()]);
        assert!(!known.0.borrow().columns.iter().any(|columns| **columns == [long.as_str()]));
    }
}
