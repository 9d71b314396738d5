//! `/v1/message-logs`: what the relay forwarded where, one by one or as a file.

use std::pin::pin;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use futures_util::future::{Either, select};

use super::Daemon;
use super::accounts::created;
use super::body::Body;
use super::extract::{Id, JsonBody, refuse_unreadable};
use super::openapi::{BodyProblems, QueryProblems, RowProblems, WriteProblems};
use super::problem::{Fault, Problem};
use super::terms::{Queued, Taken, Terms, TermsHeaders};
use crate::error::Refusal;
use crate::relay::{
    AddMessageLog, Added, GetMessageLog, GetMessageLogs, Import, ImportReport, MessageLog, MessageLogPage,
};
use crate::{Database, RefusedBecause};

/// Finds a page of message logs, the latest first.
#[utoipa::path(
    operation_id = "list_message_logs",
    tag = "relay",
    params(GetMessageLogs),
    responses((status = OK, description = "The page.", body = MessageLogPage), QueryProblems)
)]
#[get("/v1/message-logs")]
pub(super) async fn list(
    daemon: web::Data<Daemon>,
    filter: web::Query<GetMessageLogs>,
) -> Result<web::Json<MessageLogPage>, Problem> {
    Ok(web::Json(daemon.database.get_message_logs(filter.into_inner()).await?))
}

/// Logs a message, unless it was logged for the same target already.
#[utoipa::path(
    operation_id = "add_message_log",
    tag = "relay",
    params(TermsHeaders),
    request_body = AddMessageLog,
    responses(
        (status = CREATED, description = "Logged.", body = Added),
        (status = OK, description = "It was there before; nothing is changed.", body = Added),
        Queued,
        BodyProblems,
        WriteProblems
    )
)]
#[post("/v1/message-logs")]
pub(super) async fn add(
    daemon: web::Data<Daemon>,
    terms: Terms,
    JsonBody(message): JsonBody<AddMessageLog>,
) -> Result<Taken<HttpResponse>, Problem> {
    Ok(daemon.write(message, terms).await?.answer(created))
}

/// Shows a message log.
#[utoipa::path(
    operation_id = "show_message_log",
    tag = "relay",
    params(("id" = i64, Path)),
    responses((status = OK, description = "The message log.", body = MessageLog), RowProblems, QueryProblems)
)]
#[get("/v1/message-logs/{id}")]
pub(super) async fn show(daemon: web::Data<Daemon>, id: Id) -> Result<web::Json<MessageLog>, Problem> {
    let id = id.into_inner();
    let found = daemon.database.get_message_log(GetMessageLog { id }).await?;
    Ok(web::Json(found.ok_or(Fault::NotFound { what: "message log", id })?))
}

/// Logs many messages: one JSON object a line, a body of any length.
///
/// Each line is taken or rejected by itself. A daemon that fails or stops on the way, or is sent nothing for a minute,
/// answers with a problem that has the counts so far in `import`; the same import again skips what is there.
#[utoipa::path(
    operation_id = "import_message_logs",
    tag = "relay",
    request_body(content = String, content_type = "application/x-ndjson",
        description = "One message log a line, as for `POST /v1/message-logs`."),
    responses((status = OK, description = "What became of the lines.", body = ImportReport), BodyProblems, WriteProblems)
)]
#[post("/v1/message-logs/import")]
pub(super) async fn import_lines(
    daemon: web::Data<Daemon>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<web::Json<ImportReport>, Problem> {
    refuse_unreadable(&request)?;
    let mut import = Import::new(daemon.database.clone(), daemon.max_line);
    match take(&mut import, Body::new(body, daemon.patience.import), &daemon.database).await {
        Ok(report) => Ok(web::Json(report)),
        Err(problem) => Err(problem.half_way(import.report().clone())),
    }
}

async fn take(
    import: &mut Import,
    mut body: Body<web::Payload>,
    database: &Database,
) -> Result<ImportReport, Problem> {
    // A sender that pauses is told of the end when it comes, and not when it sends on.
    let mut ended = pin!(database.ended());
    loop {
        let next = pin!(body.next());
        match select(next, ended.as_mut()).await {
            Either::Left((Ok(Some(bytes)), _)) => import.feed(&bytes).await?,
            Either::Left((Ok(None), _)) => return Ok(import.finish().await?),
            Either::Left((Err(fault), _)) => {
                // So that the counts are of all that came.
                import.finish().await?;
                return Err(fault.into());
            }
            Either::Right((failure, _)) => {
                import.finish().await?;
                let because = failure.map_or(RefusedBecause::ShuttingDown, |_| RefusedBecause::Failed);
                return Err(Refusal::new(because).into());
            }
        }
    }
}
