//! From settings to a daemon that listens, and its end: nothing is taken any more, what was taken is answered.

use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{HttpServer, web};
use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::listen::{self, Address, SocketFile};
use super::signals::{Signal, Signals};
use super::{Daemon, app};
use crate::settings::Settings;
use crate::{Database, ShutdownReport, StartError};

/// How long connections may take to send what is answered already, in seconds; past that they are cut.
const GRACE_SECONDS: u64 = 2;

/// Why the daemon did not start, or ended other than it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// The database cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Somebody else listens there.
    #[error(
        "{address} is in use; stop who listens there, or set another server.listen or server.unix_socket"
    )]
    AddressInUse {
        /// Where.
        address: Address,
    },
    /// It cannot listen there.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: Address,
        /// What the system said, or what is there already.
        reason: String,
    },
    /// The system refuses what a server needs.
    #[error("the server failed: {0}")]
    Server(String),
    /// The database is over its restart budget. All requests were answered.
    #[error("the database failed for good: {0}")]
    DatabaseFailed(String),
    /// It ended as it was asked to, but something still held its files when the time was up (`supervisor.shutdown_timeout`).
    /// What was acknowledged is in the file.
    #[error("the files were not closed in time (supervisor.shutdown_timeout): {0}")]
    NotClosed(String),
    /// A second signal came while the first one's shutdown was under way. Writes that were not answered are either whole
    /// in the file or not there.
    #[error("stopped at once by a second {0}; what was not answered yet is not accounted for")]
    CutShort(Signal),
}

impl ServeError {
    /// The exit code of a process that ends with this: 78 for settings, 128 and the signal's number for a second signal,
    /// else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(StartError::Settings(_)) => 78,
            Self::CutShort(signal) => 128 + signal.number(),
            Self::Start(_)
            | Self::AddressInUse { .. }
            | Self::Listen { .. }
            | Self::Server(_)
            | Self::DatabaseFailed(_)
            | Self::NotClosed(_) => 1,
        }
    }
}

/// Who asked a daemon to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoppedBy {
    /// The system or a person.
    Signal(Signal),
    /// The program it runs in, by [`Stopper::stop`] or [`Database::shutdown`].
    Program,
}

/// What a daemon did until it ended as it should.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Who ended it.
    pub stopped_by: StoppedBy,
    /// Requests answered.
    pub requests: u64,
    /// How the database ended.
    pub shutdown: ShutdownReport,
}

impl std::fmt::Display for Served {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} requests answered; {}", self.requests, self.shutdown)
    }
}

/// Ends a daemon from anywhere in the program, as a first SIGTERM would.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Notify>);

impl Stopper {
    /// Asks for the end; [`Server::run`] returns when it is reached.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// A daemon that listens: its addresses are taken and its database is open. [`Server::run`] serves it.
pub struct Server {
    daemon: web::Data<Daemon>,
    http: actix_web::dev::Server,
    signals: Signals,
    addresses: Vec<Address>,
    stopper: Stopper,
    _socket: Option<SocketFile>,
}

impl Server {
    /// Opens the database, listens, and takes over the signals: one that comes before [`Server::run`] ends that at once.
    /// To be called in an actix `System`.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left open then.
    pub async fn bind(settings: Settings) -> Result<Self, ServeError> {
        limit_sqlite_memory(&settings)?;
        let database = Database::open(settings).await?;
        match Self::listen(database.clone()) {
            Ok(server) => Ok(server),
            Err(error) => {
                database.shutdown().await;
                Err(error)
            }
        }
    }

    fn listen(database: Database) -> Result<Self, ServeError> {
        let settings = database.settings().server.clone();
        let daemon = web::Data::new(Daemon::new(database));
        let factory = {
            let daemon = daemon.clone();
            move || app(daemon.clone())
        };
        let wanted = Address::Http(settings.listen);
        let mut server = HttpServer::new(factory)
            .workers(settings.workers.get())
            .max_connections(settings.max_connections.get())
            // A client that left is noticed at once, and its write taken back if it is still queued.
            .h1_allow_half_closed(false)
            // An answer in several pieces (of a cursor, over a WebSocket) would wait for the client's system to confirm each.
            .tcp_nodelay(true)
            .disable_signals()
            .shutdown_timeout(GRACE_SECONDS)
            .bind(settings.listen)
            .map_err(|error| listen::explain(wanted, &error))?;
        let mut addresses: Vec<Address> = server.addrs().into_iter().map(Address::Http).collect();
        let path = settings.unix_socket;
        let mut socket = None;
        if !path.as_os_str().is_empty() {
            let address = Address::Unix(path.clone());
            socket = Some(SocketFile::claim(&path)?);
            server = server.bind_uds(path).map_err(|error| listen::explain(address.clone(), &error))?;
            addresses.push(address);
        }
        let stopper = Stopper(Arc::new(Notify::new()));
        let signals = Signals::listen().map_err(failed)?;
        Ok(Self { daemon, http: server.run(), signals, addresses, stopper, _socket: socket })
    }

