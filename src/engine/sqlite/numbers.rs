//! The numbers of COMMITs. To store each of them would be a page more in the log, every time. So the file tells only that no
//! COMMIT in it has a higher number than the one reserved there, and this process knows which was the last; after a
//! restart the numbers that were reserved and not used are missing. The first COMMIT reserves its own and no more: a
//! process that commits once, such as a command, leaves no gap.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use rusqlite::Connection;

use super::authorizer::Trusted;
use super::own::{self, own};
use crate::message::CommitSeq;

/// As many are reserved at once as were used before, up to this: then one COMMIT in so many has the page more.
const AT_ONCE: u64 = 1000;

/// The last COMMIT in the file, once a connection of this process has looked.
pub(super) type Known = Arc<OnceLock<AtomicU64>>;

pub(super) struct Numbers {
    known: Known,
    reserved: u64,
    /// By this connection.
    used: u64,
}

impl Numbers {
    pub(super) fn read(conn: &Connection, known: Known) -> rusqlite::Result<Self> {
        let _trusted = Trusted::begin();
        let stored: i64 = conn.query_row("SELECT seq FROM _actix_sqlite_commit", [], |row| row.get(0))?;
        let reserved = stored.unsigned_abs();
        known.get_or_init(|| AtomicU64::new(reserved));
        Ok(Self { known, reserved, used: 0 })
    }

    fn known(&self) -> &AtomicU64 {
        self.known.get_or_init(|| AtomicU64::new(self.reserved))
    }

    pub(super) fn last(&self) -> CommitSeq {
        CommitSeq(self.known().load(Relaxed))
    }

    /// That of the COMMIT that is next.
    pub(super) fn next(&self) -> CommitSeq {
        CommitSeq(self.last().0 + 1)
    }

    /// To be called before a COMMIT, in its transaction. Which one is then reserved.
    pub(super) fn reserve(&self, conn: &Connection, trusted: &Trusted) -> rusqlite::Result<u64> {
        let next = self.next().0;
        if next <= self.reserved {
            return Ok(self.reserved);
        }
        let reserved = next + self.used.min(AT_ONCE - 1);
        let seq = i64::try_from(reserved).unwrap_or(i64::MAX);
        own::prepare(conn, own!("UPDATE _actix_sqlite_commit SET seq = ?1"), trusted)?.execute([seq])?;
        Ok(reserved)
    }

    /// The next one is in the file, and what was reserved in it.
    pub(super) fn committed(&mut self, reserved: u64) {
        self.reserved = reserved;
        self.used += 1;
        self.known().store(self.next().0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::sqlite::SqliteEngine;
    use crate::engine::{Engine, Outcomes, WriteEngine};
    use crate::message::Transaction;
    use crate::message::WriteRequest;
    use crate::settings::Settings;
    use crate::stats::Stats;

    fn engine(path: &Path) -> SqliteEngine {
        let mut settings = Settings::for_file(path);
        // The log is as long as what was written to it.
        settings.database.checkpoint = false;
        SqliteEngine::new(settings, Vec::new(), None, Arc::new(Stats::new())).unwrap()
    }

    /// The numbers of the COMMITs of so many batches.
    fn commits(writer: &mut dyn WriteEngine, sql: &'static str, batches: usize) -> Vec<u64> {
        let commit = |_| {
            let mut outcomes = Outcomes::default();
            let write = [WriteRequest::from(Transaction::new().then(sql))];
            writer.commit(&mut &write[..], &mut outcomes).unwrap();
            let committed = outcomes.settled.remove(0).unwrap().unwrap();
            assert_eq!(writer.last_commit(), committed.commit);
            committed.commit.0
        };
        (0..batches).map(commit).collect()
    }

    fn reserved(path: &Path) -> u64 {
        let conn = Connection::open(path).unwrap();
        let seq: i64 = conn.query_row("SELECT seq FROM _actix_sqlite_commit", [], |row| row.get(0)).unwrap();
        seq.unsigned_abs()
    }

    #[test]
    fn numbers_go_on_without_a_gap_in_a_process_and_above_all_that_were_used_in_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let (mut last, insert) = (0, "INSERT INTO t VALUES (1)");
        for process in 0..3 {
            let engine = engine(&path);
            let mut writer = engine.open_writer().unwrap();
            let first = commits(writer.as_mut(), "CREATE TABLE IF NOT EXISTS t (x)", 1)[0];
            assert!(first > last, "{first} after {last}");
            assert!(process > 0 || first == 1);
            last = first;
            for batches in [10, 2500, 1] {
                let numbers = commits(writer.as_mut(), insert, batches);
                assert!(numbers.iter().copied().eq(last + 1..=last + numbers.len() as u64));
                last += numbers.len() as u64;
                let reserved = reserved(&path);
                assert!((last..last + AT_ONCE).contains(&reserved), "{reserved} at {last}");
                // As after a failure.
                writer = engine.open_writer().unwrap();
                assert_eq!(writer.last_commit().0, last);
            }
        }
    }

    #[test]
    fn processes_that_commit_once_leave_no_gap() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        for process in 1..5 {
            let sql = "CREATE TABLE IF NOT EXISTS t (x)";
            assert_eq!(commits(engine(&path).open_writer().unwrap().as_mut(), sql, 1), [process]);
        }
    }

    #[test]
    fn a_commit_of_one_page_is_one_page_of_the_log() {
        const PAGE_WITH_HEADER: u64 = 4096 + 24;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let engine = engine(&path);
        let mut writer = engine.open_writer().unwrap();
        commits(writer.as_mut(), "CREATE TABLE t (x)", 1);
        commits(writer.as_mut(), "INSERT INTO t VALUES (0)", 1);
        // The COMMITs that store a number are few by then.
        let update = "UPDATE t SET x = x + 1";
        commits(writer.as_mut(), update, 1200);
        let size = || std::fs::metadata(directory.path().join("a.db-wal")).unwrap().len();
        let before = size();
        commits(writer.as_mut(), update, 500);
        assert_eq!(size() - before, 500 * PAGE_WITH_HEADER);
    }
}
