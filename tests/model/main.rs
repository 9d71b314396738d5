//! The database against two pictures of what it promises. `machine`: random steps, each compared with an in-memory model
//! that does the same (`reference`). `histories`: what concurrent clients were told while the writer kept crashing, and
//! whether one order of all writes and reads explains it (`checker`). Needs `--features failpoints`.
//!
//! Failpoints belong to the process, so each test that sets one holds a `FailScenario`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod case;
mod checker;
mod doctored;
#[allow(dead_code, reason = "shared with the other test binaries, which use all of it")]
#[path = "../it/harness.rs"]
mod harness;
mod histories;
mod injected;
mod leases;
mod letters;
mod machine;
mod ops;
mod reference;
mod steps;
#[path = "../support/mod.rs"]
mod support;
