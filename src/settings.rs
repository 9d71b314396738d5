//! Everything that can be set: one struct a component. Defaults < file < environment < flags; checked once, here.
//!
//! The defaults stand in the `Default` implementations; `settings.toml` shows them with a comment each, and a test
//! keeps the two equal.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// How long a connection waits for a lock that somebody else holds.
    #[serde(with = "humantime_serde")]
    pub busy_timeout: Duration,
    /// Size of the write-ahead log from which it is checkpointed after a commit.
    pub wal_checkpoint_size: ByteSize,
    /// Size of the write-ahead log from which it is also truncated, which waits for no reader and may fail.
    pub wal_truncate_size: ByteSize,
    /// Off if something else, such as a replicator, checkpoints the file.
    pub checkpoint: bool,
    /// How long idempotency keys are remembered.
    #[serde(with = "humantime_serde")]
    pub idempotency_retention: Duration,
    /// How many idempotency keys are remembered; past that the oldest go first.
    pub idempotency_max_keys: NonZeroUsize,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("actix-sqlite.db"),
            synchronous: Synchronous::Full,
            cache_size: ByteSize::mib(8),
            busy_timeout: Duration::from_secs(5),
            wal_checkpoint_size: ByteSize::mib(4),
            wal_truncate_size: ByteSize::mib(64),
            checkpoint: true,
            idempotency_retention: Duration::from_hours(24),
            idempotency_max_keys: nonzero(1_000_000),
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

/// The queue between callers and the writer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// How many writes it holds.
    pub max_writes: NonZeroUsize,
    /// How many bytes of statements and parameters it holds.
    pub max_bytes: ByteSize,
    /// What becomes of a write that finds it full.
    #[serde(with = "OverflowName")]
    pub overflow: Overflow,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_writes: nonzero(10_000), max_bytes: ByteSize::mib(64), overflow: Overflow::Wait }
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
    /// The largest body, imports excepted.
    pub max_body: ByteSize,
    /// The longest line of an import.
    pub max_line: ByteSize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4280)),
            unix_socket: PathBuf::new(),
            workers: nonzero(2),
            max_connections: nonzero(10_000),
            max_body: ByteSize::mib(8),
            max_line: ByteSize::mib(1),
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

impl Settings {
    /// The defaults, for this file.
    pub fn for_file(path: impl Into<PathBuf>) -> Self {
        let mut settings = Self::default();
        settings.database.path = path.into();
        settings
    }

