//! Everything that can be set: one struct a component. Defaults < file < environment < flags; read and checked once, in
//! `load.rs`.
//!
//! The defaults stand in the `Default` implementations; `settings.toml` shows them with a comment each, and a test
//! keeps the two equal.

mod hrana;
mod load;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use hrana::HranaSettings;

use crate::policy::{Linger, Overflow, RestartPolicy};

/// The prefix of environment variables: `ACTIX_SQLITE__WRITER__LINGER=5ms`.
pub const ENV_PREFIX: &str = "ACTIX_SQLITE";

/// Settings that cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub(crate) String);

/// All settings; see `settings.toml` for every key with its default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The file.
    pub database: DatabaseSettings,
    /// The queue of writes.
    pub queue: QueueSettings,
    /// The writer and its batches.
    pub writer: WriterSettings,
    /// The pool of readers and its queue.
    pub readers: ReadersSettings,
    /// Restarts.
    pub supervisor: SupervisorSettings,
    /// The daemon's HTTP server.
    pub server: ServerSettings,
    /// Who may talk to the daemon.
    pub auth: AuthSettings,
    /// The built-in domain.
    pub relay: RelaySettings,
    /// The daemon's log.
    pub telemetry: TelemetrySettings,
}

/// The file and how SQLite treats it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// The database file; created if missing, its directory is not.
    pub path: PathBuf,
    /// When a COMMIT is on the disk.
    pub synchronous: Synchronous,
    /// Page cache of each connection.
    pub cache_size: ByteSize,
    /// The largest text, blob or row, stored or computed, and the longest statement.
    pub max_value_size: ByteSize,
    /// How long a connection waits for a lock that somebody else holds.
    #[serde(with = "humantime_serde")]
    pub busy_timeout: Duration,
    /// Size of the write-ahead log from which it is checkpointed: beside the writer, and at eight to sixteen times that size
    /// by the writer, which then starts it again. Less than 1 MiB: by the writer at once.
    pub wal_checkpoint_size: ByteSize,
    /// Size of the write-ahead log from which it is also truncated, which waits for no reader and may fail.
    pub wal_truncate_size: ByteSize,
    /// Size of the write-ahead log from which writes are refused while it cannot be made shorter.
    pub wal_max_size: ByteSize,
    /// Off if something else, such as a replicator, checkpoints the file.
    pub checkpoint: bool,
    /// How long idempotency keys are remembered.
    #[serde(with = "humantime_serde")]
    pub idempotency_retention: Duration,
    /// How many idempotency keys are remembered; past that the oldest go first.
    pub idempotency_max_keys: NonZeroUsize,
    /// How many dead letters are kept: writes that nobody waited for and that failed. Past that the oldest go.
    pub max_dead_letters: NonZeroUsize,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("actix-sqlite.db"),
            synchronous: Synchronous::Full,
            cache_size: ByteSize::mib(8),
            max_value_size: ByteSize::mib(16),
            busy_timeout: Duration::from_secs(5),
            wal_checkpoint_size: ByteSize::mib(4),
            wal_truncate_size: ByteSize::mib(64),
            wal_max_size: ByteSize::mib(256),
            checkpoint: true,
            idempotency_retention: Duration::from_hours(24),
            idempotency_max_keys: nonzero(1_000_000),
            max_dead_letters: nonzero(100_000),
        }
    }
}

/// When a COMMIT is on the disk (<https://sqlite.org/pragma.html#pragma_synchronous>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Before it is acknowledged. The only one under which acknowledged means durable.
    Full,
    /// Some time later: a power loss may take the last commits, never consistency.
    Normal,
    /// When the system feels like it: a power loss may damage the file.
    Off,
}

impl Synchronous {
    /// As it is written in the settings, in the status and for SQLite.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::Off => "off",
        }
    }
}

