//! Writes of every kind at once: transactions that somebody waits for, leases that are committed, rolled back or dropped,
//! and writes that nobody waits for, of which some fail and become dead letters. And the check that the file holds what was
//! told, and that what nobody was told of is there, or a dead letter, or counted as lost, and no two of these.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use actix_sqlite::{BeginLease, Database, IdempotencyKey, State, Statement, Transaction, WriteError, params};
use futures_util::future::join_all;

use crate::vfs::Turn;
use crate::workload::{LONGEST, Told, found, half, pair, told};

/// What is done with the write of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Waited,
    Leased,
    /// A lease that has a statement fail, and goes on.
    Stumbling,
    RolledBack,
    Dropped,
    Queued,
    /// Queued too, with a second half that is never good.
    Failing,
}

impl Kind {
    pub(crate) fn of(id: i64) -> Self {
        match id % 8 {
            1 => Self::Leased,
            2 => Self::Queued,
            3 => Self::Failing,
            5 => Self::Stumbling,
            6 if id % 16 == 6 => Self::RolledBack,
            6 => Self::Dropped,
            _ => Self::Waited,
        }
    }

    /// What is told of it while nothing fails.
    fn is_committed(self) -> bool {
        !matches!(self, Self::RolledBack | Self::Dropped)
    }
}

/// What was sent, and what is known of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// To whom waited for it, or could not bring it into the queue.
    pub(crate) told: BTreeMap<i64, Told>,
    /// What entered the queue, and since which length of the log of the VFS it is certain that it was settled.
    pub(crate) queued: BTreeMap<i64, Option<usize>>,
}

impl Sent {
    pub(crate) fn extend(&mut self, more: Self) {
        self.told.extend(more.told);
        self.queued.extend(more.queued);
    }

    /// Whether all is as it is while nothing fails.
    pub(crate) fn is_well(&self) -> bool {
        self.told.iter().all(|(id, told)| match told {
            Told::Committed(_) => Kind::of(*id).is_committed(),
            Told::NotExecuted => !Kind::of(*id).is_committed(),
            Told::Unknown => false,
        })
    }

    /// Waits until nothing is left to do for what nobody waits for. Only while nothing fails.
    pub(crate) async fn settle(&mut self, database: &Database) {
        database.flush().await.unwrap();
        let failing = self.queued.keys().filter(|id| Kind::of(**id) == Kind::Failing).count() as u64;
        let begun = Instant::now();
        while database.status().writer.buried < failing {
            assert!(begun.elapsed() < LONGEST, "a write that failed is not kept");
            actix_rt::time::sleep(Duration::from_micros(200)).await;
        }
        let now = Turn::log_len();
        for settled in self.queued.values_mut() {
            settled.get_or_insert(now);
        }
    }
}

/// Sends writes of these numbers all at once, each in its manner.
pub(crate) async fn send(
    database: &Database,
    ids: impl IntoIterator<Item = i64>,
    keyed: impl Fn(i64) -> bool,
) -> Sent {
    let one = |id: i64| {
        let key = keyed(id).then(|| IdempotencyKey::new(format!("write {id}")).unwrap());
        async move {
            let answer = actix_rt::time::timeout(LONGEST, one(database, id, key)).await;
            (id, answer.unwrap_or_else(|_| panic!("write {id} ({:?}) was not answered", Kind::of(id))))
        }
    };
    let mut sent = Sent::default();
    for (id, told) in join_all(ids.into_iter().map(one)).await {
        match told {
            Some(told) => drop(sent.told.insert(id, told)),
            None => drop(sent.queued.insert(id, None)),
        }
    }
    sent
}

/// None: it is in the queue.
async fn one(database: &Database, id: i64, key: Option<IdempotencyKey>) -> Option<Told> {
    let kind = Kind::of(id);
    let write = match kind {
        Kind::Failing => Transaction::new().then(half(id, 1)).then(broken_half(id)),
        _ => pair(id),
    };
    let write = Transaction { key, ..write };
    match kind {
        Kind::Waited => Some(told(database.transaction(write).await)),
        Kind::Queued | Kind::Failing => {
            database.enqueue(write).await.err().map(|error| told::<()>(Err(error)))
        }
        _ => Some(told(lease(database, id, kind).await)),
    }
}

