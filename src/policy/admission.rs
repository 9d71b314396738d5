//! Whether a request may enter a queue: now, later, or not at all. Both lanes share its bounds, but bulk takes at most
//! half of each, so that half of the queue is always there for interactive requests. A bulk request larger than that is
//! taken when there is no other: it must not be stuck, and it alone may hold more.

use std::fmt;

use super::lanes::{Lane, Lanes};

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
    /// The write-ahead log is as long as it may be, and cannot be made shorter now.
    LogFull,
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
            Self::LogFull => "wal_full",
        }
    }

    /// Whether the same request may be taken later.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::QueueFull | Self::ShuttingDown | Self::Failed | Self::DeadlinePassed | Self::LogFull => {
                true
            }
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
            Self::LogFull => {
                "the write-ahead log is as long as it may be (database.wal_max_size), and a reader keeps it from \
                 being checkpointed; try again when that reader has ended"
            }
        })
    }
}

/// What a queue holds, or a request weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Lanes<Load> {
    /// What both hold.
    pub(crate) fn all(&self) -> Load {
        let Self { interactive, bulk } = self;
        Load { items: interactive.items + bulk.items, bytes: interactive.bytes + bulk.bytes }
    }
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
        held: &Lanes<Load>,
        lane: Lane,
        bytes: usize,
        others_waiting: bool,
        overflow: Overflow,
    ) -> Admission {
        if bytes > self.max_bytes {
            return Admission::Refuse(RefusedBecause::TooLarge);
        }
        match overflow {
            _ if !others_waiting && self.fits(held, lane, bytes) => Admission::Enter,
            Overflow::Wait => Admission::Wait,
            Overflow::Reject => Admission::Refuse(RefusedBecause::QueueFull),
        }
    }

    /// Whether there is room for it now.
    pub(crate) fn fits(&self, held: &Lanes<Load>, lane: Lane, bytes: usize) -> bool {
        let within = |held: Load, max: Load| held.items < max.items && held.bytes + bytes <= max.bytes;
        let whole = Load { items: self.max_items, bytes: self.max_bytes };
        let half = Load { items: self.max_items / 2, bytes: self.max_bytes / 2 };
        within(held.all(), whole)
            && (lane == Lane::Interactive || held.bulk.items == 0 || within(held.bulk, half))
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
            let held = Lanes { interactive: Load { items, bytes }, bulk: Load::default() };
            let policy = AdmissionPolicy { max_items: 10, max_bytes: 100 };
            let decide = |overflow| policy.decide(&held, Lane::Interactive, request, waiting, overflow);
            assert_eq!(decide(Overflow::Reject), reject, "{held:?} {request}");
            assert_eq!(decide(Overflow::Wait), wait, "{held:?} {request}");
        }
    }

    #[test]
    fn bulk_takes_at_most_half_of_a_queue_and_one_alone_may_take_more() {
        let load = |(items, bytes)| Load { items, bytes };
        for (interactive, bulk, request, lane, expected) in [
            ((0, 0), (4, 10), 10, Lane::Bulk, true),
            ((0, 0), (5, 10), 10, Lane::Bulk, false),
            ((0, 0), (5, 10), 10, Lane::Interactive, true),
            ((4, 10), (5, 10), 10, Lane::Interactive, true),
            ((5, 10), (5, 10), 10, Lane::Interactive, false),
            ((0, 0), (1, 40), 10, Lane::Bulk, true),
            ((0, 0), (1, 40), 11, Lane::Bulk, false),
            ((0, 0), (1, 40), 60, Lane::Interactive, true),
            ((0, 0), (0, 0), 100, Lane::Bulk, true),
            ((1, 10), (0, 0), 90, Lane::Bulk, true),
            ((1, 11), (0, 0), 90, Lane::Bulk, false),
            ((10, 10), (0, 0), 1, Lane::Bulk, false),
            ((9, 10), (0, 0), 1, Lane::Bulk, true),
        ] {
            let held = Lanes { interactive: load(interactive), bulk: load(bulk) };
            let policy = AdmissionPolicy { max_items: 10, max_bytes: 100 };
            assert_eq!(policy.fits(&held, lane, request), expected, "{held:?} {request} {lane:?}");
        }
        let alone = AdmissionPolicy { max_items: 1, max_bytes: 1 };
        assert!(alone.fits(&Lanes::default(), Lane::Bulk, 1), "half of one is none, and yet it is taken");
    }
}