/// The queue between callers and the writer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// How many writes it holds. Bulk writes take at most half of it.
    pub max_writes: NonZeroUsize,
    /// How many bytes of statements and parameters it holds. Bulk writes take at most half of it, or one alone more.
    pub max_bytes: ByteSize,
    /// What becomes of a write that finds it full.
    #[serde(with = "OverflowName")]
    pub overflow: Overflow,
    /// So many interactive writes are taken for each bulk one, while both wait.
    pub interactive_weight: NonZeroUsize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_writes: nonzero(10_000),
            max_bytes: ByteSize::mib(64),
            overflow: Overflow::Wait,
            interactive_weight: nonzero(8),
        }
    }
}

/// The name of [`Overflow`] in settings: the policies know no serde.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Overflow", rename_all = "lowercase")]
enum OverflowName {
    Wait,
    Reject,
}

/// The writer and its batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriterSettings {
    /// A batch is committed when it has this many writes ..
    pub max_batch_writes: NonZeroUsize,
    /// .. or this many bytes ..
    pub max_batch_bytes: ByteSize,
    /// .. or this long after its first write: a duration, or `auto`.
    #[serde(serialize_with = "linger_to_text", deserialize_with = "linger_from_text")]
    pub linger: Linger,
    /// The longest that `auto` waits.
    #[serde(with = "humantime_serde")]
    pub max_linger: Duration,
    /// How many prepared statements are kept.
    pub statement_cache: usize,
    /// How long one statement may run; past that it fails alone.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
    /// How long a lease (an interactive transaction) may last; past that it is rolled back.
    #[serde(with = "humantime_serde")]
    pub lease_timeout: Duration,
    /// How long an interactive transaction of a session (over Hrana) waits for its turn; past that it is refused.
    #[serde(with = "humantime_serde")]
    pub lease_wait: Duration,
    /// How many rows RETURNING may return.
    pub max_rows: NonZeroUsize,
    /// How many bytes RETURNING may return.
    pub max_result_bytes: ByteSize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            max_batch_writes: nonzero(1_000),
            max_batch_bytes: ByteSize::mib(8),
            linger: Linger::Auto,
            max_linger: Duration::from_millis(5),
            statement_cache: 256,
            statement_timeout: Duration::from_secs(30),
            lease_timeout: Duration::from_secs(5),
            lease_wait: Duration::from_secs(30),
            max_rows: nonzero(10_000),
            max_result_bytes: ByteSize::mib(8),
        }
    }
}

/// The pool of readers and its queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadersSettings {
    /// Threads, each with a connection; 0: as many as the machine has cores, between 2 and 8.
    pub threads: usize,
    /// How many queries wait for a reader.
    pub max_queue: NonZeroUsize,
    /// How many bytes of statements and parameters wait for a reader.
    pub max_queue_bytes: ByteSize,
    /// What becomes of a query that finds the queue full.
    #[serde(with = "OverflowName")]
    pub overflow: Overflow,
    /// How long a query may take, waiting included.
    #[serde(with = "humantime_serde")]
    pub query_timeout: Duration,
    /// How long a streamed result waits for a receiver that takes nothing; past that it is broken off, and the reader
    /// serves others.
    #[serde(with = "humantime_serde")]
    pub max_stall: Duration,
    /// A query that has run so long is ended if the write-ahead log is as long as it may be: it would keep all writes
    /// out.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Read-only transactions open at once, each with a connection; more wait for their turn.
    pub max_snapshots: NonZeroUsize,
    /// How many rows a result may have, unless it is streamed.
    pub max_rows: NonZeroUsize,
    /// How many bytes a result may have, unless it is streamed.
    pub max_result_bytes: ByteSize,
    /// How many prepared statements each reader keeps.
    pub statement_cache: usize,
}

impl Default for ReadersSettings {
    fn default() -> Self {
        Self {
            threads: 0,
            max_queue: nonzero(10_000),
            max_queue_bytes: ByteSize::mib(64),
            overflow: Overflow::Wait,
            query_timeout: Duration::from_secs(30),
            max_stall: Duration::from_secs(5),
            max_age: Duration::from_secs(10),
            max_snapshots: nonzero(32),
            max_rows: nonzero(100_000),
            max_result_bytes: ByteSize::mib(64),
            statement_cache: 256,
        }
    }
}

