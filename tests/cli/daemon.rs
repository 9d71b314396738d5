//! `serve` from its first line to its last, and what a client says of a daemon that is not there.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;

use crate::on::{Daemon, Place, finish};
