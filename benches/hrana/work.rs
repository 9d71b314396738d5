//! The kinds of work, in the requests that `@libsql/client` sends for them, and what came of a part.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use actix_rt::time::sleep;
use futures_util::future::join_all;

use crate::client::{self, Client, Trouble};

const CONCURRENT: usize = 64;
const BATCH: usize = 100;
/// Rows there are to select from.
const ROWS: usize = 10_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Sequential,
    Concurrent,
    Batches,
    Interactive,
    PointSelects,
}

/// What came of a part: how many rows, transactions or answers in which time, and what failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    count: usize,
    seconds: f64,
    pub(crate) busy: usize,
    pub(crate) timed_out: usize,
    pub(crate) other: usize,
}

impl Done {
    pub(crate) fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let count = self.count as f64;
        if self.seconds > 0.0 { count / self.seconds } else { 0.0 }
    }

    fn note(&mut self, count: usize, outcome: Result<(), Trouble>) {
        match outcome {
            Ok(()) => self.count += count,
            Err(Trouble::Busy) => self.busy += 1,
            Err(Trouble::TimedOut) => self.timed_out += 1,
            Err(Trouble::Other) => self.other += 1,
        }
    }
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.seconds += other.seconds;
        self.busy += other.busy;
        self.timed_out += other.timed_out;
        self.other += other.other;
    }
}

impl Work {
    pub(crate) const ALL: [Self; 5] =
        [Self::Sequential, Self::Concurrent, Self::Batches, Self::Interactive, Self::PointSelects];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sequential => "inserts, one after the other",
            Self::Concurrent => "inserts, 64 at once",
            Self::Batches => "rows in batches of 100",
            Self::Interactive => "interactive transactions of 2 inserts",
            Self::PointSelects => "selects by key, 64 at once",
        }
    }

    /// How many times sqld's rate it shall be.
    pub(crate) fn goal(self) -> f64 {
        if matches!(self, Self::Concurrent) { 20.0 } else { 1.5 }
    }

    fn clients(self) -> usize {
        match self {
            Self::Sequential | Self::Batches | Self::Interactive => 1,
            Self::Concurrent | Self::PointSelects => CONCURRENT,
        }
    }

    pub(crate) async fn prepare(self, address: &str) {
        let mut client = Client::new(address);
        let create = execute("CREATE TABLE bench (a INTEGER PRIMARY KEY, b TEXT)", &[]);
        client.pipeline(None, &format!("{create},{CLOSE}")).await.expect("the table is created");
        if matches!(self, Self::PointSelects) {
            let fill = format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                 INSERT INTO bench SELECT i, 'row ' || i FROM n"
            );
            client
                .pipeline(None, &format!("{},{CLOSE}", execute(&fill, &[])))
                .await
                .expect("the table is filled");
        }
    }

    /// Works for that time, with as many clients as the work has.
    pub(crate) async fn run(self, address: &str, part: Duration) -> Done {
        let begun = Instant::now();
        let clients = (0..self.clients()).map(|number| {
            let mut client = Client::new(address);
            async move {
                let mut done = Done::default();
                let mut turn = number;
                while begun.elapsed() < part {
                    turn = turn.wrapping_mul(7919).wrapping_add(1);
                    let outcome = self.once(&mut client, turn % ROWS + 1).await;
                    let failed = outcome.is_err();
                    done.note(if matches!(self, Self::Batches) { BATCH } else { 1 }, outcome);
                    if failed {
                        // As a client would that is told to try again.
                        sleep(Duration::from_millis(5)).await;
                    }
                }
                done
            }
        });
        let mut all = Done::default();
        for done in join_all(clients).await {
            all += done;
        }
        all.seconds = begun.elapsed().as_secs_f64();
        all
    }

    /// What was acknowledged is there: a server that answers faster than it writes would be no comparison.
    pub(crate) async fn verify(self, address: &str, done: &Done) {
        let least = match self {
            Self::PointSelects => ROWS,
            Self::Interactive => 2 * done.count,
            Self::Sequential | Self::Concurrent | Self::Batches => done.count,
        };
        let sql =
            format!("SELECT CASE WHEN count(*) >= {least} THEN 'all there' ELSE count(*) END FROM bench");
        let mut client = Client::new(address);
        let answer = client.pipeline(None, &format!("{},{CLOSE}", execute(&sql, &[]))).await;
        let answer = answer.map(String::from_utf8_lossy);
        assert!(
            answer.as_ref().is_ok_and(|answer| answer.contains("all there")),
            "{least} were acknowledged: {answer:?}"
        );
    }

    async fn once(self, client: &mut Client, key: usize) -> Result<(), Trouble> {
        match self {
            Self::Sequential | Self::Concurrent => {
                client.pipeline(None, &format!("{},{CLOSE}", insert(key))).await?;
            }
            Self::Batches => {
                client.pipeline(None, &batch(key)).await?;
            }
            Self::Interactive => {
                let baton = client::baton(client.pipeline(None, &begin_and_insert(key)).await?);
                let baton = client::baton(client.pipeline(baton.as_deref(), &insert(key)).await?);
                let commit = execute("COMMIT", &[]);
                client.pipeline(baton.as_deref(), &format!("{commit},{CLOSE}")).await?;
            }
            Self::PointSelects => {
                let select = execute(
                    "SELECT b FROM bench WHERE a = ?",
                    &[format!("{{\"type\":\"integer\",\"value\":\"{key}\"}}")],
                );
                client.pipeline(None, &format!("{select},{CLOSE}")).await?;
            }
        }
        Ok(())
    }
}

