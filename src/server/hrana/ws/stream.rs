//! A stream over a WebSocket: what is asked of it is done in the order in which it was asked, beside all other streams.

use std::pin::pin;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::error::WireError;
use super::super::prepare::Task;
use super::super::proto::Version;
use super::super::result::{Entry, Response};
use crate::database::Session;
use crate::message::Step;

/// How many events of a session wait to be fetched, at most.
const EVENTS: usize = 256;

/// The most bytes of entries in one message, about; a client that wants more asks again.
const MAX_FETCHED: usize = 1 << 20;

/// What a stream is to do, and under which number that was asked.
pub(super) struct Job {
    pub(super) request_id: i32,
    pub(super) order: Order,
}

pub(super) enum Order {
    Open,
    Close,
    Task(Task),
    OpenCursor(Vec<Step>),
    FetchCursor { max_count: u32 },
    CloseCursor,
}

/// What came of a request.
pub(super) struct Answer {
    pub(super) request_id: i32,
    pub(super) result: Result<Response, WireError>,
}

/// Of one stream: its session, and where its answers go.
pub(super) struct Stream {
    pub(super) session: Session,
    pub(super) version: Version,
    pub(super) answers: mpsc::Sender<Answer>,
    /// Its place among all streams.
    pub(super) place: OwnedSemaphorePermit,
}

/// Why a cursor is over.
enum Over {
    Cursor { request_id: i32 },
    Stream { request_id: i32 },
    Connection,
}

impl Stream {
    /// Works until the stream is closed, or there is nobody any more who could ask.
    pub(super) async fn serve(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(Job { request_id, order }) = jobs.recv().await {
            let result = match order {
                Order::Open => Ok(Response::OpenStream),
                Order::Close => return self.close(request_id).await,
                Order::Task(task) => task.run(&mut self.session, self.version).await.map_err(WireError::from),
                Order::OpenCursor(steps) => {
                    self.answer(request_id, Ok(Response::OpenCursor)).await;
                    match self.cursor(steps, &mut jobs).await {
                        Over::Cursor { request_id } => {
                            self.answer(request_id, Ok(Response::CloseCursor)).await;
                        }
                        Over::Stream { request_id } => return self.close(request_id).await,
                        Over::Connection => return,
                    }
                    continue;
                }
                Order::FetchCursor { .. } | Order::CloseCursor => Err(no_cursor()),
            };
            self.answer(request_id, result).await;
        }
    }

    /// Its transaction is rolled back before that is answered.
    async fn close(self, request_id: i32) {
        let Self { session, answers, place, .. } = self;
        drop((session, place));
        // Nobody there: nobody asks any more.
        let _ = answers.send(Answer { request_id, result: Ok(Response::CloseStream) }).await;
    }

    async fn answer(&self, request_id: i32, result: Result<Response, WireError>) {
        let _ = self.answers.send(Answer { request_id, result }).await;
    }

    /// Runs a batch whose results are fetched piece by piece.
    async fn cursor(&mut self, steps: Vec<Step>, jobs: &mut mpsc::UnboundedReceiver<Job>) -> Over {
        let answers = self.answers.clone();
        let (tell, mut events) = mpsc::channel(EVENTS);
        let mut running = pin!(self.session.run_streamed(steps, tell));
        let mut is_running = true;
        let over = loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                () = &mut running, if is_running => {
                    is_running = false;
                    continue;
                }
            };
            let Some(Job { request_id, order }) = job else { return Over::Connection };
            let max_count = match order {
                Order::FetchCursor { max_count } => max_count,
                Order::Close => break Over::Stream { request_id },
                Order::CloseCursor => break Over::Cursor { request_id },
                Order::Open | Order::Task(_) | Order::OpenCursor(_) => {
                    let _ = answers.send(Answer { request_id, result: Err(cursor_open()) }).await;
                    continue;
                }
            };
            let (mut entries, mut size, mut done) = (Vec::new(), 0, false);
            while !done
                && entries.len() < usize::try_from(max_count).unwrap_or(usize::MAX)
                && size < MAX_FETCHED
            {
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => {
                            let entry = Entry::new(event, false);
                            size += entry.size();
                            entries.push(entry);
                        }
                        None => done = true,
                    },
                    () = &mut running, if is_running => is_running = false,
                }
            }
            let result = Ok(Response::FetchCursor { entries, done });
            let _ = answers.send(Answer { request_id, result }).await;
        };
        // It sees that nobody listens, and ends in good order: what is half done cannot be let go of.
        drop(events);
        if is_running {
            running.await;
        }
        over
    }
}

pub(super) fn no_cursor() -> WireError {
    WireError::new("CURSOR_NOT_OPEN", "the cursor is not open, or has failed to open")
}

pub(super) fn cursor_open() -> WireError {
    WireError::new("CURSOR_OPEN", "a cursor is open on this stream; close it before anything else is asked")
}
