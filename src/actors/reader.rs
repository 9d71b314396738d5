//! `ReaderActor`: one of a pool, each on a thread of its own with a read-only connection. It wakes when there is a query
//! in the queue that all of them share. Its one message is `Serve`; the handler runs until the queue is closed or
//! something fails. A query that was in hand then goes back to the queue once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, Handler, MessageResult, SyncArbiter, SyncContext};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::look::Look;
use super::shared::Shared;
use super::ticket::{Chunk, Held, ReadReply, ReadTicket};
use super::{Exit, Serve};
use crate::engine::{Engine, ReadEngine, RowSink, Until};
use crate::error::{ReadError, StatementError, StatementErrorKind as Kind};
use crate::message::{Column, Columns, Description, Rows, StepResult, Value, panic_message};
use crate::policy::RefusedBecause;
use crate::queue::{ONE, Queued, Woken};
use crate::settings::{self, ReadersSettings};
use crate::stats;

pub(crate) struct ReaderActor {
    shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    limits: Limits,
    in_hand: Option<ReadTicket>,
}

#[derive(Clone, Copy)]
struct Limits {
    rows: usize,
    bytes: usize,
    stall: Duration,
}

impl ReaderActor {
    /// Starts the threads; they do nothing until they are told to.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        engine: &Arc<dyn Engine>,
        settings: &ReadersSettings,
    ) -> Addr<Self> {
        let limits = Limits {
            rows: settings.max_rows.get(),
            bytes: settings::bytes(settings.max_result_bytes),
            stall: settings.max_stall,
        };
        let (shared, engine) = (Arc::clone(shared), Arc::clone(engine));
        let thread = || std::thread::Builder::new().name("actix-sqlite-reader".into());
        SyncArbiter::start_with_thread_builder(settings.thread_count(), thread, move || Self {
            shared: Arc::clone(&shared),
            engine: Arc::clone(&engine),
            limits,
            in_hand: None,
        })
    }

    fn work(&mut self, serve: Serve) -> Exit {
        let shared = Arc::clone(&self.shared);
        let _connected = shared.connected();
        let mut engine = match self.engine.open_reader() {
            Ok(engine) => engine,
            Err(error) => return Exit::CannotOpen(error),
        };
        // Nobody listens any more only if the supervisor is gone, and then the queue is closed too.
        let _ = serve.ready.send(());
        match self.serve(engine.as_mut()) {
            Ok(()) => Exit::Drained,
            Err(failure) => Exit::Failed(failure),
        }
    }

    fn serve(&mut self, engine: &mut dyn ReadEngine) -> Result<(), String> {
        let (mut spare, mut look) = (None, Look::default());
        loop {
            self.in_hand = self.shared.reads.pop();
            match &self.in_hand {
                None => {
                    look.end(engine).map_err(|error| error.to_string())?;
                    // Another reader may be quicker to take what it wakes for.
                    if self.shared.reads.wait(ONE, None) == Woken::Finished {
                        return Ok(());
                    }
                }
                Some(ticket) => {
                    // What runs on another connection may take long, and has no use for a look of this one.
                    let looked = match &ticket.held {
                        None => look.begin(engine, &self.shared),
                        Some(_) => look.end(engine),
                    };
                    looked.map_err(|error| error.to_string())?;
                    self.answer(engine, &mut spare)?;
                }
            }
        }
    }

    /// Runs the query in hand. An error means that the connection is of no more use.
    ///
    /// `spare`: a connection for who wants to hold one; it saves opening another.
    fn answer(&mut self, engine: &mut dyn ReadEngine, spare: &mut Option<Held>) -> Result<(), String> {
        let Some(ticket) = &mut self.in_hand else { return Ok(()) };
        if matches!(ticket.reply, ReadReply::Release) {
            let released =
                ticket.held.take().and_then(|mut held| held.engine.release().is_ok().then_some(held));
            // There may be one already: then this one is closed.
            if spare.is_none() {
                *spare = released;
            }
            self.in_hand = None;
            return Ok(());
        }
        if ticket.is_abandoned() {
            self.in_hand = None;
            return Ok(());
        }
        let stats = Arc::clone(&self.shared.stats);
        if Instant::now() >= ticket.deadline {
            stats::add(&stats.queries_refused, 1);
            self.in_hand.take().into_iter().for_each(|ticket| ticket.refuse(RefusedBecause::DeadlinePassed));
            return Ok(());
        }
        let until = Until { deadline: ticket.deadline, left: &ticket.left };
        let engine = match &mut ticket.held {
            Some(held) => held.engine.as_mut(),
            None => engine,
        };
        let result = match &ticket.reply {
            ReadReply::Rows(_) | ReadReply::Typed(_) => {
                let mut sink = Collected::within(self.limits);
                engine.query(&ticket.request, until, &mut sink).map(|()| Found::Rows(sink.types, sink.rows))
            }
            ReadReply::Description(_) => {
                engine.describe(&ticket.request.statement.sql).map(Found::Description)
            }
            ReadReply::Hold(_) => hold(&self.shared, self.engine.as_ref(), spare).map(Found::Held),
            ReadReply::Stream { chunks, .. } => {
                let mut sink = Streamed {
                    chunks,
                    shared: &self.shared,
                    rows: Vec::new(),
                    bytes: 0,
                    max_row_bytes: self.limits.bytes,
                    deadline: ticket.deadline,
                    max_stall: self.limits.stall,
                };
                engine
                    .query(&ticket.request, until, &mut sink)
                    .and_then(|()| sink.flush().map_err(ReadError::from))
                    .map(|()| Found::Streamed)
            }
            ReadReply::Release => Ok(Found::Streamed),
        };
        let Some(mut ticket) = self.in_hand.take() else { return Ok(()) };
        match result {
            Ok(found) => {
                stats::add(&stats.queries, 1);
                ticket.return_held();
                let ReadTicket { reply, request, .. } = ticket;
                match (reply, found) {
                    (ReadReply::Rows(reply), Found::Rows(_, rows)) => reply.send(Ok(rows), request),
                    (ReadReply::Typed(reply), Found::Rows(columns, Rows { rows, .. })) => {
                        reply.send(Ok(StepResult { columns, rows, ..StepResult::default() }), request);
                    }
                    (ReadReply::Description(reply), Found::Description(found)) => {
                        reply.send(Ok(found), request);
                    }
                    (ReadReply::Hold(reply), Found::Held(held)) => reply.send(Ok(held), request),
                    (ReadReply::Stream { end, .. }, _) => drop(end.send(Ok(()))),
                    _ => {}
                }
                Ok(())
            }
            Err(error) => {
                stats::add(&stats.queries_failed, 1);
                let broken = matches!(&error, ReadError::Statement(error) if error.breaks_connection());
                let reason = error.to_string();
                ticket.fail(error);
                if broken { Err(reason) } else { Ok(()) }
            }
        }
    }

    /// After a panic: the query goes back once, unless some of its rows are already out.
    fn clear_hand(&mut self) {
        let Some(mut ticket) = self.in_hand.take() else { return };
        ticket.crashes += 1;
        if ticket.crashes == 1 && ticket.may_run_again() {
            self.shared.reads.give_back(std::iter::once(ticket));
            self.shared.answer_all_if_failed();
        } else {
            stats::add(&self.shared.stats.queries_failed, 1);
            // Nobody knows what it is in the middle of.
            ticket.held = None;
            let message = "the reader panicked while it ran this query";
            ticket.fail(StatementError::new(Kind::Panicked, message).into());
        }
    }
}

