//! The command line, as a user or a script meets it: the real binary, its stdout, stderr and exit code.
//!
//! `on.rs` runs it on a file or on a daemon; what must hold for both stands once in `both.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod both;
mod check;
mod daemon;
mod file;
mod help;
mod import;
mod on;
mod settings;
#[cfg(target_os = "linux")]
mod strace;
#[path = "../support/mod.rs"]
mod support;
