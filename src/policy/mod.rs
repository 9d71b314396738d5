//! WHEN: decisions as functions of their arguments. No clock, no thread, no I/O; only `std` is imported here.

mod admission;
mod batch;
mod restart;

pub use admission::{Overflow, RefusedBecause};
pub use batch::{FlushReason, Linger};
pub use restart::RestartPolicy;

pub(crate) use admission::{Admission, AdmissionPolicy, Load};
pub(crate) use batch::{BatchPolicy, Behind, Cost, Pending, Traffic, Verdict};
pub(crate) use restart::RestartVerdict;