    /// Where it can be reached.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The database it serves.
    pub fn database(&self) -> &Database {
        &self.daemon.database
    }

    /// A handle to end it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until a SIGTERM, a Ctrl-C or [`Stopper::stop`], or until the database fails for good. Then: new requests are
    /// refused with 503, what is queued is committed, everything in flight is answered, and the files are closed. A second
    /// signal does not wait for that.
    ///
    /// # Errors
    /// [`ServeError`] if it ended other than it was asked to.
    pub async fn run(self) -> Result<Served, ServeError> {
        let mut signals = self.signals;
        let handle = self.http.handle();
        let serving = actix_rt::spawn(self.http);
        for address in &self.addresses {
            tracing::info!(%address, "listening");
        }
        let database = self.daemon.database.clone();
        let expiring = self.daemon.clone();
        let expiring = actix_rt::spawn(async move { expiring.hrana.keep_expiring().await });
        let end = wait_for_end(&database, &mut signals, &self.stopper).await;
        tracing::info!(end = ?end, "stopping");
        expiring.abort();
        let shutdown = match select(Box::pin(drain(&self.daemon, &handle)), Box::pin(signals.next())).await {
            Either::Left((shutdown, _)) => shutdown,
            Either::Right((signal, _)) => return Err(ServeError::CutShort(signal)),
        };
        serving.await.map_err(|error| ServeError::Server(error.to_string()))?.map_err(failed)?;
        let requests = self.daemon.requests();
        tracing::info!(requests, %shutdown, "stopped");
        match end {
            End::Failed(reason) => Err(ServeError::DatabaseFailed(reason)),
            End::Asked(stopped_by) => {
                let served = Served { stopped_by, requests, shutdown };
                if served.shutdown.closed {
                    Ok(served)
                } else {
                    Err(ServeError::NotClosed(served.to_string()))
                }
            }
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// For the whole process (<https://sqlite.org/c3ref/hard_heap_limit64.html>): a row of many large values is built before
/// any limit on results sees it. A library has no business with it, a daemon has.
///
/// From the soft limit on page caches do not grow, but use their own pages again: the other half is there for statements.
fn limit_sqlite_memory(settings: &Settings) -> Result<(), ServeError> {
    let limit = i64::try_from(settings.server.max_sqlite_memory.as_u64()).unwrap_or(i64::MAX);
    let set = |conn: rusqlite::Connection| {
        conn.pragma_update_and_check(None, "hard_heap_limit", limit, |_| Ok(()))?;
        conn.pragma_update_and_check(None, "soft_heap_limit", limit / 2, |_| Ok(()))
    };
    rusqlite::Connection::open_in_memory()
        .and_then(set)
        .map_err(|error| ServeError::Server(error.to_string()))
}

// Taken by value: it is what `map_err` gives.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: std::io::Error) -> ServeError {
    ServeError::Server(error.to_string())
}

#[derive(Debug)]
enum End {
    Asked(StoppedBy),
    Failed(String),
}

async fn wait_for_end(database: &Database, signals: &mut Signals, stopper: &Stopper) -> End {
    let signal = Box::pin(signals.next());
    let asked = Box::pin(stopper.0.notified());
    let ended = Box::pin(database.ended());
    match select(signal, select(asked, ended)).await {
        Either::Left((signal, _)) => End::Asked(StoppedBy::Signal(signal)),
        Either::Right((Either::Left(((), _)), _)) => End::Asked(StoppedBy::Program),
        Either::Right((Either::Right((reason, _)), _)) => {
            reason.map_or(End::Asked(StoppedBy::Program), End::Failed)
        }
    }
}

/// Transactions that only wait for their clients go first, then the database, so that whoever waits for it gets an answer;
/// the connections close when all is answered.
async fn drain(daemon: &Daemon, server: &ServerHandle) -> ShutdownReport {
    daemon.hrana.close();
    let shutdown = daemon.database.shutdown().await;
    server.stop(true).await;
    shutdown
}
