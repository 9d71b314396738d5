//! Whether, and when, something that failed is started again: so many restarts in a window, with growing pauses.
//! (Erlang/OTP calls it restart intensity: <https://www.erlang.org/doc/system/sup_princ.html>.)

use std::time::{Duration, Instant};

/// The restart budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// So many restarts are allowed ..
    pub max_restarts: usize,
    /// .. within this time.
    pub window: Duration,
    /// The pause before the first restart of a series; each further one doubles it.
    pub initial_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartVerdict {
    Restart { after: Duration },
    GiveUp,
}

impl RestartPolicy {
    /// `earlier`: when the restarts before this one were, oldest first; what has left the window is dropped from it.
    pub(crate) fn decide(&self, earlier: &mut Vec<Instant>, now: Instant) -> RestartVerdict {
        earlier.retain(|restart| now.duration_since(*restart) < self.window);
        if earlier.len() >= self.max_restarts {
            return RestartVerdict::GiveUp;
        }
        let doublings = u32::try_from(earlier.len()).unwrap_or(u32::MAX).min(20);
        let after = self.initial_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        earlier.push(now);
        RestartVerdict::Restart { after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_have_a_budget_and_growing_pauses() {
        let second = Duration::from_secs(1);
        let policy = RestartPolicy {
            max_restarts: 3,
            window: 10 * second,
            initial_backoff: second,
            max_backoff: 3 * second,
        };
        let start = Instant::now();
        let mut earlier = Vec::new();
        let mut decide = |at: u32| policy.decide(&mut earlier, start + at * second);
        assert_eq!(decide(0), RestartVerdict::Restart { after: second });
        assert_eq!(decide(1), RestartVerdict::Restart { after: 2 * second });
        assert_eq!(decide(2), RestartVerdict::Restart { after: 3 * second });
        assert_eq!(decide(9), RestartVerdict::GiveUp);
        assert_eq!(decide(12), RestartVerdict::Restart { after: second }, "the window has moved on");
    }
}
