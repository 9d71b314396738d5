//! Hrana over HTTP: pipelines of requests on a stream in versions 2 and 3, a statement or a batch by itself in version 1.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, get, post, web};
use futures_util::stream;
use serde::Serialize;
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use super::error::{self, ProtocolError, Refused, WireError};
use super::prepare::{self, StoredSql, Task};
use super::proto::{BatchBody, CursorBody, PipelineBody, StmtBody, StreamRequest, Version, Work};
use super::result::{BatchResult, Entry, Response, StreamResult};
use super::streams::Held;
use crate::database::{Event, Session};
use crate::server::Daemon;
use crate::server::extract::{JsonBody, parse};
use crate::server::openapi::HranaProblems;
use crate::server::problem::Problem;
use crate::server::terms::Terms;
use crate::settings;

/// Whether version 2 of Hrana is spoken over HTTP.
#[utoipa::path(
    operation_id = "hrana_2", tag = "hrana",
    responses((status = OK, description = "It is.", body = String, content_type = "text/plain"), HranaProblems)
)]
#[get("/v2")]
pub(in crate::server) async fn version_2() -> &'static str {
    "Hrana 2 over HTTP\n"
}

/// Whether version 3 of Hrana is spoken over HTTP, as JSON.
#[utoipa::path(
    operation_id = "hrana_3", tag = "hrana",
    responses((status = OK, description = "It is.", body = String, content_type = "text/plain"), HranaProblems)
)]
#[get("/v3")]
pub(in crate::server) async fn version_3() -> &'static str {
    "Hrana 3 over HTTP\n"
}

/// Runs requests on a stream, in version 2.
#[utoipa::path(
    operation_id = "hrana_2_pipeline", tag = "hrana",
    request_body(content = Object, content_type = "application/json"),
    responses((status = OK, description = "One result a request, and the baton of the next pipeline.", body = Object), HranaProblems)
)]
#[post("/v2/pipeline")]
pub(in crate::server) async fn pipeline_2(
    daemon: web::Data<Daemon>,
    JsonBody(body): JsonBody<PipelineBody>,
) -> Result<HttpResponse, Problem> {
    pipeline(&daemon, body, Version::Two).await
}

/// Runs requests on a stream, in version 3.
#[utoipa::path(
    operation_id = "hrana_3_pipeline", tag = "hrana",
    request_body(content = Object, content_type = "application/json"),
    responses((status = OK, description = "One result a request, and the baton of the next pipeline.", body = Object), HranaProblems)
)]
#[post("/v3/pipeline")]
pub(in crate::server) async fn pipeline_3(
    daemon: web::Data<Daemon>,
    JsonBody(body): JsonBody<PipelineBody>,
) -> Result<HttpResponse, Problem> {
    pipeline(&daemon, body, Version::Three).await
}

/// Runs a batch on a stream and tells of it as it goes, a line an entry.
#[utoipa::path(
    operation_id = "hrana_3_cursor", tag = "hrana",
    request_body(content = Object, content_type = "application/json"),
    responses((status = OK, description = "The baton of the next request, then entries, a line each.", body = String, content_type = "application/x-ndjson"), HranaProblems)
)]
#[post("/v3/cursor")]
pub(in crate::server) async fn cursor_3(
    daemon: web::Data<Daemon>,
    request: HttpRequest,
    JsonBody(body): JsonBody<CursorBody>,
) -> Result<HttpResponse, Problem> {
    let mut held = hold(&daemon, body.baton.as_deref(), true).await?;
    let (session_events, events) = mpsc::channel(EVENTS);
    let (_, stored) = held.open_stream()?;
    let steps = match prepare::program(body.batch, stored, Version::Three) {
        Ok(steps) => steps,
        Err(Refused::Protocol(error)) => return Err(error.into()),
        Err(Refused::Request(error)) => {
            let head = line(&CursorHead { baton: held.give_back(), base_url: None });
            let body = [head, line(&Entry::failed(error))].concat();
            return Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, NDJSON)).body(body));
        }
    };
    let head = CursorHead { baton: held.announce(), base_url: None };
    // On its own, so that the stream outlasts a client that does not read to the end.
    actix_rt::spawn(async move {
        if let Ok((session, _)) = held.open_stream() {
            session.run_streamed(steps, session_events).await;
        }
        held.give_back();
    });
    Ok(entries(head, events, reads_numbers(&request)))
}

