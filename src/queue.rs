//! The bounded queue between the door and an actor. It belongs to the door: an actor that dies leaves it untouched,
//! and what the actor held goes back to its head.
//!
//! Callers push from any thread and never block; the actor's own thread waits in [`Queue::wait`]. A request that finds
//! the queue full is refused or waits outside, in order, until the actor has taken something.
//!
//! It has two lanes, each a FIFO inside and outside, which take turns as `policy/lanes.rs` decides. What is all in one
//! lane, such as queries, never meets a turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::policy::{
    Admission, AdmissionPolicy, Behind, Lane, LanePolicy, Lanes, Load, Overflow, RefusedBecause, Spin,
};

/// What a queue has to know of what it holds.
pub(crate) trait Queued {
    /// In bytes, for the bound.
    fn size(&self) -> usize;
    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;
    /// Whether it ends the wait for others to come.
    fn is_urgent(&self) -> bool {
        false
    }
    /// Where it waits. Always the same.
    fn lane(&self) -> Lane {
        Lane::Interactive
    }
}

/// What became of a push that was not refused.
#[derive(Debug)]
pub(crate) enum Pushed {
    Entered,
    /// Outside, in order; told when it enters. Dropping the receiver does not take the request back.
    Waiting(oneshot::Receiver<()>),
}

/// Why [`Queue::wait`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Ready,
    TimedOut,
    /// Closed and empty: nothing will ever come.
    Finished,
}

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
    /// Tells who is awake and waits, in [`Queue::wait_awake`], that it is there.
    came: AtomicBool,
}

struct State<T> {
    /// They never change, and stand here because they decide on what is here.
    admission: AdmissionPolicy,
    turns: LanePolicy,
    /// What a dead actor held. It had its turn and goes before both lanes, in the order in which it was taken: the search
    /// for what kills an actor needs the requests together that died together.
    given_back: VecDeque<T>,
    inside: Lanes<VecDeque<T>>,
    outside: Lanes<Outside<T>>,
    /// What is inside each lane, with what was given back to it.
    held: Lanes<Load>,
    /// So many interactive requests were taken for which a bulk one had to wait.
    in_a_row: usize,
    closed: Option<RefusedBecause>,
    /// How many threads sleep in [`Queue::wait`], and what they wait for: nobody is woken for less.
    sleepers: usize,
    /// How many were told to wake up and have not yet got to it. A thread takes long to wake up, compared with a push,
    /// and to tell it again is a system call each time.
    waking: usize,
    wanted: Load,
    /// Whether somebody waits for that without sleeping.
    is_awaited: bool,
    urgent: bool,
}

/// Requests that wait to be let in, and where it is told.
struct Outside<T> {
    waiting: VecDeque<(T, oneshot::Sender<()>)>,
    /// The length at which it is next searched for abandoned requests.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 64;

/// Any request at all.
pub(crate) const ONE: Load = Load { items: 1, bytes: usize::MAX };

impl<T: Queued> Queue<T> {
    pub(crate) fn new(admission: AdmissionPolicy, turns: LanePolicy) -> Self {
        let state = State {
            admission,
            turns,
            given_back: VecDeque::new(),
            inside: Lanes::default(),
            outside: Lanes { interactive: Outside::new(), bulk: Outside::new() },
            held: Lanes::default(),
            in_a_row: 0,
            closed: None,
            sleepers: 0,
            waking: 0,
            wanted: Load::default(),
            is_awaited: false,
            urgent: false,
        };
        Self { state: Mutex::new(state), ready: Condvar::new(), came: AtomicBool::new(false) }
    }

