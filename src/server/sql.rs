//! SQL over HTTP: `/v1/execute`, `/v1/transaction`, `/v1/query`.

use std::num::NonZeroU64;
use std::time::Duration;

use actix_web::{Either, HttpResponse, post, web};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Daemon;
use super::extract::{BodyBytes, Format, JsonBody, parse};
use super::hrana;
use super::openapi::{AnyParams, BodyProblems, QueryProblems, WriteProblems};
use super::problem::{Fault, Problem};
use super::rows;
use super::terms::{Queued, Taken, Terms, TermsHeaders};
use crate::{
    CommitSeq, Execute, Lane, Params, Query, Receipt, Rows, Statement, Transaction, TransactionReceipt,
};

/// One statement to be committed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecuteBody {
    /// Exactly one statement; DDL and RETURNING too.
    #[schema(example = "INSERT INTO notes (text) VALUES (?1) RETURNING id")]
    sql: String,
    /// Raw, because an integer must keep its digits.
    #[schema(value_type = Option<AnyParams>)]
    params: Option<Box<RawValue>>,
    /// How long it may wait for its turn, in milliseconds; past that it is not executed.
    #[schema(value_type = Option<u64>, minimum = 1)]
    timeout_ms: Option<NonZeroU64>,
}

/// Statements to be committed all or none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransactionBody {
    /// At least one.
    #[schema(min_items = 1)]
    statements: Vec<StatementBody>,
    /// How long they may wait for their turn, in milliseconds; past that they are not executed.
    #[schema(value_type = Option<u64>, minimum = 1)]
    timeout_ms: Option<NonZeroU64>,
}

/// A statement of a transaction.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementBody {
    /// Exactly one statement.
    #[schema(example = "UPDATE notes SET text = :text WHERE id = :id")]
    sql: String,
    /// Raw, because an integer must keep its digits.
    #[schema(value_type = Option<AnyParams>)]
    params: Option<Box<RawValue>>,
}

/// One statement that reads.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryBody {
    /// Exactly one statement that writes nothing.
    #[schema(example = "SELECT id, text FROM notes WHERE id > ?1")]
    sql: String,
    /// Raw, because an integer must keep its digits.
    #[schema(value_type = Option<AnyParams>)]
    params: Option<Box<RawValue>>,
    /// Wait until this commit can be seen.
    #[schema(value_type = Option<u64>)]
    min_commit: Option<CommitSeq>,
    /// How long it may take, in milliseconds; shortens the daemon's limit, never lengthens it.
    #[schema(value_type = Option<u64>, minimum = 1)]
    timeout_ms: Option<NonZeroU64>,
}

fn statement(sql: String, params: Option<&RawValue>) -> Result<Statement, Fault> {
    let params = params.map_or_else(|| Ok(Params::none()), |params| Params::from_json(params.get()));
    Ok(Statement::new(sql).params(params.map_err(|error| Fault::InvalidParams(error.to_string()))?))
}

fn timeout(milliseconds: Option<NonZeroU64>) -> Option<Duration> {
    milliseconds.map(|milliseconds| Duration::from_millis(milliseconds.get()))
}

/// Commits one statement and answers with its receipt.
///
/// A body that has `stmt` in place of `sql` is one of Hrana 1, and is answered so.
#[utoipa::path(
    operation_id = "execute",
    tag = "sql",
    params(TermsHeaders),
    request_body = ExecuteBody,
    responses((status = OK, description = "Committed.", body = Receipt), Queued, BodyProblems, WriteProblems)
)]
#[post("/v1/execute")]
pub(super) async fn execute(
    daemon: web::Data<Daemon>,
    terms: Terms,
    BodyBytes(bytes): BodyBytes,
) -> Result<Either<Taken<web::Json<Receipt>>, HttpResponse>, Problem> {
    let body = match parse::<ExecuteBody>(&bytes) {
        Ok(body) => body,
        // Version 1 of Hrana has a route of this name.
        Err(_) if hrana::is_execute(&bytes) => {
            return hrana::execute(&daemon, &terms, &bytes)
                .await
                .map(Either::Right)
                .map_err(Problem::in_hrana);
        }
        Err(fault) => return Err(fault.into()),
    };
    let statement = statement(body.sql, body.params.as_deref())?;
    let write = Execute { statement, timeout: timeout(body.timeout_ms), key: None, lane: Lane::Interactive };
    Ok(Either::Left(daemon.write(write, terms).await?.answer(web::Json)))
}

/// Commits several statements, all or none.
#[utoipa::path(
    operation_id = "transaction",
    tag = "sql",
    params(TermsHeaders),
    request_body = TransactionBody,
    responses(
        (status = OK, description = "Committed.", body = TransactionReceipt),
        Queued,
        BodyProblems,
        WriteProblems
    )
)]
#[post("/v1/transaction")]
pub(super) async fn transaction(
    daemon: web::Data<Daemon>,
    terms: Terms,
    JsonBody(body): JsonBody<TransactionBody>,
) -> Result<Taken<web::Json<TransactionReceipt>>, Problem> {
    if body.statements.is_empty() {
        return Err(Fault::InvalidRequest("statements is empty; give at least one".into()).into());
    }
    let numbered = body.statements.into_iter().enumerate().map(|(index, body)| {
        statement(body.sql, body.params.as_deref())
            .map_err(|fault| Fault::InvalidParams(format!("statement {}: {fault}", index + 1)))
    });
    let statements = numbered.collect::<Result<_, _>>()?;
    let write =
        Transaction { statements, timeout: timeout(body.timeout_ms), key: None, lane: Lane::Interactive };
    Ok(daemon.write(write, terms).await?.answer(web::Json))
}

/// Runs one statement that reads.
///
/// As JSON a result is held in memory and limited in rows and bytes. As NDJSON (`Accept: application/x-ndjson`, one object
/// a line; column names must differ) or CSV (`Accept: text/csv`, with a header line; NULL is an empty field, a blob is
/// base64) it is streamed, however long it is. A streamed result that fails on the way breaks off before the end of its
/// chunked body.
#[utoipa::path(
    operation_id = "query",
    tag = "sql",
    request_body = QueryBody,
    responses(
        (status = OK, description = "The rows.", content(
            (Rows = "application/json"),
            (String = "application/x-ndjson", example = json!("{\"id\":1,\"text\":\"hello\"}\n")),
            (String = "text/csv", example = json!("id,text\r\n1,hello\r\n")),
        )),
        BodyProblems,
        QueryProblems
    )
)]
#[post("/v1/query")]
pub(super) async fn query(
    daemon: web::Data<Daemon>,
    format: Format,
    JsonBody(body): JsonBody<QueryBody>,
) -> Result<HttpResponse, Problem> {
    let mut query = Query::new(statement(body.sql, body.params.as_deref())?);
    query.timeout = timeout(body.timeout_ms);
    query.min_commit = body.min_commit;
    let Format::Streamed(layout) = format else {
        return Ok(HttpResponse::Ok().json(daemon.database.query(query).await?));
    };
    let found = daemon.database.query_stream(query).await?;
    rows::answer(found, layout).await
}