impl Actor for ReaderActor {
    type Context = SyncContext<Self>;
}

impl Handler<Serve> for ReaderActor {
    type Result = MessageResult<Serve>;

    fn handle(&mut self, serve: Serve, ctx: &mut Self::Context) -> Self::Result {
        let run = catch_unwind(AssertUnwindSafe(|| self.work(serve)));
        let exit = run.unwrap_or_else(|panic| Exit::Failed(panic_message(panic.as_ref())));
        if !matches!(exit, Exit::Drained) {
            self.clear_hand();
            ctx.stop();
        }
        MessageResult(exit)
    }
}

/// What an answer is made of.
enum Found {
    Rows(Vec<Column>, Rows),
    Description(Description),
    Held(Held),
    /// It is out already.
    Streamed,
}

/// Begins to look at the file as it is now, on a connection of its own.
fn hold(shared: &Arc<Shared>, engine: &dyn Engine, spare: &mut Option<Held>) -> Result<Held, ReadError> {
    let mut held = if let Some(held) = spare.take() {
        held
    } else {
        let connected = shared.connected();
        let opened = engine
            .open_reader()
            .map_err(|error| ReadError::from(StatementError::new(Kind::Storage, error.to_string())))?;
        Held::new(opened, connected)
    };
    // Before it looks: it may see a later one, but none before.
    held.commit = *shared.last_commit.borrow();
    held.engine.hold()?;
    Ok(held)
}

