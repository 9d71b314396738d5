//! Whether a request may enter a queue: now, later, or not at all.

use std::fmt;

/// What a full queue does with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It waits, in order, until there is room.
    Wait,
    /// It is refused at once.
    Reject,
}

/// Why a request was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBecause {
    /// The queue is full, in requests or in bytes.
    QueueFull,
    /// The request alone is larger than the whole queue may be.
    TooLarge,
    /// The database is shutting down.
    ShuttingDown,
    /// The database is over its restart budget.
    Failed,
    /// The request's time was up before its turn came.
    DeadlinePassed,
    /// No database was opened behind this address.
    NotOpen,
}

impl RefusedBecause {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "request_too_large",
            Self::ShuttingDown => "shutting_down",
            Self::Failed => "database_failed",
            Self::DeadlinePassed => "deadline_passed",
            Self::NotOpen => "not_open",
        }
    }

    /// Whether the same request may be taken later.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::QueueFull | Self::ShuttingDown | Self::Failed | Self::DeadlinePassed => true,
            Self::TooLarge | Self::NotOpen => false,
        }
    }
}

impl fmt::Display for RefusedBecause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::QueueFull => "the queue is full; try again later",
            Self::TooLarge => "the request is larger than the whole queue may be; send less at once",
            Self::ShuttingDown => "the database is shutting down; try again when it is back",
            Self::Failed => "the database failed and is not restarted any more; see its status",
            Self::DeadlinePassed => {
                "its time was up before its turn came; allow more time or try again later"
            }
            Self::NotOpen => "no database was opened behind this address; register an opened one first",
        })
    }
}

/// What a queue holds, or a request weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// What is done with a request at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Enter,
    Wait,
    Refuse(RefusedBecause),
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdmissionPolicy {
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
}

impl AdmissionPolicy {
    /// `others_waiting`: somebody came earlier and is still outside, so a new one must not overtake.
    pub(crate) fn decide(
        &self,
        held: Load,
        bytes: usize,
        others_waiting: bool,
        overflow: Overflow,
    ) -> Admission {
        if bytes > self.max_bytes {
            return Admission::Refuse(RefusedBecause::TooLarge);
        }
        let fits = held.items < self.max_items && held.bytes + bytes <= self.max_bytes;
        match overflow {
            _ if fits && !others_waiting => Admission::Enter,
            Overflow::Wait => Admission::Wait,
            Overflow::Reject => Admission::Refuse(RefusedBecause::QueueFull),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_by_requests_and_by_bytes() {
        let full = Admission::Refuse(RefusedBecause::QueueFull);
        let too_large = Admission::Refuse(RefusedBecause::TooLarge);
        for (items, bytes, request, waiting, reject, wait) in [
            (0, 0, 100, false, Admission::Enter, Admission::Enter),
            (0, 0, 101, false, too_large, too_large),
            (9, 90, 10, false, Admission::Enter, Admission::Enter),
            (9, 90, 11, false, full, Admission::Wait),
            (10, 10, 1, false, full, Admission::Wait),
            (0, 0, 1, true, full, Admission::Wait),
        ] {
            let held = Load { items, bytes };
            let policy = AdmissionPolicy { max_items: 10, max_bytes: 100 };
            let decide = |overflow| policy.decide(held, request, waiting, overflow);
            assert_eq!(decide(Overflow::Reject), reject, "{held:?} {request}");
            assert_eq!(decide(Overflow::Wait), wait, "{held:?} {request}");
        }
    }
}