const CLOSE: &str = "{\"type\":\"close\"}";
const INSERT: &str = "INSERT INTO bench (b) VALUES (?)";

fn execute(sql: &str, args: &[String]) -> String {
    let args = args.join(",");
    format!("{{\"type\":\"execute\",\"stmt\":{{\"sql\":\"{sql}\",\"args\":[{args}],\"want_rows\":true}}}}")
}

fn text(key: usize) -> String {
    format!("{{\"type\":\"text\",\"value\":\"a chat line of some length, number {key}\"}}")
}

fn insert(key: usize) -> String {
    execute(INSERT, &[text(key)])
}

/// The first request of an interactive transaction carries its beginning.
fn begin_and_insert(key: usize) -> String {
    let text = text(key);
    format!(
        "{{\"type\":\"batch\",\"batch\":{{\"steps\":[{{\"stmt\":{{\"sql\":\"BEGIN IMMEDIATE\",\"want_rows\":false}}}},\
         {{\"condition\":{{\"type\":\"ok\",\"step\":0}},\"stmt\":{{\"sql\":\"{INSERT}\",\"args\":[{text}],\"want_rows\":true}}}}]}}}}"
    )
}

/// A batch: the statement stored once, then used by each step on condition that the one before went well.
fn batch(key: usize) -> String {
    let step = |step: usize| {
        let text = text(key + step);
        format!(
            "{{\"condition\":{{\"type\":\"ok\",\"step\":{step}}},\"stmt\":{{\"sql_id\":1,\"args\":[{text}],\"want_rows\":true}}}}"
        )
    };
    let inserts = (0..BATCH).map(step).collect::<Vec<_>>().join(",");
    let steps = format!(
        "{{\"stmt\":{{\"sql\":\"BEGIN IMMEDIATE\",\"want_rows\":false}}}},{inserts},\
         {{\"condition\":{{\"type\":\"ok\",\"step\":{BATCH}}},\"stmt\":{{\"sql\":\"COMMIT\",\"want_rows\":false}}}},\
         {{\"condition\":{{\"type\":\"not\",\"cond\":{{\"type\":\"ok\",\"step\":{}}}}},\
         \"stmt\":{{\"sql\":\"ROLLBACK\",\"want_rows\":false}}}}",
        BATCH + 1
    );
    format!(
        "{{\"type\":\"store_sql\",\"sql_id\":1,\"sql\":\"{INSERT}\"}},\
         {{\"type\":\"batch\",\"batch\":{{\"steps\":[{steps}]}}}},{CLOSE}"
    )
}
