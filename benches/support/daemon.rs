//! The service binary as a process of its own, for the benches that talk to it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server that listens, ended with this.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: String,
}

impl Server {
    /// The daemon, on a free port.
    pub(crate) fn daemon(database: &Path, synchronous: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_actix-sqlite"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database"])
            .arg(database)
            .env("ACTIX_SQLITE__DATABASE__SYNCHRONOUS", synchronous)
            .env("ACTIX_SQLITE__TELEMETRY__FILTER", "error")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().split_once("http://").map(|(_, rest)| rest.trim().to_owned()));
        // The pipe stays open for what the daemon has to say later.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("it says where it listens") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
