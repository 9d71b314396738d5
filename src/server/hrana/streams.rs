//! Streams over HTTP: what is kept of one between two requests of its client.
//!
//! A client names its stream by a baton: a random number that finds it, and another that proves that the client got the
//! last answer, new with each. A stream that its first request closes again is never entered here. A stream that nobody
//! asks for is dropped when its time is up, and with it its transaction; for a while its baton is remembered, so that its
//! client is told what happened.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::error::ProtocolError;
use super::prepare::StoredSql;
use crate::Database;
use crate::database::Session;
use crate::settings::HranaSettings;

type Id = [u8; 16];
type Secret = [u8; 16];
/// When, and which of those.
type Due = (Instant, u64);

/// How long it is remembered that a stream has expired.
const REMEMBERED: Duration = Duration::from_mins(5);

/// A caller's session and what it stored.
pub(super) struct Stream {
    /// None once it is closed.
    pub(super) session: Option<Session>,
    pub(super) stored: StoredSql,
    _permit: Option<OwnedSemaphorePermit>,
}

/// All streams over HTTP.
pub(super) struct Streams {
    idle_timeout: Duration,
    most: usize,
    places: Arc<Semaphore>,
    state: Mutex<State>,
    /// Told when there is something to wait for.
    first: Notify,
}

#[derive(Default)]
struct State {
    streams: HashMap<Id, Slot>,
    /// The idle ones, in the order in which they expire.
    order: BTreeMap<Due, Id>,
    /// Those that expired, the oldest first.
    expired: VecDeque<(Instant, Id)>,
    serial: u64,
    is_closed: bool,
}

struct Slot {
    secret: Secret,
    place: Place,
}

enum Place {
    Idle(Box<Stream>, Due),
    /// A request has it; who waits for it is told when it is back.
    Busy(Arc<Notify>),
    Expired,
}

impl Streams {
    pub(super) fn new(settings: &HranaSettings) -> Self {
        let most = settings.max_streams.get();
        Self {
            idle_timeout: settings.stream_idle_timeout,
            most,
            places: Arc::new(Semaphore::new(most)),
            state: Mutex::default(),
            first: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among the streams that last.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, ProtocolError> {
        let full = |_| ProtocolError::TooManyStreams(self.most);
        Arc::clone(&self.places).try_acquire_owned().map_err(full)
    }

    /// A new stream; one that does not last beyond its request needs no place.
    pub(super) fn open(self: &Arc<Self>, database: &Database, lasts: bool) -> Result<Held, ProtocolError> {
        if self.state().is_closed {
            return Err(ProtocolError::ShuttingDown);
        }
        let permit = lasts.then(|| self.place()).transpose()?;
        let session = Some(Session::new(database.clone()));
        let stream = Stream { session, stored: StoredSql::default(), _permit: permit };
        Ok(Held { streams: Arc::clone(self), id: None, stream: Some(Box::new(stream)) })
    }

    /// The stream of this baton. If a cursor still has it, waits until that is done.
    pub(super) async fn take(self: &Arc<Self>, baton: &str) -> Result<Held, ProtocolError> {
        let (id, secret) = decode(baton).ok_or(ProtocolError::BatonInvalid)?;
        let deadline = Instant::now() + self.idle_timeout;
        loop {
            let busy = match self.try_take(id, secret)? {
                Ok(stream) => {
                    return Ok(Held { streams: Arc::clone(self), id: Some(id), stream: Some(stream) });
                }
                Err(busy) => busy,
            };
            let back = busy.notified();
            // It may have come back in between.
            if self.is_still_busy(id, &busy) && tokio::time::timeout_at(deadline.into(), back).await.is_err()
            {
                return Err(ProtocolError::BatonReused);
            }
        }
    }

    fn is_still_busy(&self, id: Id, before: &Arc<Notify>) -> bool {
        let state = self.state();
        let place = state.streams.get(&id).map(|slot| &slot.place);
        matches!(place, Some(Place::Busy(now)) if Arc::ptr_eq(now, before))
    }

    /// The stream, or whom to ask when it is back.
    fn try_take(&self, id: Id, secret: Secret) -> Result<Result<Box<Stream>, Arc<Notify>>, ProtocolError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(ProtocolError::ShuttingDown);
        }
        let State { streams, order, .. } = &mut *state;
        let slot = streams.get_mut(&id).ok_or(ProtocolError::BatonInvalid)?;
        if matches!(slot.place, Place::Expired) {
            return Err(ProtocolError::StreamExpired);
        }
        if !bool::from(slot.secret.ct_eq(&secret)) {
            return Err(ProtocolError::BatonReused);
        }
        if let Place::Busy(busy) = &slot.place {
            return Ok(Err(Arc::clone(busy)));
        }
        slot.secret = random();
        match std::mem::replace(&mut slot.place, Place::Busy(Arc::default())) {
            Place::Idle(stream, due) => {
                order.remove(&due);
                Ok(Ok(stream))
            }
            Place::Busy(_) | Place::Expired => Err(ProtocolError::BatonInvalid),
        }
    }

