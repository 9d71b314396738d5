//! Callers that write, and remember what they were told; afterwards the file has to agree with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix_sqlite::{Database, Execute, Outcome, Query};

use crate::harness::{Place, all, integers};

pub(crate) const TABLE: &str = "CREATE TABLE t (seq INTEGER PRIMARY KEY, caller INTEGER, n INTEGER)";

/// What one caller was told, by the number of the write.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) acknowledged: Vec<i64>,
    pub(crate) failed: BTreeMap<i64, &'static str>,
    /// When answers came.
    pub(crate) answers: Vec<Instant>,
}

pub(crate) fn insert(caller: i64, n: i64) -> Execute {
    Execute::new("INSERT INTO t (caller, n) VALUES (?1, ?2) RETURNING caller, n").params([caller, n])
}

/// Sends so many writes at once, again and again until told to stop; after each round reads its own last write.
pub(crate) async fn call(
    database: Database,
    caller: i64,
    at_once: i64,
    mut more: impl FnMut(i64) -> bool,
) -> Told {
    let mut told = Told::default();
    let mut last_commit = None;
    for round in 0.. {
        if !more(round) {
            break;
        }
        let numbers = round * at_once..(round + 1) * at_once;
        let results = all(&database, numbers.clone().map(|n| insert(caller, n))).await;
        told.answers.push(Instant::now());
        for (n, result) in numbers.zip(results) {
            match result {
                Ok(receipt) => {
                    assert_eq!(receipt.rows, [[caller.into(), n.into()]], "somebody else's receipt");
                    assert!(last_commit <= Some(receipt.commit), "commits are in order");
                    last_commit = Some(receipt.commit);
                    told.acknowledged.push(n);
                }
                Err(error) => {
                    assert_eq!(error.outcome(), Outcome::NotExecuted, "{error}");
                    assert!(told.failed.insert(n, error.code()).is_none());
                }
            }
        }
        let seen = Query::new("SELECT coalesce(max(n), -1) FROM t WHERE caller = ?1").params([caller]);
        if let Ok(seen) = database.query_as::<i64>(seen).await {
            assert_eq!(seen[0], told.acknowledged.last().copied().unwrap_or(-1), "a read after the answer");
        }
    }
    told
}

/// Each acknowledged write is there once and in its order, and nothing else is.
pub(crate) async fn assert_file_agrees(place: &Place, database: &Database, callers: &[Told]) {
    for (caller, told) in (0..).zip(callers) {
        let query = Query::new("SELECT n FROM t WHERE caller = ?1 ORDER BY seq").params([caller]);
        assert_eq!(integers(database, query).await, told.acknowledged, "caller {caller}");
    }
    let acknowledged: usize = callers.iter().map(|told| told.acknowledged.len()).sum();
    let stored = integers(database, "SELECT count(*) FROM t").await;
    assert_eq!(stored, [i64::try_from(acknowledged).unwrap()]);
    place.assert_sound();
}

/// The longest time in which nobody was answered.
pub(crate) fn longest_silence(callers: &[Told]) -> Duration {
    let mut answers: Vec<Instant> = callers.iter().flat_map(|told| told.answers.iter().copied()).collect();
    answers.sort();
    answers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
