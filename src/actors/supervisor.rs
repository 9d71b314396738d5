//! `Supervisor`: starts the writer and the readers, starts them again when they fail, and gives up when they fail too
//! often. It lives on an arbiter of its own, so that no busy event loop delays a restart, and wakes when an actor's run
//! ends or a pause is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, Arbiter, AsyncContext, Context, MailboxError, WrapFuture};
use tokio::sync::oneshot;

use super::reader::ReaderActor;
use super::shared::Shared;
use super::writer::WriterActor;
use super::{Collect, Exit, Serve};
use crate::engine::Engine;
use crate::error::StartError;
use crate::policy::{RestartPolicy, RestartVerdict};
use crate::settings::Settings;
use crate::stats::{self, State};

pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    reader_count: usize,
    policy: RestartPolicy,
    writer: Addr<WriterActor>,
    readers: Addr<ReaderActor>,
    writer_restarts: Vec<Instant>,
    reader_restarts: Vec<Instant>,
    /// Actors that have not drained their queue yet, running or being restarted.
    at_work: usize,
    /// Actors that have not been ready yet.
    starting: usize,
    /// Told once, when all are ready for the first time or one cannot be.
    started: Option<Started>,
    /// Why it could not be opened; told when everything is closed again.
    start_failure: Option<(Started, StartError)>,
}

/// Who opens the database hears here whether that went well.
type Started = oneshot::Sender<Result<(), StartError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Reader,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

impl Supervisor {
    /// Starts everything, on a new arbiter. `started` is told when all actors are ready.
    pub(crate) fn launch(
        shared: Arc<Shared>,
        engine: &Arc<dyn Engine>,
        settings: &Settings,
        started: oneshot::Sender<Result<(), StartError>>,
    ) {
        let arbiter = Arbiter::new();
        let writer = WriterActor::start(&shared, engine, &settings.writer);
        let readers = ReaderActor::start(&shared, engine, &settings.readers);
        let (reader_count, policy) = (settings.readers.thread_count(), settings.supervisor.restart_policy());
        let engine = Arc::clone(engine);
        Self::start_in_arbiter(&arbiter.handle(), move |_| Self {
            shared,
            engine,
            reader_count,
            policy,
            writer,
            readers,
            writer_restarts: Vec::new(),
            reader_restarts: Vec::new(),
            at_work: 0,
            starting: 0,
            started: Some(started),
            start_failure: None,
        });
    }

    /// Orders an actor to work, and hears how that ends.
    fn order(&mut self, role: Role, ctx: &mut Context<Self>) {
        let (ready, is_ready) = oneshot::channel();
        let told = async move { is_ready.await.is_ok() };
        ctx.spawn(told.into_actor(self).map(move |ok, supervisor, ctx| {
            if ok {
                supervisor.on_ready(role, ctx);
            }
        }));
        match role {
            Role::Writer => {
                let run = self.writer.send(Collect { ready });
                ctx.spawn(run.into_actor(self).map(move |exit, supervisor, ctx| {
                    supervisor.on_reply(role, exit, ctx);
                }));
            }
            Role::Reader => {
                let run = self.readers.send(Serve { ready });
                ctx.spawn(run.into_actor(self).map(move |exit, supervisor, ctx| {
                    supervisor.on_reply(role, exit, ctx);
                }));
            }
        }
    }

    fn on_ready(&mut self, role: Role, ctx: &mut Context<Self>) {
        if self.start_failure.is_some() {
            return;
        }
        if self.started.is_none() {
            if role == Role::Writer {
                tracing::info!("the writer is back");
                self.shared.tell(State::Running, self.shared.stats.last_error());
            }
            return;
        }
        self.starting -= 1;
        if role == Role::Writer {
            // The readers need a file that exists and is up to date.
            self.starting += self.reader_count;
            self.at_work += self.reader_count;
            (0..self.reader_count).for_each(|_| self.order(Role::Reader, ctx));
        }
        if self.starting == 0
            && let Some(started) = self.started.take()
        {
            self.shared.tell(State::Running, None);
            // Whoever opened the database may have given up on it; then its handle is gone and the queues are closed.
            let _ = started.send(Ok(()));
        }
    }

    fn on_reply(&mut self, role: Role, reply: Result<Exit, MailboxError>, ctx: &mut Context<Self>) {
        match reply {
            Ok(exit) => self.on_exit(role, exit, ctx),
            // Panics are caught on the thread, so this one died of something that a restart would not mend.
            Err(error) => {
                self.shared.give_up(format!("the thread of a {} is gone: {error}", role.name()));
                self.on_drained();
            }
        }
    }

    fn on_exit(&mut self, role: Role, exit: Exit, ctx: &mut Context<Self>) {
        let error = match exit {
            Exit::Drained => return self.on_drained(),
            Exit::CannotOpen(error) => error,
            Exit::Failed(reason) => StartError::Stopped(reason),
        };
        let reason = match &error {
            StartError::Stopped(reason) => reason.clone(),
            error => error.to_string(),
        };
        if let Some(started) = self.started.take() {
            // Whoever opens a file wants to hear at once what is wrong with it.
            self.shared.give_up(format!("cannot open: {reason}"));
            self.start_failure = Some((started, error));
        }
        if self.shared.has_failed() {
            return self.on_drained();
        }
        tracing::error!(actor = role.name(), %reason, "failed");
        self.shared.stats.error(format!("{}: {reason}", role.name()));
        let history = match role {
            Role::Writer => &mut self.writer_restarts,
            Role::Reader => &mut self.reader_restarts,
        };
        match self.policy.decide(history, Instant::now()) {
            RestartVerdict::Restart { after } => self.restart(role, &reason, after, ctx),
            RestartVerdict::GiveUp => {
                let window = humantime_serde::re::humantime::format_duration(self.policy.window);
                self.shared.give_up(format!(
                    "the {} failed more than {} times in {window}, last: {reason}",
                    role.name(),
                    self.policy.max_restarts
                ));
                self.on_drained();
            }
        }
    }

    fn restart(&mut self, role: Role, reason: &str, after: Duration, ctx: &mut Context<Self>) {
        let count = match role {
            Role::Writer => {
                self.shared.tell(State::Recovering, Some(format!("the writer failed: {reason}")));
                &self.shared.stats.writer_restarts
            }
            Role::Reader => &self.shared.stats.reader_restarts,
        };
        stats::add(count, 1);
        ctx.run_later(after, move |supervisor, ctx| supervisor.order(role, ctx));
    }

    fn on_drained(&mut self) {
        self.at_work -= 1;
        if self.at_work == 0 {
            self.engine.close();
            self.shared.tell(State::Stopped, None);
            self.shared.unsupervised();
            if let Some((started, error)) = self.start_failure.take() {
                let _ = started.send(Err(error));
            }
            // This arbiter serves nobody else.
            Arbiter::current().stop();
        }
    }
}

/// With the System gone nobody restarts what fails: better to answer everybody than to leave them waiting.
impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.at_work > 0 {
            self.shared.give_up("the actix System was stopped before the database".into());
        }
        self.shared.unsupervised();
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.at_work = 1;
        self.starting = 1;
        self.order(Role::Writer, ctx);
    }
}
