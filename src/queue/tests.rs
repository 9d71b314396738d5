//! The queue by itself.

mod lanes;

use super::*;
use std::num::NonZeroUsize;
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
    Queue::new(
        AdmissionPolicy { max_items, max_bytes: 1000 },
        LanePolicy { interactive_weight: NonZeroUsize::MIN },
    )
}

/// All of it is in one lane.
fn load(queue: &Queue<Item>) -> (Load, usize) {
    let (held, waiting) = queue.load();
    assert_eq!((held.bulk, waiting.bulk), (Load::default(), 0));
    (held.interactive, waiting.interactive)
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
    assert_eq!(load(&queue), (Load { items: 2, bytes: 20 }, 4));
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
    assert_eq!(load(&queue).0, Load::default());
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
fn who_waits_awake_is_told_as_surely_as_who_sleeps() {
    const ROUNDS: usize = 10_000;
    let there = queue(1);
    let back = queue(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut spin = Spin::on(2);
            for round in 0..ROUNDS {
                assert_eq!(there.wait_awake(ONE, None, &mut spin), Woken::Ready);
                assert_eq!(there.pop().map(|item| item.0), Some(round));
                assert!(back.push(Item(round, false), Overflow::Wait).is_ok());
            }
            let soon = Instant::now() + Duration::from_millis(2);
            assert_eq!(there.wait_awake(ONE, Some(soon), &mut Spin::on(2)), Woken::TimedOut);
            assert!(back.push(Item(ROUNDS, false), Overflow::Wait).is_ok());
            assert_eq!(there.wait_awake(ONE, None, &mut Spin::on(2)), Woken::Finished);
        });
        for round in 0..ROUNDS {
            assert!(there.push(Item(round, false), Overflow::Wait).is_ok());
            assert_eq!(back.wait(ONE, None), Woken::Ready);
            assert_eq!(back.pop().map(|item| item.0), Some(round));
        }
        assert_eq!(back.wait(ONE, None), Woken::Ready, "its time was up");
        there.close(RefusedBecause::ShuttingDown);
    });
}

#[test]
fn the_abandoned_do_not_pile_up_outside() {
    let queue = queue(1);
    (0..10_000).for_each(|n| assert!(queue.push(Item(n, n > 0), Overflow::Wait).is_ok()));
    assert!(load(&queue).1 <= FIRST_SWEEP + 1, "{:?}", queue.load());
}
