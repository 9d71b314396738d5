//! The queue with requests in both of its lanes.

use super::*;

/// What it is called: interactive ones are positive, bulk ones negative. And its size.
#[derive(Debug, PartialEq)]
struct Write(i32, usize);

impl Queued for Write {
    fn size(&self) -> usize {
        self.1
    }
    fn is_abandoned(&self) -> bool {
        false
    }
    fn lane(&self) -> Lane {
        if self.0 > 0 { Lane::Interactive } else { Lane::Bulk }
    }
}

/// With room for 1000 bytes and twice as many interactive writes taken as bulk ones.
fn queue(max_items: usize) -> Queue<Write> {
    let weight = NonZeroUsize::new(2).unwrap();
    Queue::new(AdmissionPolicy { max_items, max_bytes: 1000 }, LanePolicy { interactive_weight: weight })
}

fn push(queue: &Queue<Write>, names: impl IntoIterator<Item = i32>) {
    names.into_iter().for_each(|name| assert!(queue.push(Write(name, 10), Overflow::Wait).is_ok()));
}

fn take(queue: &Queue<Write>, most: usize) -> Vec<i32> {
    std::iter::from_fn(|| queue.pop()).map(|write| write.0).take(most).collect()
}

fn all(queue: &Queue<Write>) -> Vec<i32> {
    take(queue, usize::MAX)
}

fn lane_of(taken: &[i32], sign: i32) -> Vec<i32> {
    taken.iter().copied().filter(|name| name.signum() == sign).collect()
}

#[test]
fn interactive_writes_go_first_and_after_two_of_them_a_bulk_one() {
    let queue = queue(20);
    push(&queue, [-1, -2, -3, -4, 1, 2, 3, 4, 5]);
    assert_eq!(all(&queue), [1, 2, -1, 3, 4, -2, 5, -3, -4]);
    push(&queue, [1, 2, 3]);
    assert_eq!(take(&queue, 3), [1, 2, 3]);
    push(&queue, [-1, 4, 5, 6]);
    assert_eq!(all(&queue), [4, 5, -1, 6], "what nobody waited for does not count");
}

#[test]
fn the_turn_goes_on_from_one_batch_to_the_next() {
    let queue = queue(20);
    push(&queue, [-1, -2, 1, 2, 3, 4]);
    let batches: Vec<_> = (0..6).map(|_| take(&queue, 1)[0]).collect();
    assert_eq!(batches, [1, 2, -1, 3, 4, -2]);
}

#[test]
fn what_is_said_to_be_behind_is_what_is_taken_next() {
    let queue = queue(20);
    for n in 1..=6 {
        let size = usize::try_from(n).unwrap();
        assert!(queue.push(Write(n, size), Overflow::Wait).is_ok());
        assert!(queue.push(Write(-n, size * 10), Overflow::Wait).is_ok());
    }
    let (mut hand, mut told) = (Vec::new(), Vec::new());
    queue.take_while(&mut hand, |hand, behind| {
        told.push(behind);
        hand.len() < 9
    });
    queue.give_back(hand.into_iter());
    let mut taken = Vec::new();
    queue.take_while(&mut taken, |_, behind| {
        told.push(behind);
        true
    });
    let sizes = |writes: &[Write]| writes.iter().map(|write| Behind::Next(write.1)).collect::<Vec<_>>();
    assert_eq!(told[..10], sizes(&taken[..10]));
    assert_eq!(told[10..22], sizes(&taken));
    assert_eq!(told[22..], [Behind::Nothing]);
}

#[test]
fn what_a_dead_actor_held_of_both_lanes_goes_before_all_others_as_it_was_taken() {
    let queue = queue(20);
    push(&queue, [-1, -2, -3, 1, 2, 3, 4]);
    let mut hand = Vec::new();
    queue.take_while(&mut hand, |hand, _| hand.len() < 5);
    let held: Vec<_> = hand.iter().map(|write| write.0).collect();
    assert_eq!(held, [1, 2, -1, 3, 4]);
    push(&queue, [5, -4]);
    // Those in doubt are given back after the rest, and were taken before it.
    let rest = hand.split_off(2);
    queue.give_back(rest.into_iter());
    queue.give_back(hand.into_iter());
    assert_eq!(queue.load().0.bulk, Load { items: 4, bytes: 40 });
    assert_eq!(all(&queue), [1, 2, -1, 3, 4, -2, 5, -3, -4]);
    assert_eq!(queue.load(), (Lanes::default(), Lanes::default()));
}

#[test]
fn bulk_fills_half_of_a_queue_and_never_keeps_an_interactive_write_out() {
    let queue = queue(10);
    let refuses = |name| queue.push(Write(name, 10), Overflow::Reject).is_err();
    push(&queue, -100..0);
    let (held, waiting) = queue.load();
    assert_eq!((held.bulk.items, waiting.bulk), (5, 95));
    assert!(refuses(-101), "no room for bulk");
    for n in 1..=5 {
        assert!(!refuses(n), "and yet for {n}");
    }
    assert!(refuses(6), "full of both");
    assert_eq!(take(&queue, 3), [1, 2, -100]);
    let (held, waiting) = queue.load();
    assert_eq!((held.interactive.items, held.bulk.items, waiting.bulk), (3, 5, 94));
    assert!(!refuses(6) && !refuses(7) && refuses(8));
}

