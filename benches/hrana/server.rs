//! The two servers: the daemon as this build made it, and `sqld`, the libSQL server, by the path that `tests/clients/sqld`
//! prints. Each is a process of its own with a new file in a directory of its own, ended by its id.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
pub(crate) use crate::daemon::Server;

#[derive(Clone)]
pub(crate) enum Kind {
    /// With this `database.synchronous`.
    Daemon(&'static str),
    Sqld(PathBuf),
}

impl Kind {
    /// The reference, if it can be had. Without `--bench` nothing is downloaded for it.
    pub(crate) fn sqld(may_download: bool) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        if let Some(path) = std::env::var_os("BENCH_SQLD") {
            return Some(Self::Sqld(path.into()));
        }
        if !may_download && !root.join(".cache/sqld/sqld").exists() {
            return None;
        }
        let found = Command::new(root.join("tests/clients/sqld")).stderr(Stdio::inherit()).output().ok()?;
        let path = String::from_utf8(found.stdout).ok()?;
        found.status.success().then(|| Self::Sqld(path.trim().into()))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Daemon(synchronous) => synchronous,
            Self::Sqld(_) => "sqld",
        }
    }
}

impl Server {
    pub(crate) async fn start(kind: &Kind, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let server = match kind {
            Kind::Daemon(synchronous) => Self::daemon(&directory.join("bench.db"), synchronous),
            Kind::Sqld(path) => Self::sqld(path, directory),
        };
        let begun = Instant::now();
        let mut client = Client::new(&server.address);
        while client.pipeline(None, "{\"type\":\"close\"}").await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} does not answer", kind.name());
            actix_rt::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    fn sqld(path: &Path, directory: &Path) -> Self {
        // It takes no port 0: a port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let more = std::env::var("BENCH_SQLD_ARGS").unwrap_or_default();
        let process = Command::new(path)
            .args(["--no-welcome", "--http-listen-addr", &address, "--db-path"])
            .arg(directory.join("sqld"))
            .args(more.split_whitespace())
            .env("RUST_LOG", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }
}
