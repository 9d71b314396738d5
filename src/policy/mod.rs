//! WHEN: decisions as functions of their arguments. No clock, no thread, no I/O; only `std` is imported here.

mod admission;
mod batch;
mod lanes;
mod restart;
mod spin;

pub use admission::{Overflow, RefusedBecause};
pub use batch::{FlushReason, Linger};
pub use lanes::Lane;
pub use restart::RestartPolicy;

pub(crate) use admission::{Admission, AdmissionPolicy, Load};
pub(crate) use batch::{BatchPolicy, Behind, Pending, Traffic, Verdict};
pub(crate) use lanes::{LanePolicy, Lanes};
pub(crate) use restart::RestartVerdict;
pub(crate) use spin::Spin;