/// The holder lets go of it as soon as anything fails that it did not expect.
async fn lease(database: &Database, id: i64, kind: Kind) -> Result<(), WriteError> {
    let mut lease = database.lease(BeginLease::new()).await?;
    lease.execute(half(id, 1)).await?;
    if kind == Kind::Stumbling {
        let error = lease.execute(broken_half(id)).await.unwrap_err();
        if error.code() != "constraint_violation" {
            return Err(error);
        }
    }
    lease.execute(half(id, 2)).await?;
    let let_go = Err(WriteError::Aborted("the holder let go of it".into()));
    match kind {
        Kind::RolledBack => {
            lease.rollback().await;
            let_go
        }
        Kind::Dropped => let_go,
        _ => lease.commit().await.map(drop),
    }
}

/// Comes to the table and not past its NOT NULL.
pub(crate) fn broken_half(id: i64) -> Statement {
    ("INSERT INTO pairs VALUES (?1, NULL, NULL)", params![id]).into()
}

/// How the file differs from what was told, and from what has to be of what nobody was told; nothing, if all is well.
/// `acknowledged` as for [`crate::workload::untruths`]. After a power loss nobody counts.
pub(crate) fn untruths(path: &Path, sent: &Sent, acknowledged: impl Fn(usize) -> bool) -> Vec<String> {
    let found = match found(path) {
        Ok(found) => found,
        Err(error) => return vec![format!("the file cannot be read: {error}")],
    };
    let mut untruths = found.untruths(&sent.told, &acknowledged);
    for (id, halves) in found.halves.iter().filter(|(id, _)| !Kind::of(**id).is_committed()) {
        untruths.push(format!("lease {id} was never committed, {halves} halves are there"));
    }
    for (id, settled) in &sent.queued {
        let halves = found.halves.get(id).copied().unwrap_or(0);
        let letters = found.letters.get(id).copied().unwrap_or(0);
        let fails = Kind::of(*id) == Kind::Failing;
        let is_settled = settled.is_some_and(&acknowledged);
        match (halves, letters) {
            (2, 0) if !fails => {}
            (0, 1) if fails || settled.is_none() => {}
            (0, 0) if !is_settled => {}
            _ => untruths.push(format!(
                "queued write {id} ({:?}, settled {settled:?}): {halves} halves and {letters} dead letters are there",
                Kind::of(*id)
            )),
        }
    }
    let is_known = |id: &&i64| sent.told.contains_key(id) || sent.queued.contains_key(id);
    let strays =
        found.halves.keys().filter(|id| !is_known(id)).map(|id| format!("write {id} was never sent"));
    untruths.extend(strays);
    let strays = found.letters.keys().filter(|id| !sent.queued.contains_key(id));
    untruths.extend(strays.map(|id| format!("write {id} is a dead letter, and somebody waited for it")));
    untruths
}

/// What came of the writes that nobody waited for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Came {
    pub(crate) committed: usize,
    pub(crate) letters: usize,
    pub(crate) lost: usize,
}

/// Counts what came of the queued writes of a database that is shut down, and what does not add up: each is there, is a
/// dead letter, or is counted as lost.
///
/// Where the database was given up with a COMMIT in doubt, what is counted as lost may be there after all.
pub(crate) fn account(path: &Path, sent: &Sent, database: &Database) -> (Came, Option<String>) {
    let Ok(found) = found(path) else { return (Came::default(), Some("the file cannot be read".into())) };
    let there = |id: &&i64| found.halves.contains_key(id);
    let status = database.status();
    let came = Came {
        committed: sent.queued.keys().filter(there).count(),
        letters: found.letters.values().sum(),
        lost: usize::try_from(status.writer.lost).unwrap(),
    };
    let (all, queued) = (came.committed + came.letters + came.lost, sent.queued.len());
    let adds_up =
        if status.state == State::Failed { all >= queued && came.lost <= queued } else { all == queued };
    (came, (!adds_up).then(|| format!("{queued} were queued, and {came:?}")))
}
