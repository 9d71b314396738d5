//! The daemon over real connections: each test starts one on a free port and talks to it as any client would.

// Clippy knows tests by their attribute, and not what they call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod auth;
mod client;
mod dead_letters;
mod faults;
mod hrana;
mod import;
mod lifecycle;
mod message_logs;
mod openapi;
mod process;
mod sql;
#[path = "../support/mod.rs"]
mod support;
