//! What a subcommand works on: a file, through the library, or a daemon, over HTTP.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::client::{Client, DaemonUrl};
use super::config::settings_file;
use super::failure::{Failure, tell};
use crate::Database;
use crate::settings::Settings;

/// The options that every subcommand takes, before or after its name.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to work on")]
pub(super) struct TargetArgs {
    /// The settings file; if not given: `$ACTIX_SQLITE_CONFIG`, ./settings.toml, the user's, the one in /etc
    ///
    /// If none is named and none is found, the defaults hold. With --url the settings are not read.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) config: Option<PathBuf>,
    /// Works on this file itself, instead of the settings' `database.path`
    ///
    /// Refused while another process, such as a daemon, has the file open. Opening a file brings its own tables up to
    /// date, and those of accounts and message logs unless `relay.migrate` is false.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) database: Option<String>,
    /// Works on a daemon instead of a file, such as `http://127.0.0.1:4280`
    ///
    /// If it asks for a token, put it into the environment variable `ACTIX_SQLITE_TOKEN`. Proxies are not used.
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(super) url: Option<DaemonUrl>,
}

/// What a subcommand works on.
pub(super) enum Target {
    /// The file that these settings name.
    File(Box<Settings>),
    /// A daemon.
    Daemon(Client),
}

impl TargetArgs {
    /// The parser does not see a contradiction between options before and after the subcommand.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match (&self.database, &self.url) {
            (Some(_), Some(_)) => {
                Err(Failure::Usage("--database and --url contradict each other; give one".into()))
            }
            _ => Ok(()),
        }
    }

    /// For subcommands that know nothing of daemons.
    pub(super) fn refuse_url(&self, subcommand: &str) -> Result<(), Failure> {
        match self.url {
            Some(_) => Err(Failure::Usage(format!("`{subcommand}` does not take --url"))),
            None => Ok(()),
        }
    }

    /// For options that make sense only if the work goes on when this process has ended.
    pub(super) fn require_url(&self, option: &str) -> Result<(), Failure> {
        match self.url {
            Some(_) => Ok(()),
            None => Err(Failure::Usage(format!(
                "`{option}` needs --url: on a file this process itself commits what is queued before it ends"
            ))),
        }
    }

    pub(super) fn resolve(&self) -> Result<Target, Failure> {
        match &self.url {
            Some(url) => Client::new(url).map(Target::Daemon),
            None => self.settings(&[]).map(|settings| Target::File(Box::new(settings))),
        }
    }

    /// Defaults < file < environment < flags, checked.
    pub(super) fn settings(&self, flags: &[(&str, String)]) -> Result<Settings, Failure> {
        let file = settings_file(self.config.as_deref())?;
        let mut overrides = flags.to_vec();
        overrides.extend(self.database.clone().map(|path| ("database.path", path)));
        Ok(Settings::load_with_overrides(file.as_deref(), &overrides)?)
    }
}

/// Opens the file, does the work, commits and closes.
pub(super) fn on_file<T>(
    settings: Settings,
    work: impl AsyncFnOnce(&Database) -> Result<T, Failure>,
) -> Result<T, Failure> {
    actix_rt::System::new().block_on(async {
        let database = Database::open(settings).await?;
        let done = work(&database).await;
        let report = database.shutdown().await;
        if !report.closed {
            tell(format_args!("warning: {report}"));
        }
        done
    })
}

/// For subcommands that only read: a file that is not there is not created.
pub(super) fn refuse_missing(settings: &Settings) -> Result<(), Failure> {
    let path = &settings.database.path;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    // Without its directory, opening the file says so.
    if directory.is_none_or(std::path::Path::is_dir) && !path.exists() {
        return Err(Failure::MissingFile(path.display().to_string()));
    }
    Ok(())
}
