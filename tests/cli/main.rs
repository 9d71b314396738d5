//! The command line, as a user or a script meets it: the real binary, its stdout, stderr and exit code.
//!
//! `on.rs` runs it on a file or on a daemon; what must hold for both stands once, in `both.rs` and `dead_letters.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

/// Each sentence is a test on a file and a test on a daemon.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod on_a_file {
            $(#[test] fn $name() { super::$name(&crate::on::On::empty_file()); })*
        }
        mod on_a_daemon {
            $(#[test] fn $name() { super::$name(&crate::on::On::daemon()); })*
        }
    };
}

mod bench;
mod both;
mod check;
mod daemon;
mod dead_letters;
mod file;
mod help;
mod import;
mod on;
mod settings;
#[cfg(target_os = "linux")]
mod strace;
#[path = "../support/mod.rs"]
mod support;
