//! What holds when the storage fails: calls that return errors, syncs that fail, disks that are
//! full or go away, files that are damaged, power that goes.
//!
//! A binary of its own, because it puts a VFS of its own under SQLite.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod damaged;
mod disk;
mod faults;
mod full;
mod ghost;
mod mixed;
#[cfg(target_os = "linux")]
mod mount;
mod power;
#[cfg(target_os = "linux")]
mod shutdown;
#[path = "../support/mod.rs"]
mod support;
mod vfs;
mod workload;