impl ReadersSettings {
    /// How many threads there will be.
    pub fn thread_count(&self) -> usize {
        if self.threads > 0 {
            return self.threads;
        }
        std::thread::available_parallelism().map_or(2, NonZeroUsize::get).clamp(2, 8)
    }
}

/// Restarts, and the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisorSettings {
    /// So many restarts of the writer (and as many of the readers) are allowed ..
    pub max_restarts: usize,
    /// .. within this time; past that the database is failed.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The pause before the first restart; each further one doubles it.
    #[serde(with = "humantime_serde")]
    pub initial_backoff: Duration,
    /// The longest pause.
    #[serde(with = "humantime_serde")]
    pub max_backoff: Duration,
    /// How long a shutdown may spend on committing what is queued.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
}

impl Default for SupervisorSettings {
    fn default() -> Self {
        Self {
            max_restarts: 10,
            window: Duration::from_mins(1),
            initial_backoff: Duration::from_millis(10),
            max_backoff: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl SupervisorSettings {
    pub(crate) fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy {
            max_restarts: self.max_restarts,
            window: self.window,
            initial_backoff: self.initial_backoff,
            max_backoff: self.max_backoff,
        }
    }
}

/// The daemon's HTTP server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A Unix socket to listen on as well; none if empty.
    pub unix_socket: PathBuf,
    /// Threads that speak HTTP.
    pub workers: NonZeroUsize,
    /// Connections open at once, on each thread.
    pub max_connections: NonZeroUsize,
    /// The most memory that SQLite may take in this process; at half of it page caches stop growing, and a statement that
    /// needs more than is left fails. 0 is no limit.
    pub max_sqlite_memory: ByteSize,
    /// The largest body, imports excepted.
    pub max_body: ByteSize,
    /// The longest line of an import.
    pub max_line: ByteSize,
    /// The protocol of the libSQL clients.
    pub hrana: HranaSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4280)),
            unix_socket: PathBuf::new(),
            workers: nonzero(2),
            max_connections: nonzero(10_000),
            max_sqlite_memory: ByteSize::gib(1),
            max_body: ByteSize::mib(8),
            max_line: ByteSize::mib(1),
            hrana: HranaSettings::default(),
        }
    }
}

/// Who may talk to the daemon.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// If set, every request but `/livez` and `/readyz` needs `Authorization: Bearer <token>`.
    #[serde(serialize_with = "masked")]
    pub admin_token: SecretString,
}

impl AuthSettings {
    /// The token, if one is set.
    pub fn admin_token(&self) -> Option<&SecretString> {
        (!self.admin_token.expose_secret().is_empty()).then_some(&self.admin_token)
    }
}

/// The built-in domain.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySettings {
    /// Whether the tables of accounts and message logs are created and kept up to date in the file.
    pub migrate: bool,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { migrate: true }
    }
}

/// The daemon's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// What is logged, in the words of `RUST_LOG`.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn nonzero(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap_or(NonZeroUsize::MIN)
}

pub(crate) fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

fn linger_to_text<S: Serializer>(linger: &Linger, serializer: S) -> Result<S::Ok, S::Error> {
    match linger {
        Linger::Auto => serializer.serialize_str("auto"),
        Linger::Fixed(linger) => humantime_serde::serialize(linger, serializer),
    }
}

fn linger_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Linger, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "auto" {
        return Ok(Linger::Auto);
    }
    let text: serde::de::value::StringDeserializer<D::Error> =
        serde::de::IntoDeserializer::into_deserializer(text);
    humantime_serde::deserialize(text).map(Linger::Fixed)
}

/// What is shown of a secret that is set. As a secret it is refused: the settings that are shown may be used as a file.
const MASK: &str = "********";

/// Secrets are shown as set or not set, never as they are.
fn masked<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.expose_secret().is_empty() { "" } else { MASK })
}