    /// Drops the streams whose time is up, and says when the next one's will be.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut dropped = Vec::new();
        let mut state = self.state();
        let State { streams, order, expired, .. } = &mut *state;
        while let Some(entry) = order.first_entry()
            && entry.key().0 <= now
        {
            let id = entry.remove();
            if let Some(slot) = streams.get_mut(&id) {
                dropped.push(std::mem::replace(&mut slot.place, Place::Expired));
                expired.push_back((now + REMEMBERED, id));
            }
        }
        while let Some((until, id)) = expired.front().copied()
            && (until <= now || expired.len() > self.most)
        {
            expired.pop_front();
            streams.remove(&id);
        }
        let next = [order.keys().next().map(|due| due.0), expired.front().map(|(until, _)| *until)];
        drop(state);
        if !dropped.is_empty() {
            tracing::debug!(streams = dropped.len(), "streams expired");
        }
        next.into_iter().flatten().min()
    }

    /// Drops what expires, for ever.
    pub(super) async fn keep_expiring(&self) {
        loop {
            match self.expire(Instant::now()) {
                // What comes in between is due later, unless it comes while only memories are waited for.
                Some(next) => {
                    let next = next.min(Instant::now() + self.idle_timeout);
                    tokio::time::sleep_until(next.into()).await;
                }
                None => self.first.notified().await,
            }
        }
    }

    /// Drops all that are idle, and each other as soon as its request is done; there are no new ones.
    pub(super) fn close(&self) {
        let dropped = {
            let mut state = self.state();
            state.is_closed = true;
            state.order.clear();
            state.expired.clear();
            std::mem::take(&mut state.streams)
        };
        for slot in dropped.values() {
            if let Place::Busy(busy) = &slot.place {
                busy.notify_waiters();
            }
        }
    }
}

/// A stream that a request has. Dropped without being given back, it is gone.
pub(super) struct Held {
    streams: Arc<Streams>,
    /// None as long as no client knows it.
    id: Option<Id>,
    stream: Option<Box<Stream>>,
}

impl Held {
    /// The stream; none if it is closed.
    pub(super) fn open_stream(&mut self) -> Result<(&mut Session, &mut StoredSql), ProtocolError> {
        let stream = self.stream.as_mut().ok_or(ProtocolError::StreamClosed)?;
        let Stream { session, stored, .. } = &mut **stream;
        session.as_mut().map(|session| (session, stored)).ok_or(ProtocolError::StreamClosed)
    }

    /// Ends its session at once.
    pub(super) fn close(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.session = None;
        }
    }

    /// The baton of the next request, before this one is done.
    pub(super) fn announce(&mut self) -> Option<String> {
        let mut state = self.streams.state();
        if state.is_closed {
            return None;
        }
        let id = *self.id.get_or_insert_with(random);
        let new = || Slot { secret: random(), place: Place::Busy(Arc::default()) };
        Some(encode(id, state.streams.entry(id).or_insert_with(new).secret))
    }

    /// Keeps the stream for its client's next request, and says how that will name it; none if it is closed.
    pub(super) fn give_back(mut self) -> Option<String> {
        let stream = self.stream.take_if(|stream| stream.session.is_some())?;
        let due = Instant::now() + self.streams.idle_timeout;
        let mut state = self.streams.state();
        if state.is_closed {
            return None;
        }
        state.serial += 1;
        let due = (due, state.serial);
        let id = self.id.take().unwrap_or_else(random);
        let State { streams, order, .. } = &mut *state;
        let new = || Slot { secret: random(), place: Place::Expired };
        let slot = streams.entry(id).or_insert_with(new);
        let before = std::mem::replace(&mut slot.place, Place::Idle(stream, due));
        let baton = encode(id, slot.secret);
        order.insert(due, id);
        let is_first = order.len() == 1;
        drop(state);
        if let Place::Busy(busy) = before {
            busy.notify_waiters();
        }
        if is_first {
            self.streams.first.notify_one();
        }
        Some(baton)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let slot = self.streams.state().streams.remove(&id);
        if let Some(Slot { place: Place::Busy(busy), .. }) = slot {
            busy.notify_waiters();
        }
    }
}

/// Nobody can guess it. The system has been asked for random numbers since it started, and does not run out of them.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    #[allow(clippy::expect_used, reason = "a baton that could be guessed must never be given")]
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    bytes
}

fn encode(id: Id, secret: Secret) -> String {
    URL_SAFE_NO_PAD.encode([id, secret].as_flattened())
}

fn decode(baton: &str) -> Option<(Id, Secret)> {
    let mut bytes = [0; 32];
    let length = URL_SAFE_NO_PAD.decode_slice(baton, &mut bytes).ok()?;
    let (id, secret) = bytes.split_at(16);
    (length == 32).then_some((id.try_into().ok()?, secret.try_into().ok()?))
}
