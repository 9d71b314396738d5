//! From what a client sent to what its session is asked: SQL texts are looked up, arguments and conditions put into the
//! engine's words, and what the client's version of the protocol does not have is refused.

use std::collections::{BTreeMap, HashMap};

use super::error::{ProtocolError, Refused, WireError};
use super::proto::{Batch, Cond, Stmt, Text, Version, Work};
use super::result::{BatchResult, DescribeResult, Response, StmtResult};
use crate::database::{Session, SessionError};
use crate::message::{Condition, Step};
use crate::settings::{self, HranaSettings};
use crate::{Params, Statement};

/// SQL texts that a client stored, so as to send each once.
#[derive(Debug, Default)]
pub(super) struct StoredSql {
    texts: HashMap<i32, String>,
    bytes: usize,
}

/// How many bytes of stored texts a batch may name, one text as often as it is named. Each step has a copy of its own, and
/// it takes a few bytes to name a long text.
const MAX_NAMED: usize = 8 << 20;

impl StoredSql {
    pub(super) fn store(&mut self, id: i32, sql: String, limits: &HranaSettings) -> Result<(), Refused> {
        let (most, most_bytes) = (limits.max_stored_sql.get(), settings::bytes(limits.max_stored_sql_size));
        if self.texts.contains_key(&id) {
            return Err(ProtocolError::SqlExists(id).into());
        }
        if self.texts.len() >= most {
            let message = format!("{most} SQL texts are stored already (server.hrana.max_stored_sql)");
            return Err(WireError::new("SQL_STORE_TOO_MANY", message).into());
        }
        if self.bytes + sql.len() > most_bytes {
            let message = format!(
                "the stored SQL texts would have more than {most_bytes} bytes (server.hrana.max_stored_sql_size)"
            );
            return Err(WireError::new("SQL_STORE_TOO_LARGE", message).into());
        }
        self.bytes += sql.len();
        self.texts.insert(id, sql);
        Ok(())
    }

    /// Whether or not there was one.
    pub(super) fn close(&mut self, id: i32) {
        if let Some(sql) = self.texts.remove(&id) {
            self.bytes -= sql.len();
        }
    }

    fn resolve(
        &self,
        sql: Option<String>,
        id: Option<i32>,
        version: Version,
    ) -> Result<String, ProtocolError> {
        if id.is_some() {
            version.needs(Version::Two, "`sql_id`")?;
        }
        match (sql, id) {
            (Some(sql), None) => Ok(sql),
            (None, Some(id)) => self.texts.get(&id).cloned().ok_or(ProtocolError::SqlNotFound(id)),
            (Some(_), Some(_)) => Err(ProtocolError::BothSqlAndId),
            (None, None) => Err(ProtocolError::NeitherSqlNorId),
        }
    }
}

impl Version {
    pub(super) fn needs(self, since: Self, what: &'static str) -> Result<(), ProtocolError> {
        if self >= since { Ok(()) } else { Err(ProtocolError::NotSupported { what, since }) }
    }
}

/// What a session is asked.
#[derive(Debug)]
pub(super) enum Task {
    Execute(Statement),
    /// Without its rows.
    ExecuteBlind(Statement),
    Program(Vec<Step>),
    Sequence(String),
    Describe(String),
    GetAutocommit,
}

impl Task {
    pub(super) fn new(work: Work, stored: &StoredSql, version: Version) -> Result<Self, Refused> {
        let text = |Text { sql, sql_id }, what| {
            version.needs(Version::Two, what)?;
            stored.resolve(sql, sql_id, version)
        };
        Ok(match work {
            Work::Execute(stmt) => {
                let wants_rows = stmt.want_rows.unwrap_or(true);
                let statement = statement(stmt, stored, version)?;
                if wants_rows { Self::Execute(statement) } else { Self::ExecuteBlind(statement) }
            }
            Work::Batch(batch) => Self::Program(program(batch, stored, version)?),
            Work::Sequence(sql) => Self::Sequence(text(sql, "`sequence`")?),
            Work::Describe(sql) => Self::Describe(text(sql, "`describe`")?),
            Work::GetAutocommit => {
                version.needs(Version::Three, "`get_autocommit`")?;
                Self::GetAutocommit
            }
        })
    }

