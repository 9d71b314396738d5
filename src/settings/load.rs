//! From a file and the environment to settings that can be used, or to what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{ENV_PREFIX, MASK, Settings, SettingsError};
use crate::policy::Linger;

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
            database.wal_truncate_size <= database.wal_max_size,
            "database.wal_max_size is below database.wal_truncate_size; writes would be refused before the log is \
             truncated, so make it the larger one",
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
        check(
            self.readers.max_snapshots.get() <= 1024,
            "readers.max_snapshots is above 1024; each is a connection",
        )?;
        check(
            self.server.max_body.as_u64() > 0,
            "server.max_body is 0; no request with a body could be taken",
        )?;
        check(
            (64 << 10..=1_000_000_000).contains(&self.database.max_value_size.as_u64()),
            "database.max_value_size is not between 64 KiB and 1 GB, which is as far as SQLite goes",
        )?;
        let sqlite_memory = self.server.max_sqlite_memory.as_u64();
        check(
            sqlite_memory == 0 || sqlite_memory >= 32 << 20,
            "server.max_sqlite_memory is below 32 MiB; nothing could be opened. 0 is no limit",
        )?;
        check(self.server.max_line.as_u64() > 0, "server.max_line is 0; no line could be imported")?;
        self.check_durations()?;
        check(!writer.lease_timeout.is_zero(), "writer.lease_timeout is 0; every lease would end at once")?;
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

    /// What is longer than this is a mistake, and would overflow clocks.
    fn check_durations(&self) -> Result<(), SettingsError> {
        const LONGEST: Duration = Duration::from_hours(24 * 366);
        let (database, readers, supervisor) = (&self.database, &self.readers, &self.supervisor);
        for (key, duration, longest) in [
            // SQLite counts milliseconds in 31 bits.
            ("database.busy_timeout", database.busy_timeout, Duration::from_hours(24)),
            ("database.idempotency_retention", database.idempotency_retention, 100 * LONGEST),
            ("writer.max_linger", self.writer.max_linger, Duration::from_mins(1)),
            ("writer.statement_timeout", self.writer.statement_timeout, LONGEST),
            ("writer.lease_timeout", self.writer.lease_timeout, LONGEST),
            ("writer.lease_wait", self.writer.lease_wait, LONGEST),
            ("readers.query_timeout", readers.query_timeout, LONGEST),
            ("readers.max_stall", readers.max_stall, LONGEST),
            ("readers.max_age", readers.max_age, LONGEST),
            ("supervisor.window", supervisor.window, LONGEST),
            ("supervisor.max_backoff", supervisor.max_backoff, LONGEST),
            ("supervisor.shutdown_timeout", supervisor.shutdown_timeout, LONGEST),
        ] {
            if duration > longest {
                let longest = humantime_serde::re::humantime::format_duration(longest);
                return Err(SettingsError(format!("{key} is longer than {longest}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

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
            ("[server]\nmax_body = \"0 B\"", "server.max_body"),
            ("[database]\nbusy_timeout = \"1000000years\"", "busy_timeout is longer"),
            ("[readers]\nquery_timeout = \"1000000years\"", "query_timeout is longer"),
            ("[database]\npath = \":memory:\"", "plain file name"),
            ("[database]\nmax_value_size = \"2 GiB\"", "max_value_size"),
            ("[database]\nmax_value_size = \"1 KiB\"", "max_value_size"),
            ("[server]\nmax_sqlite_memory = \"1 MiB\"", "max_sqlite_memory"),
            ("[database]\nwal_checkpoint_size = \"1 GiB\"", "wal_truncate_size"),
            ("[database]\nwal_max_size = \"1 MiB\"", "wal_max_size is below"),
            ("[readers]\nmax_age = \"1000000years\"", "max_age is longer"),
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
