//! A connection: messages come in and are handed to their streams, answers go out as they come.
//!
//! All of it is one task, the streams among it: when the connection ends, by whatever end, they are dropped with it, and
//! their transactions rolled back. Who sends faster than is answered is not read from; who does not take the answers is
//! cut off after a while.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::time::{Duration, Instant};

use actix_web::web;
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;
use tokio::sync::mpsc;

use super::super::error::{ProtocolError, Refused, WireError};
use super::super::prepare::{self, StoredSql, Task};
use super::super::proto::{ClientMessage, Request, Version};
use super::super::result::Response;
use super::stream::{Answer, Job, Order, Stream, cursor_open, no_cursor};
use crate::database::Session;
use crate::server::Daemon;

/// How many requests may be under way; past that none is read.
const MAX_UNDER_WAY: usize = 256;
/// The longest message of a client that has not said who it is.
const MAX_BEFORE_HELLO: usize = 64 << 10;
/// How many answers wait until the one before is sent.
const ANSWERS: usize = 16;
/// How often a silent client is asked whether it is there; that it said `hello` is looked after as often.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Who says nothing for so long, and answers no ping either, is gone.
const GONE_AFTER: Duration = Duration::from_mins(1);
/// How long a client may keep an answer waiting.
const SEND_PATIENCE: Duration = Duration::from_secs(15);

/// A connection and what its client has open.
pub(super) struct Conn {
    daemon: web::Data<Daemon>,
    version: Version,
    session: actix_ws::Session,
    said_hello: bool,
    streams: HashMap<i32, Handle>,
    /// Each with its stream; none if it failed to open.
    cursors: HashMap<i32, Option<i32>>,
    stored: StoredSql,
    working: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    tell: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    under_way: usize,
    /// Bytes of the requests that are under way, by their numbers, and together: past `server.max_body` none is read.
    sizes: HashMap<i32, usize>,
    bytes: usize,
}

/// A stream as its connection knows it.
struct Handle {
    /// None if it failed to open.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    cursor: Option<i32>,
}

/// Why a connection is ended from here.
enum End {
    Protocol(ProtocolError),
    /// The client has been told, or has left.
    Silent,
    With(CloseCode, &'static str),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerMessage {
    HelloOk,
    HelloError { error: WireError },
    ResponseOk { request_id: i32, response: Response },
    ResponseError { request_id: i32, error: WireError },
}

impl Conn {
    pub(super) fn new(daemon: web::Data<Daemon>, version: Version, session: actix_ws::Session) -> Self {
        let (tell, answers) = mpsc::channel(ANSWERS);
        Self {
            daemon,
            version,
            session,
            said_hello: false,
            streams: HashMap::new(),
            cursors: HashMap::new(),
            stored: StoredSql::default(),
            working: FuturesUnordered::new(),
            tell,
            answers,
            under_way: 0,
            sizes: HashMap::new(),
            bytes: 0,
        }
    }

    /// Talks until one of both ends it.
    pub(super) async fn serve(mut self, messages: AggregatedMessageStream) {
        let end = self.talk(messages).await;
        // Before the client is told: it may count on it.
        self.working.clear();
        self.streams.clear();
        let reason = match end {
            End::Silent => None,
            End::With(code, reason) => Some(close_reason(code, reason)),
            End::Protocol(error) => {
                tracing::debug!(code = error.code(), "a client broke the protocol");
                Some(close_reason(close_code(&error), &error.to_string()))
            }
        };
        // Nobody there: then it is closed.
        let _ = tokio::time::timeout(SEND_PATIENCE, self.session.close(reason)).await;
    }

