//! The code is made to panic at named places, under load: nothing is lost, nothing happens twice, and everybody gets one
//! answer. Needs `--features failpoints`.
//!
//! Failpoints belong to the process, so each test holds a `FailScenario`, and only one runs at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "../it/harness.rs"]
mod harness;
mod lanes;
mod load;
mod readers;
mod restarts;
mod storm;
#[path = "../support/mod.rs"]
mod support;