/// Runs a batch by itself, in version 1.
#[utoipa::path(
    operation_id = "hrana_1_batch", tag = "hrana",
    request_body(content = Object, content_type = "application/json"),
    responses((status = OK, description = "What became of each step.", body = Object), HranaProblems)
)]
#[post("/v1/batch")]
pub(in crate::server) async fn batch_1(
    daemon: web::Data<Daemon>,
    JsonBody(body): JsonBody<BatchBody>,
) -> Result<HttpResponse, Problem> {
    let steps = match prepare::program(body.batch, &StoredSql::default(), Version::One) {
        Ok(steps) => steps,
        Err(refused) => return Ok(alone(refused)),
    };
    let outcomes = Session::new(daemon.database.clone()).run(steps).await;
    Ok(HttpResponse::Ok().json(Alone { result: BatchResult::new(outcomes, Version::One) }))
}

/// Whether the body of `/v1/execute` is one of Hrana.
pub(in crate::server) fn is_execute(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Probe {
        #[allow(dead_code, reason = "only whether it is there")]
        stmt: IgnoredAny,
    }
    parse::<Probe>(body).is_ok()
}

/// Runs a statement by itself, in version 1.
pub(in crate::server) async fn execute(
    daemon: &Daemon,
    terms: &Terms,
    body: &[u8],
) -> Result<HttpResponse, Problem> {
    if terms.has_key() {
        return Err(ProtocolError::KeyNotSupported("a body that has `sql`").into());
    }
    let StmtBody { stmt } = parse(body)?;
    let task = match Task::new(Work::Execute(stmt), &StoredSql::default(), Version::One) {
        Ok(task) => task,
        Err(refused) => return Ok(alone(refused)),
    };
    match task.run(&mut Session::new(daemon.database.clone()), Version::One).await {
        Ok(Response::Execute { result }) => Ok(HttpResponse::Ok().json(Alone { result })),
        Ok(_) => Ok(HttpResponse::Ok().finish()),
        Err(error) => Ok(HttpResponse::build(error::status(&error)).json(WireError::from(error))),
    }
}

/// The answer to a request that is no part of a pipeline, and is not done.
fn alone(refused: Refused) -> HttpResponse {
    match refused {
        Refused::Protocol(error) => Problem::from(error).error_response(),
        Refused::Request(error) => HttpResponse::BadRequest().json(error),
    }
}

/// The answer in version 1.
#[derive(Serialize)]
struct Alone<R> {
    result: R,
}

async fn hold(daemon: &Daemon, baton: Option<&str>, lasts: bool) -> Result<Held, ProtocolError> {
    match baton {
        Some(baton) => daemon.hrana.streams.take(baton).await,
        None => daemon.hrana.streams.open(&daemon.database, lasts),
    }
}

async fn pipeline(daemon: &Daemon, body: PipelineBody, version: Version) -> Result<HttpResponse, Problem> {
    let PipelineBody { baton, requests } = body;
    let closed_at = requests.iter().position(|request| matches!(request, StreamRequest::Close));
    if closed_at.is_some_and(|place| place + 1 < requests.len()) {
        return Err(ProtocolError::StreamClosed.into());
    }
    let mut held = hold(daemon, baton.as_deref(), closed_at.is_none()).await?;
    let mut results = Results::new(settings::bytes(daemon.hrana.settings.max_response_size));
    for request in requests {
        let result = match answer(&mut held, request, version, daemon, results.is_full()).await {
            Ok(response) => StreamResult::Ok { response },
            Err(Refused::Request(error)) => StreamResult::Error { error },
            Err(Refused::Protocol(error)) => return Err(error.into()),
        };
        results.push(&result);
    }
    Ok(results.finish(held.give_back().as_deref()))
}