fn unwanted() -> StatementError {
    StatementError::new(Kind::StatementTimeout, "the caller did not take the rows in time")
}

fn exceeded(what: String) -> StatementError {
    StatementError::new(Kind::ResultTooLarge, what)
}

/// Rows held in memory, within the limits.
struct Collected {
    types: Vec<Column>,
    rows: Rows,
    bytes: usize,
    limits: Limits,
}

impl Collected {
    fn within(limits: Limits) -> Self {
        Self { types: Vec::new(), rows: Rows::default(), bytes: 0, limits }
    }
}

impl RowSink for Collected {
    fn typed_columns(&mut self, columns: Vec<Column>) {
        self.types = columns;
    }

    fn columns(&mut self, columns: Columns) {
        self.rows.columns = columns;
    }

    fn room(&self) -> usize {
        self.limits.bytes.saturating_sub(self.bytes)
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), StatementError> {
        let Limits { rows: max_rows, bytes: max_bytes, .. } = self.limits;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.rows.len() >= max_rows {
            return Err(exceeded(format!(
                "more than {max_rows} rows (readers.max_rows); use LIMIT, or stream the result"
            )));
        }
        if self.bytes > max_bytes {
            return Err(exceeded(format!(
                "more than {max_bytes} bytes (readers.max_result_bytes); select less, or stream the result"
            )));
        }
        Ok(())
    }

    fn row(&mut self, row: Vec<Value>) -> Result<(), StatementError> {
        self.rows.rows.push(row);
        Ok(())
    }
}

/// Rows passed on in pieces. The channel is short, so a slow receiver slows the query down until its time is up.
struct Streamed<'a> {
    chunks: &'a mpsc::Sender<Chunk>,
    shared: &'a Shared,
    rows: Vec<Vec<Value>>,
    bytes: usize,
    /// Of one row: it is held in memory until it is sent.
    max_row_bytes: usize,
    deadline: Instant,
    max_stall: Duration,
}

impl Streamed<'_> {
    const ROWS: usize = 256;
    const BYTES: usize = 64 * 1024;

    fn flush(&mut self) -> Result<(), StatementError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() { Ok(()) } else { self.send(Chunk::Rows(rows)) }
    }

    fn send(&self, chunk: Chunk) -> Result<(), StatementError> {
        /// How long a reader sleeps while its receiver is slow: there is no blocking send with a time limit.
        const NAP: Duration = Duration::from_millis(1);
        /// How long it waits at the end of the database.
        const LAST_STALL: Duration = Duration::from_millis(250);
        let begun = Instant::now();
        let mut unsent = chunk;
        loop {
            // A receiver that takes nothing must not keep the reader from everybody else, nor the file open.
            let stall =
                if self.shared.is_closing() { LAST_STALL.min(self.max_stall) } else { self.max_stall };
            let until = self.deadline.min(begun + stall);
            match self.chunks.try_send(unsent) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(chunk)) if Instant::now() < until => {
                    unsent = chunk;
                    std::thread::sleep(NAP);
                }
                Err(_) => return Err(unwanted()),
            }
        }
    }
}

impl RowSink for Streamed<'_> {
    fn typed_columns(&mut self, columns: Vec<Column>) {
        let _ = self.send(Chunk::TypedColumns(columns));
    }

    fn columns(&mut self, columns: Columns) {
        // A receiver that is gone is noticed with the first rows.
        let _ = self.send(Chunk::Columns(columns));
    }

    fn room(&self) -> usize {
        self.max_row_bytes
    }

    fn make_room(&mut self, bytes: usize) -> Result<(), StatementError> {
        if bytes > self.max_row_bytes {
            let most = self.max_row_bytes;
            return Err(exceeded(format!(
                "a row has more than {most} bytes (readers.max_result_bytes); select less of it"
            )));
        }
        self.bytes += bytes;
        Ok(())
    }

    fn row(&mut self, row: Vec<Value>) -> Result<(), StatementError> {
        self.rows.push(row);
        if self.rows.len() >= Self::ROWS || self.bytes >= Self::BYTES { self.flush() } else { Ok(()) }
    }
}