#[test]
fn a_bulk_write_larger_than_half_is_taken_when_it_is_alone_and_holds_up_only_its_own_lane() {
    let queue = queue(10);
    let enters = |name, size| matches!(queue.push(Write(name, size), Overflow::Wait), Ok(Pushed::Entered));
    assert!(enters(-1, 10));
    assert!(!enters(-2, 900));
    assert!(!enters(-3, 10), "behind the large one");
    assert!(enters(1, 10), "the other lane does not wait for it");
    assert_eq!(take(&queue, 2), [1, -1]);
    assert_eq!(queue.load().0.bulk, Load { items: 1, bytes: 900 });
    assert!(enters(2, 100) && !enters(3, 10));
    assert_eq!(all(&queue), [2, 3, -2, -3]);
    assert_eq!(
        queue.push(Write(-4, 1001), Overflow::Wait).unwrap_err().1,
        RefusedBecause::TooLarge,
        "the whole queue is the bound"
    );
}

#[test]
fn a_queue_for_one_holds_a_write_of_either_lane() {
    let queue = queue(1);
    push(&queue, [-1, -2, 1, 2, 3, -3]);
    let taken = all(&queue);
    assert_eq!((lane_of(&taken, 1), lane_of(&taken, -1)), (vec![1, 2, 3], vec![-1, -2, -3]));
}

/// Keeps a queue full of one lane and sees how often the other one is served.
fn share_of(rare: i32, max_items: usize, rare_size: usize) -> usize {
    let queue = queue(max_items);
    let flood = -rare.signum();
    let mut sent = 0;
    let mut send = || {
        sent += 1;
        flood * sent
    };
    push(&queue, (0..30).map(|_| send()));
    for n in 1..=50 {
        assert!(queue.push(Write(rare * n, rare_size), Overflow::Wait).is_ok());
    }
    let mut taken = Vec::new();
    for _ in 0..60 {
        taken.extend(take(&queue, 1));
        push(&queue, [send()]);
    }
    for sign in [1, -1] {
        assert!(lane_of(&taken, sign).iter().map(|name| name.abs()).is_sorted(), "{taken:?}");
    }
    lane_of(&taken, rare).len()
}

#[test]
fn a_flood_of_interactive_writes_leaves_bulk_its_turn_though_it_fills_the_queue() {
    for (max_items, size) in [(100, 10), (10, 10), (3, 10), (1, 10), (10, 900)] {
        let served = share_of(-1, max_items, size);
        assert!((15..=20).contains(&served), "{served} of 60 with room for {max_items}, of {size} bytes");
    }
    let served = share_of(-1, 10, 1000);
    assert!((4..=6).contains(&served), "{served}: each waits until the ten inside have made room for it");
}

#[test]
fn a_flood_of_bulk_does_not_keep_interactive_writes_from_going_first() {
    for (max_items, size) in [(100, 10), (10, 10), (3, 10), (10, 500)] {
        let served = share_of(1, max_items, size);
        assert!((37..=40).contains(&served), "{served} of 60 with room for {max_items}, of {size} bytes");
    }
    // These fit only into an empty queue.
    for (max_items, size) in [(1, 10), (10, 990), (10, 1000)] {
        let served = share_of(1, max_items, size);
        assert!((25..=40).contains(&served), "{served} of 60 with room for {max_items}, of {size} bytes");
    }
}

#[test]
fn an_interactive_write_that_waits_for_room_is_not_kept_out_by_bulk_that_needs_less() {
    let queue = queue(100);
    push(&queue, -20..0);
    assert!(matches!(queue.push(Write(1, 900), Overflow::Wait), Ok(Pushed::Waiting(_))));
    let smaller_bulk = queue.push(Write(-30, 10), Overflow::Wait);
    assert!(matches!(smaller_bulk, Ok(Pushed::Waiting(_))));
    assert_eq!(take(&queue, 11).last(), Some(&1), "as soon as there is room");
}

#[test]
fn a_closed_queue_serves_both_lanes_to_the_end_and_a_drained_one_has_nothing() {
    for served in [true, false] {
        let queue = queue(4);
        push(&queue, [-1, -2, -3, -4, 1, 2, 3, 4]);
        queue.close(RefusedBecause::ShuttingDown);
        assert_eq!(queue.wait(ONE, None), Woken::Ready);
        let taken =
            if served { all(&queue) } else { queue.drain().into_iter().map(|write| write.0).collect() };
        assert_eq!((lane_of(&taken, 1), lane_of(&taken, -1)), (vec![1, 2, 3, 4], vec![-1, -2, -3, -4]));
        assert_eq!(queue.load(), (Lanes::default(), Lanes::default()));
        assert_eq!(queue.wait(ONE, None), Woken::Finished);
    }
}

#[test]
fn a_wait_for_many_counts_both_lanes_and_ends_when_either_has_somebody_outside() {
    let queue = queue(10);
    let many = |items| queue.wait(Load { items, bytes: usize::MAX }, Some(Instant::now()));
    push(&queue, [-1, -2, 1]);
    assert_eq!((many(3), many(4)), (Woken::Ready, Woken::TimedOut));
    push(&queue, [-3, -4, -5]);
    assert_eq!(many(7), Woken::TimedOut);
    push(&queue, [-6]);
    assert_eq!(many(100), Woken::Ready, "its half grows no fuller");
}