async fn answer(
    held: &mut Held,
    request: StreamRequest,
    version: Version,
    daemon: &Daemon,
    is_full: bool,
) -> Result<Response, Refused> {
    let (session, stored) = held.open_stream()?;
    match request {
        StreamRequest::Work(_) if is_full => {
            let message =
                "not executed: what was asked before fills the answer (server.hrana.max_response_size)";
            Err(WireError::new("RESPONSE_TOO_LARGE", message).into())
        }
        StreamRequest::Work(work) => {
            let task = Task::new(work, stored, version)?;
            Ok(task.run(session, version).await.map_err(WireError::from)?)
        }
        StreamRequest::StoreSql { sql_id, sql } => {
            stored.store(sql_id, sql, &daemon.hrana.settings)?;
            Ok(Response::StoreSql)
        }
        StreamRequest::CloseSql { sql_id } => {
            stored.close(sql_id);
            Ok(Response::CloseSql)
        }
        StreamRequest::Close => {
            held.close();
            Ok(Response::Close)
        }
    }
}

/// The results of a pipeline, written as they come: what was read is not held twice.
struct Results {
    json: Vec<u8>,
    limit: usize,
}

impl Results {
    const BEGIN: &[u8] = b"{\"results\":[";

    fn new(limit: usize) -> Self {
        Self { json: Self::BEGIN.to_vec(), limit }
    }

    fn is_full(&self) -> bool {
        self.json.len() >= self.limit
    }

    fn push(&mut self, result: &StreamResult) {
        if self.json.len() > Self::BEGIN.len() {
            self.json.push(b',');
        }
        write(&mut self.json, result);
    }

    fn finish(mut self, baton: Option<&str>) -> HttpResponse {
        self.json.extend_from_slice(b"],\"base_url\":null,\"baton\":");
        write(&mut self.json, &baton);
        self.json.push(b'}');
        HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(self.json)
    }
}

/// Nothing that is written here can fail: it goes into memory, and its keys are strings.
fn write(json: &mut Vec<u8>, value: &impl Serialize) {
    if let Err(error) = serde_json::to_writer(json, value) {
        tracing::error!(%error, "an answer could not be written");
    }
}

const NDJSON: &str = "application/x-ndjson";

/// How many events of a session wait for its client, at most.
const EVENTS: usize = 256;

#[derive(Serialize)]
struct CursorHead {
    baton: Option<String>,
    base_url: Option<String>,
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::new();
    write(&mut line, value);
    line.push(b'\n');
    line
}

/// The client in Rust (and what is built on it) tells its version so, and reads row ids in entries as numbers.
fn reads_numbers(request: &HttpRequest) -> bool {
    let version = request.headers().get("x-libsql-client-version").and_then(|version| version.to_str().ok());
    let of_libsql = version.and_then(|version| version.strip_prefix("libsql-remote-"));
    of_libsql.is_some_and(|version| !version.starts_with("ts-"))
}

/// The first line and the entries, as they come.
fn entries(head: CursorHead, events: mpsc::Receiver<Event>, numbers: bool) -> HttpResponse {
    let begin = (Some(head), events);
    let body = stream::unfold(begin, move |(head, mut events)| async move {
        if let Some(head) = head {
            return Some((Ok::<_, std::io::Error>(web::Bytes::from(line(&head))), (None, events)));
        }
        let mut some = Vec::new();
        if events.recv_many(&mut some, EVENTS).await == 0 {
            return None;
        }
        let mut json = Vec::new();
        for event in some {
            write(&mut json, &Entry::new(event, numbers));
            json.push(b'\n');
        }
        Some((Ok(web::Bytes::from(json)), (None, events)))
    });
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, NDJSON)).streaming(body)
}