    async fn talk(&mut self, mut messages: AggregatedMessageStream) -> End {
        let mut closing = self.daemon.hrana.closing();
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.reset();
        let mut heard = Instant::now();
        let mut is_ending = false;
        loop {
            if is_ending && self.working.is_empty() && self.answers.is_empty() {
                return End::With(CloseCode::Away, "the daemon is shutting down");
            }
            let has_room = self.under_way < MAX_UNDER_WAY && self.bytes < self.daemon.max_body;
            let done = tokio::select! {
                message = messages.recv(), if !is_ending && has_room => {
                    heard = Instant::now();
                    self.hear(message).await
                }
                Some(answer) = self.answers.recv() => self.answer(answer).await,
                Some(()) = self.working.next() => Ok(()),
                _ = pings.tick() => self.look_after(heard).await,
                _ = closing.wait_for(|is_closing| *is_closing), if !is_ending => {
                    is_ending = true;
                    // What was asked is answered; nothing more is.
                    self.streams.clear();
                    Ok(())
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn look_after(&mut self, heard: Instant) -> Result<(), End> {
        if !self.said_hello {
            return Err(End::With(CloseCode::Policy, "no hello came"));
        }
        // Who is not read from cannot be heard.
        if self.under_way == 0 && heard.elapsed() > GONE_AFTER {
            return Err(End::Silent);
        }
        let ping = tokio::time::timeout(SEND_PATIENCE, self.session.ping(b"")).await;
        if matches!(ping, Ok(Ok(()))) { Ok(()) } else { Err(End::Silent) }
    }

    async fn hear(
        &mut self,
        message: Option<Result<AggregatedMessage, actix_ws::ProtocolError>>,
    ) -> Result<(), End> {
        match message {
            Some(Ok(AggregatedMessage::Text(text))) if !self.said_hello && text.len() > MAX_BEFORE_HELLO => {
                Err(End::With(CloseCode::Size, "a message as long as this is taken after hello only"))
            }
            Some(Ok(AggregatedMessage::Text(text))) => {
                let message = serde_json::from_str(&text)
                    .map_err(|error| ProtocolError::InvalidMessage(error.to_string()))?;
                self.handle(message, text.len()).await
            }
            Some(Ok(AggregatedMessage::Binary(_))) => Err(ProtocolError::BinaryMessage.into()),
            Some(Ok(AggregatedMessage::Ping(bytes))) => {
                let pong = tokio::time::timeout(SEND_PATIENCE, self.session.pong(&bytes)).await;
                if matches!(pong, Ok(Ok(()))) { Ok(()) } else { Err(End::Silent) }
            }
            Some(Ok(AggregatedMessage::Pong(_))) => Ok(()),
            Some(Ok(AggregatedMessage::Close(_))) | None => Err(End::Silent),
            Some(Err(actix_ws::ProtocolError::Overflow)) => {
                Err(End::With(CloseCode::Size, "the message is too long (server.max_body)"))
            }
            Some(Err(_)) => Err(End::With(CloseCode::Protocol, "this is no WebSocket frame")),
        }
    }

    async fn handle(&mut self, message: ClientMessage, size: usize) -> Result<(), End> {
        let (request_id, request) = match message {
            ClientMessage::Hello { jwt } => return self.hello(jwt.as_deref()).await,
            ClientMessage::Request { .. } if !self.said_hello => {
                return Err(ProtocolError::RequestBeforeHello.into());
            }
            ClientMessage::Request { request_id, request } => (request_id, request),
        };
        self.under_way += 1;
        self.bytes += size;
        *self.sizes.entry(request_id).or_default() += size;
        match self.request(request_id, request) {
            Ok(None) => Ok(()),
            Ok(Some(response)) => self.answer(Answer { request_id, result: Ok(response) }).await,
            Err(Refused::Request(error)) => self.answer(Answer { request_id, result: Err(error) }).await,
            Err(Refused::Protocol(error)) => Err(error.into()),
        }
    }

    async fn hello(&mut self, jwt: Option<&str>) -> Result<(), End> {
        if self.said_hello {
            self.version.needs(Version::Two, "a second `hello`")?;
        }
        if self.daemon.auth.knows(jwt) {
            self.said_hello = true;
            return self.send(&ServerMessage::HelloOk).await;
        }
        let error = WireError::new("UNAUTHORIZED", "send the daemon's admin token as `jwt` (authToken)");
        self.send(&ServerMessage::HelloError { error }).await?;
        Err(End::With(CloseCode::Policy, "the token is wrong"))
    }

    /// Hands a request to its stream; some can be answered at once.
    fn request(&mut self, request_id: i32, request: Request) -> Result<Option<Response>, Refused> {
        match request {
            Request::OpenStream { stream_id } => self.open_stream(request_id, stream_id).map(|()| None),
            Request::CloseStream { stream_id } => {
                let handle = self.streams.remove(&stream_id);
                let handle = handle.ok_or(ProtocolError::StreamNotFound(stream_id))?;
                if let Some(cursor) = handle.cursor {
                    self.cursors.remove(&cursor);
                }
                let Some(jobs) = handle.jobs else { return Ok(Some(Response::CloseStream)) };
                // It is there as long as its sender is.
                let _ = jobs.send(Job { request_id, order: Order::Close });
                Ok(None)
            }
            Request::Work { stream_id, work } => {
                let task = Task::new(work, &self.stored, self.version);
                let handle = self.stream(stream_id)?;
                if handle.cursor.is_some() {
                    return Err(cursor_open().into());
                }
                handle.give(request_id, stream_id, Order::Task(task?))
            }
            Request::StoreSql { sql_id, sql } => {
                self.version.needs(Version::Two, "`store_sql`")?;
                self.stored.store(sql_id, sql, &self.daemon.hrana.settings)?;
                Ok(Some(Response::StoreSql))
            }
            Request::CloseSql { sql_id } => {
                self.version.needs(Version::Two, "`close_sql`")?;
                self.stored.close(sql_id);
                Ok(Some(Response::CloseSql))
            }
            Request::OpenCursor { stream_id, cursor_id, batch } => {
                self.version.needs(Version::Three, "`open_cursor`")?;
                if self.cursors.contains_key(&cursor_id) {
                    return Err(ProtocolError::CursorExists(cursor_id).into());
                }
                let steps = prepare::program(batch, &self.stored, self.version);
                let handle = self.stream(stream_id)?;
                if handle.cursor.is_some() {
                    return Err(cursor_open().into());
                }
                let given =
                    steps.and_then(|steps| handle.give(request_id, stream_id, Order::OpenCursor(steps)));
                // Its number is taken whether it opens or not.
                handle.cursor = given.is_ok().then_some(cursor_id);
                self.cursors.insert(cursor_id, given.is_ok().then_some(stream_id));
                given
            }
            Request::FetchCursor { cursor_id, max_count } => {
                self.version.needs(Version::Three, "`fetch_cursor`")?;
                let stream_id = self.cursors.get(&cursor_id).copied();
                let stream_id = stream_id.ok_or(ProtocolError::CursorNotFound(cursor_id))?;
                let stream_id = stream_id.ok_or_else(no_cursor)?;
                self.stream(stream_id)?.give(request_id, stream_id, Order::FetchCursor { max_count })
            }
            Request::CloseCursor { cursor_id } => {
                self.version.needs(Version::Three, "`close_cursor`")?;
                let stream_id = self.cursors.remove(&cursor_id);
                let stream_id = stream_id.ok_or(ProtocolError::CursorNotFound(cursor_id))?;
                let Some(stream_id) = stream_id else { return Ok(Some(Response::CloseCursor)) };
                let handle = self.stream(stream_id)?;
                handle.cursor = None;
                handle.give(request_id, stream_id, Order::CloseCursor)
            }
        }
    }

    fn stream(&mut self, stream_id: i32) -> Result<&mut Handle, ProtocolError> {
        self.streams.get_mut(&stream_id).ok_or(ProtocolError::StreamNotFound(stream_id))
    }

    fn open_stream(&mut self, request_id: i32, stream_id: i32) -> Result<(), Refused> {
        let Slot::Vacant(slot) = self.streams.entry(stream_id) else {
            return Err(ProtocolError::StreamExists(stream_id).into());
        };
        let place = match self.daemon.hrana.streams.place() {
            Ok(place) => place,
            Err(error) => {
                slot.insert(Handle { jobs: None, cursor: None });
                return Err(WireError::from(error).into());
            }
        };
        let (jobs, orders) = mpsc::unbounded_channel();
        let stream = Stream {
            session: Session::new(self.daemon.database.clone()),
            version: self.version,
            answers: self.tell.clone(),
            place,
        };
        self.working.push(Box::pin(stream.serve(orders)));
        let handle = slot.insert(Handle { jobs: Some(jobs), cursor: None });
        handle.give(request_id, stream_id, Order::Open).map(drop)
    }

    async fn answer(&mut self, Answer { request_id, result }: Answer) -> Result<(), End> {
        self.under_way = self.under_way.saturating_sub(1);
        self.bytes -= self.sizes.remove(&request_id).unwrap_or(0);
        let message = match result {
            Ok(response) => ServerMessage::ResponseOk { request_id, response },
            Err(error) => ServerMessage::ResponseError { request_id, error },
        };
        self.send(&message).await
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), End> {
        // Nothing of it can fail: it is written into memory, and its keys are strings.
        let json = serde_json::to_string(message).map_err(|_| End::Silent)?;
        let sent = tokio::time::timeout(SEND_PATIENCE, self.session.text(json)).await;
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(End::Silent) }
    }
}

impl Handle {
    /// Hands an order to the stream, which will answer it.
    fn give(&self, request_id: i32, stream_id: i32, order: Order) -> Result<Option<Response>, Refused> {
        let failed = || {
            let message = format!("the stream {stream_id} has failed to open");
            Refused::from(WireError::new("STREAM_NOT_OPEN", message))
        };
        let jobs = self.jobs.as_ref().ok_or_else(failed)?;
        jobs.send(Job { request_id, order }).map_err(|_| failed())?;
        Ok(None)
    }
}

fn close_code(error: &ProtocolError) -> CloseCode {
    match error {
        ProtocolError::InvalidMessage(_) => CloseCode::Invalid,
        ProtocolError::BinaryMessage => CloseCode::Unsupported,
        _ => CloseCode::Policy,
    }
}

/// A reason is at most 123 bytes long (RFC 6455).
fn close_reason(code: CloseCode, reason: &str) -> CloseReason {
    let end = reason.floor_char_boundary(120);
    CloseReason { code, description: reason.get(..end).map(str::to_owned) }
}
