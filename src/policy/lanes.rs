//! Which of the two lanes of writes is next. Interactive writes go first; after so many in a row for which a bulk one had
//! to wait, it is that one's turn. So a load in one lane slows the other down and never stops it.
//!
//! The turn is kept at the door as well: a full queue of interactive writes would else keep a bulk write outside for
//! ever, and it has no turn there. A bulk write whose turn has come, and whose lane is empty, is let in before anybody
//! else; in all other cases interactive writes are, and a bulk one does not take the room that they wait for.

use std::num::NonZeroUsize;
use std::ops::{Index, IndexMut};

/// Where a write waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lane {
    /// For small writes that somebody waits for; they go before bulk ones.
    #[default]
    Interactive,
    /// For loads of many or large writes: they take at most half of the queue, and have their turn after
    /// `queue.interactive_weight` interactive ones.
    Bulk,
}

/// One for each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lanes<T> {
    pub(crate) interactive: T,
    pub(crate) bulk: T,
}

impl<T> Lanes<T> {
    pub(crate) fn map<U>(&self, of: impl Fn(&T) -> U) -> Lanes<U> {
        Lanes { interactive: of(&self.interactive), bulk: of(&self.bulk) }
    }
}

impl<T> Index<Lane> for Lanes<T> {
    type Output = T;

    fn index(&self, lane: Lane) -> &T {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Bulk => &self.bulk,
        }
    }
}

impl<T> IndexMut<Lane> for Lanes<T> {
    fn index_mut(&mut self, lane: Lane) -> &mut T {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Bulk => &mut self.bulk,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LanePolicy {
    /// So many interactive writes are taken for each bulk one that waits.
    pub(crate) interactive_weight: NonZeroUsize,
}

impl LanePolicy {
    /// The lane whose first write is taken next, of those that have one inside. `in_a_row`: so many interactive ones were
    /// taken for which a bulk one had to wait.
    pub(crate) fn next(self, in_a_row: usize, inside: Lanes<bool>) -> Option<Lane> {
        match (inside.interactive, inside.bulk) {
            (true, true) if self.is_bulks_turn(in_a_row) => Some(Lane::Bulk),
            (true, _) => Some(Lane::Interactive),
            (false, true) => Some(Lane::Bulk),
            (false, false) => None,
        }
    }

    /// How many are in a row when one more was taken; `bulk_waits`: inside or outside.
    pub(crate) fn in_a_row_after(self, in_a_row: usize, taken: Lane, bulk_waits: bool) -> usize {
        match taken {
            Lane::Interactive if bulk_waits => (in_a_row + 1).min(self.interactive_weight.get()),
            Lane::Interactive | Lane::Bulk => 0,
        }
    }

    /// The lane whose first write is let in next, of those that have one outside. If there is no room for it, nobody
    /// takes the room that there is.
    pub(crate) fn next_in(self, in_a_row: usize, outside: Lanes<bool>, bulk_is_inside: bool) -> Option<Lane> {
        match (outside.interactive, outside.bulk) {
            (_, true) if self.is_bulks_turn(in_a_row) && !bulk_is_inside => Some(Lane::Bulk),
            (true, _) => Some(Lane::Interactive),
            (false, true) => Some(Lane::Bulk),
            (false, false) => None,
        }
    }

    fn is_bulks_turn(self, in_a_row: usize) -> bool {
        in_a_row >= self.interactive_weight.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: Option<Lane> = Some(Lane::Interactive);
    const B: Option<Lane> = Some(Lane::Bulk);

    fn policy(weight: usize) -> LanePolicy {
        LanePolicy { interactive_weight: NonZeroUsize::new(weight).unwrap() }
    }

    fn lanes(interactive: bool, bulk: bool) -> Lanes<bool> {
        Lanes { interactive, bulk }
    }

    #[test]
    fn interactive_writes_are_taken_first_and_bulk_ones_in_their_turn() {
        for (in_a_row, interactive, bulk, expected) in [
            (0, false, false, None),
            (3, false, false, None),
            (0, true, false, I),
            (3, true, false, I),
            (0, false, true, B),
            (3, false, true, B),
            (0, true, true, I),
            (2, true, true, I),
            (3, true, true, B),
        ] {
            let next = policy(3).next(in_a_row, lanes(interactive, bulk));
            assert_eq!(next, expected, "{in_a_row} {interactive} {bulk}");
        }
    }

    #[test]
    fn only_what_a_bulk_write_waits_for_counts() {
        for (in_a_row, taken, bulk_waits, expected) in [
            (0, Lane::Interactive, true, 1),
            (2, Lane::Interactive, true, 3),
            (3, Lane::Interactive, true, 3),
            (2, Lane::Interactive, false, 0),
            (3, Lane::Bulk, true, 0),
            (1, Lane::Bulk, false, 0),
        ] {
            let after = policy(3).in_a_row_after(in_a_row, taken, bulk_waits);
            assert_eq!(after, expected, "{in_a_row} {taken:?} {bulk_waits}");
        }
    }

    #[test]
    fn so_many_interactive_writes_are_taken_for_each_bulk_one_while_both_wait() {
        for weight in [1, 2, 8] {
            let (mut in_a_row, mut taken) = (0, Vec::new());
            for _ in 0..3 * (weight + 1) {
                let lane = policy(weight).next(in_a_row, lanes(true, true)).unwrap();
                in_a_row = policy(weight).in_a_row_after(in_a_row, lane, true);
                taken.push(lane);
            }
            let mut turn = vec![Lane::Interactive; weight];
            turn.push(Lane::Bulk);
            assert_eq!(taken, turn.repeat(3), "{weight}");
        }
    }

    #[test]
    fn interactive_writes_are_let_in_first_unless_it_is_the_turn_of_a_lane_that_is_empty_inside() {
        for (in_a_row, interactive, bulk, bulk_is_inside, expected) in [
            (0, false, false, false, None),
            (0, true, false, false, I),
            (3, true, false, false, I),
            (0, false, true, false, B),
            (0, false, true, true, B),
            (2, true, true, false, I),
            (3, true, true, false, B),
            (3, false, true, false, B),
            (3, true, true, true, I),
        ] {
            let next = policy(3).next_in(in_a_row, lanes(interactive, bulk), bulk_is_inside);
            assert_eq!(next, expected, "{in_a_row} {interactive} {bulk} {bulk_is_inside}");
        }
    }
}