    /// No code that can panic runs under the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in, or gives it back with the reason.
    pub(crate) fn push(&self, item: T, overflow: Overflow) -> Result<Pushed, (T, RefusedBecause)> {
        let mut state = self.lock();
        if let Some(because) = state.closed {
            return Err((item, because));
        }
        let lane = item.lane();
        let others_waiting = !state.would_be_first_outside(lane);
        match state.admission.decide(&state.held, lane, item.size(), others_waiting, overflow) {
            Admission::Enter => {
                state.enter(item);
                self.wake_one(state);
                Ok(Pushed::Entered)
            }
            Admission::Wait => {
                let outside = &mut state.outside[lane];
                outside.sweep();
                let (entered, told) = oneshot::channel();
                outside.waiting.push_back((item, entered));
                self.wake_one(state);
                Ok(Pushed::Waiting(told))
            }
            Admission::Refuse(because) => {
                // It grows no fuller: whoever waits for more waits in vain.
                state.urgent = !state.is_empty();
                self.wake_one(state);
                Err((item, because))
            }
        }
    }

    /// The next request, if there is one.
    pub(crate) fn pop(&self) -> Option<T> {
        self.lock().take()
    }

    /// Moves requests into `hand`, each in its turn, as long as `more` says so; `more` is told what is behind.
    pub(crate) fn take_while(&self, hand: &mut Vec<T>, mut more: impl FnMut(&[T], Behind) -> bool) {
        let mut state = self.lock();
        while more(hand, state.behind()) {
            match state.take() {
                Some(item) => hand.push(item),
                None => break,
            }
        }
    }

    /// Blocks until there is as much as `wanted` (in requests or in bytes), something urgent, or a full queue; until the
    /// time is up; or until it is clear that nothing will come.
    pub(crate) fn wait(&self, wanted: Load, until: Option<Instant>) -> Woken {
        let mut state = self.lock();
        loop {
            if state.has(wanted) {
                return Woken::Ready;
            }
            if state.closed.is_some() {
                return if state.is_empty() { Woken::Finished } else { Woken::Ready };
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Woken::TimedOut;
            }
            state.wanted = wanted;
            state.sleepers += 1;
            state = match left {
                None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            // Who was told and who wakes up by himself may not be the same; their numbers are.
            match state.waking.checked_sub(1) {
                Some(waking) => state.waking = waking,
                None => state.sleepers -= 1,
            }
        }
    }

    /// The same for one thread, which at first stays awake for it, as long as `spin` says.
    pub(crate) fn wait_awake(&self, wanted: Load, until: Option<Instant>, spin: &mut Spin) -> Woken {
        let mut state = self.lock();
        if !state.has(wanted) && state.closed.is_none() {
            let turn = spin.turn();
            if !turn.is_zero() {
                (state.wanted, state.is_awaited) = (wanted, true);
                self.came.store(false, Relaxed);
                drop(state);
                let end = Instant::now() + turn;
                let end = until.map_or(end, |until| until.min(end));
                while !self.came.load(Relaxed) && Instant::now() < end {
                    std::hint::spin_loop();
                }
                state = self.lock();
                spin.ended(!state.is_awaited);
                state.is_awaited = false;
            }
        }
        drop(state);
        self.wait(wanted, until)
    }

    /// Waking costs a system call, so only who has something to do is woken.
    fn wake_one(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.is_awaited && state.has(state.wanted) {
            state.is_awaited = false;
            self.came.store(true, Relaxed);
            return;
        }
        let wake = state.sleepers > 0 && state.has(state.wanted);
        if wake {
            state.sleepers -= 1;
            state.waking += 1;
        }
        drop(state);
        if wake {
            self.ready.notify_one();
        }
    }

    /// Puts back before all others, in their order, what an actor took and did not answer.
    pub(crate) fn give_back(&self, items: impl DoubleEndedIterator<Item = T>) {
        let mut state = self.lock();
        for item in items.rev() {
            state.count_in(&item);
            state.given_back.push_front(item);
        }
        self.wake_one(state);
    }

    /// From now on every push is refused. What is inside or waits outside is still served.
    pub(crate) fn close(&self, because: RefusedBecause) {
        let mut state = self.lock();
        state.closed = Some(because);
        self.came.store(true, Relaxed);
        drop(state);
        self.ready.notify_all();
    }

    /// Takes everything out, to be answered by the caller of this function.
    pub(crate) fn drain(&self) -> Vec<T> {
        let mut state = self.lock();
        state.held = Lanes::default();
        let mut items = Vec::from(std::mem::take(&mut state.given_back));
        for lane in [Lane::Interactive, Lane::Bulk] {
            items.extend(state.inside[lane].drain(..));
            items.extend(state.outside[lane].waiting.drain(..).map(|(item, _)| item));
        }
        drop(state);
        self.ready.notify_all();
        items
    }

    /// How much is inside, and how many wait outside.
    pub(crate) fn load(&self) -> (Lanes<Load>, Lanes<usize>) {
        let state = self.lock();
        (state.held, state.outside.map(|outside| outside.waiting.len()))
    }
}

impl<T: Queued> State<T> {
    fn is_empty(&self) -> bool {
        self.held.all().items == 0
    }