    pub(super) async fn run(self, session: &mut Session, version: Version) -> Result<Response, SessionError> {
        let executed = |result| Response::Execute { result: StmtResult { result, version } };
        Ok(match self {
            Self::Execute(statement) => executed(session.execute(statement).await?),
            Self::ExecuteBlind(statement) => {
                let step = Step { statement, condition: None, wants_rows: false };
                let outcome = session.run(vec![step]).await.into_iter().next().flatten();
                executed(outcome.unwrap_or_else(|| Ok(<_>::default()))?)
            }
            Self::Program(steps) => {
                Response::Batch { result: BatchResult::new(session.run(steps).await, version) }
            }
            Self::Sequence(sql) => {
                session.sequence(sql).await?;
                Response::Sequence
            }
            Self::Describe(sql) => {
                Response::Describe { result: DescribeResult(session.describe(sql).await?) }
            }
            Self::GetAutocommit => Response::GetAutocommit { is_autocommit: session.is_autocommit() },
        })
    }
}

/// The statement that is meant.
pub(super) fn statement(stmt: Stmt, stored: &StoredSql, version: Version) -> Result<Statement, Refused> {
    let sql = stored.resolve(stmt.sql, stmt.sql_id, version)?;
    let params = match (stmt.args.is_empty(), stmt.named_args.is_empty()) {
        (_, true) => Params::Positional(stmt.args.into_iter().map(|value| value.0).collect()),
        (true, false) => {
            let named: BTreeMap<_, _> =
                stmt.named_args.into_iter().map(|arg| (arg.name, arg.value.0)).collect();
            Params::Named(named)
        }
        (false, false) => {
            let message = "arguments are given by position and by name; give all in one way";
            return Err(WireError::new("ARGS_BOTH_POSITIONAL_AND_NAMED", message).into());
        }
    };
    Ok(Statement { sql: sql.into(), params })
}

/// The steps of a batch.
pub(super) fn program(batch: Batch, stored: &StoredSql, version: Version) -> Result<Vec<Step>, Refused> {
    let mut named = 0_usize;
    let steps = batch.steps.into_iter().enumerate();
    steps
        .map(|(index, step)| {
            named += step.stmt.sql_id.map_or(0, |id| stored.texts.get(&id).map_or(0, String::len));
            if named > MAX_NAMED {
                let message =
                    format!("the stored SQL texts that the batch names have more than {MAX_NAMED} bytes");
                return Err(WireError::new("BATCH_TOO_LARGE", message).into());
            }
            let condition = step.condition.map(|cond| condition(cond, index, version)).transpose()?;
            let wants_rows = step.stmt.want_rows.unwrap_or(true);
            Ok(Step { statement: statement(step.stmt, stored, version)?, condition, wants_rows })
        })
        .collect()
}

/// The condition of the step at `index`.
fn condition(cond: Cond, index: usize, version: Version) -> Result<Condition, ProtocolError> {
    let place = |step: u32| {
        let place = usize::try_from(step).ok().filter(|place| *place < index);
        place.ok_or(ProtocolError::BadStep(step))
    };
    let all = |conds: Vec<Cond>| {
        conds.into_iter().map(|cond| condition(cond, index, version)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match cond {
        Cond::Ok { step } => Condition::Ok(place(step)?),
        Cond::Error { step } => Condition::Error(place(step)?),
        Cond::Not { cond } => Condition::Not(Box::new(condition(*cond, index, version)?)),
        Cond::And { conds } => Condition::And(all(conds)?),
        Cond::Or { conds } => Condition::Or(all(conds)?),
        Cond::IsAutocommit => {
            version.needs(Version::Three, "the condition `is_autocommit`")?;
            Condition::IsAutocommit
        }
    })
}
