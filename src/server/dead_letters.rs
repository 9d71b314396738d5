//! `/v1/dead-letters`: writes that nobody waited for and that failed, to be looked at, tried again or thrown away.

use actix_web::{get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{IntoParams, ToSchema};

use super::Daemon;
use super::extract::JsonBody;
use super::openapi::{AnyParams, BodyProblems, QueryProblems, WriteProblems};
use super::problem::Problem;
use crate::message::GetDeadLetterIds;
use crate::relay::from_seconds;
use crate::{
    Database, DeadLetter, ExpireDeadLetters, Expired, GetDeadLetters, ReadError, Retried, RetryDeadLetters,
    Statement,
};

/// A page of dead letters.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterPage {
    /// The dead letters, the oldest first.
    pub(crate) dead_letters: Vec<Letter>,
    /// `after_id` of the next page; none if this page is the last one.
    pub(crate) next_after_id: Option<i64>,
}

/// A write that nobody waited for, and that failed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Letter {
    /// Its number, by which it is retried or expired.
    pub(crate) id: i64,
    /// What it was to run, all or none.
    pub(crate) statements: Vec<LetterStatement>,
    /// Its idempotency key, if it had one; retried, it is under the same key.
    pub(crate) key: Option<String>,
    /// The stable code of its last error.
    pub(crate) code: String,
    /// What was wrong.
    pub(crate) message: String,
    /// When it failed last, RFC 3339 in UTC.
    pub(crate) failed_at: String,
    /// How often it was tried.
    pub(crate) attempts: u64,
}

/// A statement of a dead letter.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterStatement {
    /// Its text.
    pub(crate) sql: String,
    /// Only if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyParams>)]
    pub(crate) params: Option<Box<RawValue>>,
}

impl LetterStatement {
    fn new(statement: Statement, params: bool) -> Self {
        // Parameters are what JSON can say.
        let params = params.then(|| to_raw_value(&statement.params).ok()).flatten();
        Self { sql: statement.sql.into_owned(), params }
    }
}

impl Letter {
    fn new(letter: DeadLetter, params: bool) -> Self {
        let DeadLetter { id, statements, key, code, message, failed_at, attempts } = letter;
        let statements = statements.into_iter().map(|statement| LetterStatement::new(statement, params));
        let failed_at = from_seconds(failed_at);
        Self { id, statements: statements.collect(), key, code, message, failed_at, attempts }
    }
}

/// A page as it is shown.
///
/// # Errors
/// [`ReadError`] says why there is none.
pub(crate) async fn page(
    database: &Database,
    get: GetDeadLetters,
    params: bool,
) -> Result<LetterPage, ReadError> {
    let letters = database.dead_letters(get).await?;
    let mut next_after_id = letters.last().map(|letter| letter.id);
    if let Some(after_id) = next_after_id
        && database.ask(GetDeadLetterIds { limit: 1, after_id }).await?.is_empty()
    {
        next_after_id = None;
    }
    let dead_letters = letters.into_iter().map(|letter| Letter::new(letter, params)).collect();
    Ok(LetterPage { dead_letters, next_after_id })
}

/// Which dead letters, and how much of them.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// How many at most, 1 to 1000; 100 if not given.
    limit: Option<u32>,
    /// Only those with a higher id: where the last page ended.
    after_id: Option<i64>,
    /// With the parameters of their statements, which may hold secrets; only from a daemon that has a token.
    params: bool,
}

/// Lists dead letters, the oldest first.
#[utoipa::path(
    operation_id = "list_dead_letters",
    tag = "dead letters",
    params(Listing),
    responses((status = OK, description = "The page.", body = LetterPage), QueryProblems)
)]
#[get("/v1/dead-letters")]
pub(super) async fn list(
    daemon: web::Data<Daemon>,
    listing: web::Query<Listing>,
) -> Result<web::Json<LetterPage>, Problem> {
    let Listing { limit, after_id, params } = listing.into_inner();
    if params {
        daemon.auth.may_show_secrets()?;
    }
    let get = GetDeadLetters {
        limit: limit.unwrap_or(GetDeadLetters::LIMIT),
        after_id: after_id.unwrap_or_default(),
    };
    Ok(web::Json(page(&daemon.database, get, params).await?))
}

/// Tries dead letters again, each as a write of its own.
///
/// `{}` is for all. One that is committed is a dead letter no more; one that fails keeps its new error.
#[utoipa::path(
    operation_id = "retry_dead_letters",
    tag = "dead letters",
    request_body = RetryDeadLetters,
    responses((status = OK, description = "What became of them.", body = Retried), BodyProblems, WriteProblems)
)]
#[post("/v1/dead-letters/retry")]
pub(super) async fn retry(
    daemon: web::Data<Daemon>,
    JsonBody(retry): JsonBody<RetryDeadLetters>,
) -> Result<web::Json<Retried>, Problem> {
    Ok(web::Json(daemon.database.retry_dead_letters(retry).await?))
}

/// Throws dead letters away.
///
/// `{}` is for all.
#[utoipa::path(
    operation_id = "expire_dead_letters",
    tag = "dead letters",
    request_body = ExpireDeadLetters,
    responses((status = OK, description = "They are gone.", body = Expired), BodyProblems, WriteProblems)
)]
#[post("/v1/dead-letters/expire")]
pub(super) async fn expire(
    daemon: web::Data<Daemon>,
    JsonBody(expire): JsonBody<ExpireDeadLetters>,
) -> Result<web::Json<Expired>, Problem> {
    Ok(web::Json(daemon.database.expire_dead_letters(expire).await?))
}