    /// Reads defaults < `file` < environment, and checks the result.
    ///
    /// # Errors
    /// [`SettingsError`] names the key and says what is wrong with it.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        Self::load_with_overrides(file, &[])
    }

    /// Reads defaults < `file` < environment < `overrides` (dotted key and value), and checks the result.
    ///
    /// # Errors
    /// [`SettingsError`] names the key and says what is wrong with it.
    pub fn load_with_overrides(
        file: Option<&Path>,
        overrides: &[(&str, String)],
    ) -> Result<Self, SettingsError> {
        let explain = |error: config::ConfigError| SettingsError(format!("settings: {error}"));
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let environment = config::Environment::with_prefix(ENV_PREFIX)
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        builder = builder.add_source(environment);
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.as_str()).map_err(explain)?;
        }
        let settings: Self = builder.build().and_then(config::Config::try_deserialize).map_err(explain)?;
        settings.validate()?;
        Ok(settings)
    }

    /// Where settings are looked for if no file is named: the working directory, the user's directory, `/etc`.
    pub fn search_path() -> Vec<PathBuf> {
        let user = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
            .map(|directory| directory.join("actix-sqlite/settings.toml"));
        [Some("settings.toml".into()), user, Some("/etc/actix-sqlite/settings.toml".into())]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Checks what no type can: settings that contradict each other.
    ///
    /// # Errors
    /// [`SettingsError`] names the keys and says what to change.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let (queue, writer, database) = (&self.queue, &self.writer, &self.database);
        let check = |ok: bool, why: &str| if ok { Ok(()) } else { Err(SettingsError(why.into())) };
        check(!database.path.as_os_str().is_empty(), "database.path is empty; name a file")?;
        check(
            database.path.as_os_str() != ":memory:" && !database.path.to_string_lossy().starts_with("file:"),
            "database.path must be a plain file name: readers and writer are connections of their own, \
             so neither `:memory:` nor a `file:` URI can be shared by them",
        )?;
        check(
            database.wal_checkpoint_size <= database.wal_truncate_size,
            "database.wal_checkpoint_size is above database.wal_truncate_size; the log is checkpointed first, \
             so make it the smaller one",
        )?;
        check(
            writer.max_batch_writes <= queue.max_writes,
            "writer.max_batch_writes is above queue.max_writes; a batch can never be larger than the queue",
        )?;
        check(
            writer.max_batch_bytes <= queue.max_bytes,
            "writer.max_batch_bytes is above queue.max_bytes; a batch can never be larger than the queue",
        )?;
        check(queue.max_bytes.as_u64() > 0, "queue.max_bytes is 0; nothing could ever be written")?;
        check(
            writer.max_batch_bytes.as_u64() > 0,
            "writer.max_batch_bytes is 0; use 1 B for batches of one",
        )?;
        check(self.readers.max_queue_bytes.as_u64() > 0, "readers.max_queue_bytes is 0; no query could run")?;
        check(
            self.readers.threads <= 1024,
            "readers.threads is above 1024; each is a thread with a connection",
        )?;
        check(!writer.statement_timeout.is_zero(), "writer.statement_timeout is 0; every write would fail")?;
        check(!self.readers.query_timeout.is_zero(), "readers.query_timeout is 0; every query would fail")?;
        check(!self.supervisor.window.is_zero(), "supervisor.window is 0; restarts would have no bound")?;
        check(
            self.supervisor.initial_backoff <= self.supervisor.max_backoff,
            "supervisor.initial_backoff is above supervisor.max_backoff",
        )?;
        if let Linger::Fixed(linger) = writer.linger {
            check(
                linger <= Duration::from_mins(1),
                "writer.linger is above 60s; every write would wait that long",
            )?;
        }
        check(
            self.auth.admin_token.expose_secret() != MASK,
            "auth.admin_token is the mask that is shown instead of a token; set the token itself",
        )?;
        check(
            self.server.listen.ip().is_loopback() || self.auth.admin_token().is_some(),
            "server.listen is not a loopback address and auth.admin_token is not set: anybody could read and \
             write the database; set a token, or listen on 127.0.0.1",
        )
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn from_toml(toml: &str) -> Result<Settings, SettingsError> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        std::fs::write(&file, toml).unwrap();
        Settings::load(Some(&file))
    }

    #[test]
    fn the_settings_file_equals_the_defaults_key_by_key() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("settings.toml");
        let shown: serde_json::Value = config::Config::builder()
            .add_source(config::File::from(file))
            .build()
            .and_then(config::Config::try_deserialize)
            .unwrap();
        assert_eq!(shown, serde_json::to_value(Settings::default()).unwrap());
        Settings::default().validate().unwrap();
    }

    #[test]
    fn durations_sizes_and_linger_are_read_with_their_units() {
        let settings = from_toml("[writer]\nlinger = \"5ms\"\nmax_batch_bytes = \"1 MiB\"\n").unwrap();
        assert_eq!(settings.writer.linger, Linger::Fixed(Duration::from_millis(5)));
        assert_eq!(settings.writer.max_batch_bytes, ByteSize::mib(1));
        assert_eq!(from_toml("[writer]\nlinger = \"auto\"").unwrap().writer.linger, Linger::Auto);
    }

    #[test]
    fn bad_settings_are_refused_with_the_key_and_what_to_do() {
        for (toml, reason) in [
            ("[writer]\nmax_batch_write = 5", "max_batch_write"),
            ("[writer]\nmax_batch_writes = 0", "max_batch_writes"),
            ("[writer]\nlinger = \"soon\"", "linger"),
            ("[writer]\nmax_batch_writes = 20000", "queue.max_writes"),
            ("[database]\npath = \":memory:\"", "plain file name"),
            ("[database]\nwal_checkpoint_size = \"1 GiB\"", "wal_truncate_size"),
            ("[database]\nsynchronous = \"extra\"", "synchronous"),
            ("[server]\nlisten = \"0.0.0.0:4280\"", "admin_token"),
            ("[auth]\nadmin_token = \"********\"", "the mask"),
            ("[supervisor]\ninitial_backoff = \"1h\"", "max_backoff"),
            ("[queue\n", "settings"),
        ] {
            let error = from_toml(toml).expect_err(toml).to_string();
            assert!(error.contains(reason), "{toml}: {error}");
        }
    }

    #[test]
    fn secrets_are_masked_when_settings_are_shown() {
        let settings = from_toml("[auth]\nadmin_token = \"hunter2\"").unwrap();
        let shown = serde_json::to_string(&settings).unwrap();
        assert!(shown.contains("********") && !shown.contains("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