    fn has(&self, wanted: Load) -> bool {
        let held = self.held.all();
        let enough = held.items >= wanted.items || held.bytes >= wanted.bytes;
        held.items > 0 && (enough || self.urgent || self.waiting() != Lanes::default())
    }

    fn count_in(&mut self, item: &T) {
        let held = &mut self.held[item.lane()];
        held.items += 1;
        held.bytes += item.size();
        self.urgent |= item.is_urgent();
    }

    fn enter(&mut self, item: T) {
        self.count_in(&item);
        self.inside[item.lane()].push_back(item);
    }

    fn behind(&self) -> Behind {
        let next = self.given_back.front().or_else(|| self.inside[self.next()?].front());
        match next {
            Some(next) => Behind::Next(next.size()),
            None if self.closed.is_some() => Behind::Closed,
            None => Behind::Nothing,
        }
    }

    fn take(&mut self) -> Option<T> {
        let item = self.given_back.pop_front().or_else(|| self.take_in_turn())?;
        let held = &mut self.held[item.lane()];
        held.items -= 1;
        held.bytes -= item.size();
        self.let_in();
        self.urgent &= !self.is_empty();
        Some(item)
    }

    fn take_in_turn(&mut self) -> Option<T> {
        let lane = self.next()?;
        let item = self.inside[lane].pop_front();
        let bulk_waits = !self.inside.bulk.is_empty() || !self.outside.bulk.waiting.is_empty();
        self.in_a_row = self.turns.in_a_row_after(self.in_a_row, lane, bulk_waits);
        item
    }

    /// The lane whose turn it is.
    fn next(&self) -> Option<Lane> {
        self.turns.next(self.in_a_row, self.inside.map(|inside| !inside.is_empty()))
    }

    /// Lets in from outside whoever fits now, in order.
    fn let_in(&mut self) {
        while let Some(lane) = self.next_in(self.waiting()) {
            let Some((next, _)) = self.outside[lane].waiting.front() else { return };
            if !next.is_abandoned() && !self.admission.fits(&self.held, lane, next.size()) {
                return;
            }
            if let Some((item, entered)) = self.outside[lane].waiting.pop_front()
                && !item.is_abandoned()
            {
                self.enter(item);
                // Whoever waited may have gone; the request goes its way all the same.
                let _ = entered.send(());
            }
        }
    }

    fn waiting(&self) -> Lanes<bool> {
        self.outside.map(|outside| !outside.waiting.is_empty())
    }

    /// The lane that is let in next, if these wait outside.
    fn next_in(&self, waiting: Lanes<bool>) -> Option<Lane> {
        self.turns.next_in(self.in_a_row, waiting, self.held.bulk.items > 0)
    }

    /// Whether a request that comes now overtakes nobody if it is let in.
    fn would_be_first_outside(&self, lane: Lane) -> bool {
        let mut waiting = self.waiting();
        let is_first_of_lane = !std::mem::replace(&mut waiting[lane], true);
        is_first_of_lane && self.next_in(waiting) == Some(lane)
    }
}

impl<T: Queued> Outside<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), sweep_at: FIRST_SWEEP }
    }

    /// Drops abandoned requests, seldom enough to cost nothing on average.
    fn sweep(&mut self) {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|(item, _)| !item.is_abandoned());
            self.sweep_at = FIRST_SWEEP.max(self.waiting.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests;
