//! The daemon as a process of its own, under load: killed, told to stop, asked for more than it can do, and left to run.
//!
//! The callers, and the ledger of what they sent and what they were told, live in the test's process, where nothing that
//! befalls the daemon reaches them. What is in the file has to agree with the ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod caller;
mod figures;
mod kill;
mod ledger;
#[allow(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "../cli/on.rs"]
mod on;
mod overload;
mod shutdown;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod wire;

/// Each of these tests is load enough for a machine, and measures it: one at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
