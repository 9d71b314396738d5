//! The daemon over real connections: each test starts one on a free port and talks to it as any client would.

mod accounts;
mod auth;
mod client;
mod faults;
mod import;
mod lifecycle;
mod message_logs;
mod openapi;
mod process;
mod sql;
