//! The bounded FIFO between the door and an actor. It belongs to the door: an actor that dies leaves it untouched,
//! and what the actor held goes back to its head.
//!
//! Callers push from any thread and never block; the actor's own thread waits in [`Queue::wait`]. A request that finds
//! the queue full is refused or waits outside, in order, until the actor has taken something.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::policy::{Admission, AdmissionPolicy, Behind, Load, Overflow, RefusedBecause};

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
    policy: AdmissionPolicy,
}

struct State<T> {
    inside: VecDeque<T>,
    bytes: usize,
    outside: VecDeque<(T, oneshot::Sender<()>)>,
    /// Length of `outside` at which it is next searched for abandoned requests.
    sweep_at: usize,
    closed: Option<RefusedBecause>,
    /// How many threads sleep in [`Queue::wait`], and what they wait for: nobody is woken for less.
    sleepers: usize,
    /// How many were told to wake up and have not yet got to it. A thread takes long to wake up, compared with a push,
    /// and to tell it again is a system call each time.
    waking: usize,
    wanted: Load,
    urgent: bool,
}

const FIRST_SWEEP: usize = 64;

/// Any request at all.
pub(crate) const ONE: Load = Load { items: 1, bytes: usize::MAX };

impl<T: Queued> Queue<T> {
    pub(crate) fn new(policy: AdmissionPolicy) -> Self {
        let state = State {
            inside: VecDeque::new(),
            bytes: 0,
            outside: VecDeque::new(),
            sweep_at: FIRST_SWEEP,
            closed: None,
            sleepers: 0,
            waking: 0,
            wanted: Load::default(),
            urgent: false,
        };
        Self { state: Mutex::new(state), ready: Condvar::new(), policy }
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
        let held = Load { items: state.inside.len(), bytes: state.bytes };
        match self.policy.decide(held, item.size(), !state.outside.is_empty(), overflow) {
            Admission::Enter => {
                state.enter(item);
                self.wake_one(state);
                Ok(Pushed::Entered)
            }
            Admission::Wait => {
                state.sweep();
                let (entered, told) = oneshot::channel();
                state.outside.push_back((item, entered));
                self.wake_one(state);
                Ok(Pushed::Waiting(told))
            }
            Admission::Refuse(because) => {
                // It grows no fuller: whoever waits for more waits in vain.
                state.urgent = !state.inside.is_empty();
                self.wake_one(state);
                Err((item, because))
            }
        }
    }

