//! How long a thread that found nothing to do stays awake. To sleep and to be woken takes a thread tens of microseconds,
//! and a caller who was just answered is often back sooner.
//!
//! A thread that spins for as long as sleeping would cost spends at most twice what it had to (Karlin et al., "Empirical
//! Studies of Competitive Spinning for a Shared-Memory Multiprocessor", SOSP 1991). Where it was in vain it is done more and
//! more seldom.

use std::time::Duration;

/// What is known of the spins before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spin {
    /// Spins that brought nothing, one after the other.
    in_vain: u32,
    /// So many times it is not tried.
    pause: u32,
    never: bool,
}

impl Spin {
    /// About what it takes to sleep and to be woken.
    const LONGEST: Duration = Duration::from_micros(50);
    /// Pauses grow up to 2 to the power of this.
    const MOST_DOUBLINGS: u32 = 10;

    /// On one core whoever spins keeps from running whom it waits for.
    pub(crate) fn on(cores: usize) -> Self {
        Self { never: cores < 2, ..Self::default() }
    }

    /// How long to spin this time.
    pub(crate) fn turn(&mut self) -> Duration {
        if self.never || self.pause > 0 {
            self.pause = self.pause.saturating_sub(1);
            return Duration::ZERO;
        }
        Self::LONGEST
    }

    /// Whether the spin brought what was waited for.
    pub(crate) fn ended(&mut self, came: bool) {
        self.in_vain = if came { 0 } else { self.in_vain.saturating_add(1) };
        self.pause = if came { 0 } else { 1 << self.in_vain.min(Self::MOST_DOUBLINGS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many turns spin, if each is in vain.
    fn spins_in_vain(spin: &mut Spin, turns: usize) -> usize {
        (0..turns)
            .filter(|_| {
                let spins = !spin.turn().is_zero();
                if spins {
                    spin.ended(false);
                }
                spins
            })
            .count()
    }

    #[test]
    fn it_spins_as_long_as_that_helps_and_hardly_ever_where_it_does_not() {
        let mut spin = Spin::on(2);
        for _ in 0..100 {
            assert!(!spin.turn().is_zero());
            spin.ended(true);
        }
        assert_eq!(spins_in_vain(&mut spin, 10_000), 18, "ten of the first 2057, then one of 1025");
        while spin.turn().is_zero() {}
        spin.ended(true);
        assert!(!spin.turn().is_zero(), "once it helps it is tried each time again");
    }

    #[test]
    fn one_core_is_left_to_others() {
        assert_eq!(spins_in_vain(&mut Spin::on(1), 10_000), 0);
    }
}