    /// The next request, if there is one.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.lock();
        state.take(&self.policy)
    }

    /// Moves requests from the head into `hand` as long as `more` says so; `more` is told what is behind.
    pub(crate) fn take_while(&self, hand: &mut Vec<T>, mut more: impl FnMut(&[T], Behind) -> bool) {
        let mut state = self.lock();
        while more(hand, state.behind()) {
            match state.take(&self.policy) {
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
                return if state.inside.is_empty() { Woken::Finished } else { Woken::Ready };
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

    /// Waking costs a system call, so only who has something to do is woken.
    fn wake_one(&self, mut state: MutexGuard<'_, State<T>>) {
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

    /// Puts back at the head, in their order, what an actor took and did not answer.
    pub(crate) fn give_back(&self, items: impl DoubleEndedIterator<Item = T>) {
        let mut state = self.lock();
        for item in items.rev() {
            state.bytes += item.size();
            state.urgent |= item.is_urgent();
            state.inside.push_front(item);
        }
        self.wake_one(state);
    }

    /// From now on every push is refused. What is inside or waits outside is still served.
    pub(crate) fn close(&self, because: RefusedBecause) {
        let mut state = self.lock();
        state.closed = Some(because);
        drop(state);
        self.ready.notify_all();
    }

    /// Takes everything out, to be answered by the caller of this function.
    pub(crate) fn drain(&self) -> Vec<T> {
        let mut state = self.lock();
        state.bytes = 0;
        let mut items: Vec<T> = state.inside.drain(..).collect();
        items.extend(state.outside.drain(..).map(|(item, _)| item));
        drop(state);
        self.ready.notify_all();
        items
    }

    /// How much is inside, and how many wait outside.
    pub(crate) fn load(&self) -> (Load, usize) {
        let state = self.lock();
        (Load { items: state.inside.len(), bytes: state.bytes }, state.outside.len())
    }
}

impl<T: Queued> State<T> {
    fn enter(&mut self, item: T) {
        self.bytes += item.size();
        self.urgent |= item.is_urgent();
        self.inside.push_back(item);
    }

    fn has(&self, wanted: Load) -> bool {
        let enough = self.inside.len() >= wanted.items || self.bytes >= wanted.bytes;
        !self.inside.is_empty() && (enough || self.urgent || !self.outside.is_empty())
    }

    fn behind(&self) -> Behind {
        match self.inside.front() {
            Some(next) => Behind::Next(next.size()),
            None if self.closed.is_some() => Behind::Closed,
            None => Behind::Nothing,
        }
    }

    fn take(&mut self, policy: &AdmissionPolicy) -> Option<T> {
        let item = self.inside.pop_front()?;
        self.bytes -= item.size();
        self.let_in(policy);
        self.urgent &= !self.inside.is_empty();
        Some(item)
    }

    /// Lets in from outside whoever fits now, in order.
    fn let_in(&mut self, policy: &AdmissionPolicy) {
        while let Some((next, _)) = self.outside.front() {
            let held = Load { items: self.inside.len(), bytes: self.bytes };
            let fits = next.is_abandoned()
                || policy.decide(held, next.size(), false, Overflow::Wait) == Admission::Enter;
            if !fits {
                break;
            }
            if let Some((item, entered)) = self.outside.pop_front()
                && !item.is_abandoned()
            {
                self.enter(item);
                // Whoever waited may have gone; the request goes its way all the same.
                let _ = entered.send(());
            }
        }
    }

    /// Drops abandoned requests outside, seldom enough to cost nothing on average.
    fn sweep(&mut self) {
        if self.outside.len() >= self.sweep_at {
            self.outside.retain(|(item, _)| !item.is_abandoned());
            self.sweep_at = FIRST_SWEEP.max(self.outside.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Debug, PartialEq)]
    struct Item(usize, bool);

    impl Queued for Item {
        fn size(&self) -> usize {
            10
        }
        fn is_abandoned(&self) -> bool {
            self.1
        }
    }

    fn queue(max_items: usize) -> Queue<Item> {
        Queue::new(AdmissionPolicy { max_items, max_bytes: 1000 })
    }

    fn all(queue: &Queue<Item>) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop()).map(|item| item.0).collect()
    }

    #[test]
    fn what_is_pushed_comes_out_in_order_through_inside_and_outside() {
        let queue = queue(2);
        let mut waiting: Vec<oneshot::Receiver<()>> = Vec::new();
        for n in 0..6 {
            match queue.push(Item(n, n == 4), Overflow::Wait).unwrap() {
                Pushed::Entered => assert!(n < 2),
                Pushed::Waiting(told) => waiting.push(told),
            }
        }
        assert_eq!(queue.load(), (Load { items: 2, bytes: 20 }, 4));
        assert!(waiting[0].try_recv().is_err(), "still outside");
        assert_eq!(queue.pop(), Some(Item(0, false)));
        assert!(waiting[0].try_recv().is_ok(), "let in as soon as there is room");
        assert_eq!(all(&queue), [1, 2, 3, 5], "the abandoned one is gone");
    }

    #[test]
    fn a_full_queue_refuses_if_told_so_and_gives_the_request_back() {
        let queue = queue(1);
        assert!(queue.push(Item(0, false), Overflow::Reject).is_ok());
        assert_eq!(
            queue.push(Item(1, false), Overflow::Reject).unwrap_err(),
            (Item(1, false), RefusedBecause::QueueFull)
        );
    }

    #[test]
    fn what_a_dead_actor_held_goes_back_to_the_head_in_order() {
        let queue = queue(10);
        (0..5).for_each(|n| assert!(queue.push(Item(n, false), Overflow::Wait).is_ok()));
        let mut hand = Vec::new();
        queue.take_while(&mut hand, |hand, _| hand.len() < 3);
        queue.give_back(hand.into_iter());
        assert_eq!(all(&queue), [0, 1, 2, 3, 4]);
        assert_eq!(queue.load().0, Load::default());
    }

    #[test]
    fn a_closed_queue_takes_nothing_but_serves_what_it_has() {
        let queue = queue(1);
        (0..3).for_each(|n| assert!(queue.push(Item(n, false), Overflow::Wait).is_ok()));
        queue.close(RefusedBecause::ShuttingDown);
        assert_eq!(queue.push(Item(9, false), Overflow::Wait).unwrap_err().1, RefusedBecause::ShuttingDown);
        assert_eq!(queue.wait(ONE, None), Woken::Ready);
        assert_eq!(all(&queue), [0, 1, 2]);
        assert_eq!(queue.wait(ONE, None), Woken::Finished);
    }

    #[test]
    fn waiting_ends_when_its_time_is_up() {
        let queue = queue(1);
        assert_eq!(queue.wait(ONE, Some(Instant::now() + Duration::from_millis(2))), Woken::TimedOut);
    }

    #[test]
    fn a_wait_for_many_is_ended_by_enough_requests_or_bytes() {
        let queue = queue(3);
        let many = |items, bytes| queue.wait(Load { items, bytes }, Some(Instant::now()));
        (0..2).for_each(|n| assert!(queue.push(Item(n, false), Overflow::Wait).is_ok()));
        assert_eq!(many(3, 1000), Woken::TimedOut);
        assert_eq!(many(2, 1000), Woken::Ready);
        assert_eq!(many(3, 20), Woken::Ready);
        (0..2).for_each(|n| assert!(queue.push(Item(n, false), Overflow::Wait).is_ok()));
        assert_eq!(many(100, 1000), Woken::Ready, "a full queue grows no fuller");
    }

    #[test]
    fn the_abandoned_do_not_pile_up_outside() {
        let queue = queue(1);
        (0..10_000).for_each(|n| assert!(queue.push(Item(n, n > 0), Overflow::Wait).is_ok()));
        assert!(queue.load().1 <= FIRST_SWEEP + 1, "{:?}", queue.load());
    }
}
