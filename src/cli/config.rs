//! `config`: the settings in force, and where they come from.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Failure, tell};
use super::output::print;
use super::target::TargetArgs;
use crate::settings::Settings;

/// Shows the settings in force as TOML, secrets masked, after checking them
///
/// Defaults < settings file < environment (`ACTIX_SQLITE__SECTION__KEY`) < flags. Which file was read is said on stderr.
/// Exit code 78 if a setting is wrong.
#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    /// Only checks, and shows nothing
    #[arg(long)]
    check: bool,
}

impl ConfigCommand {
    pub(super) fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        target.refuse_url("config")?;
        if let Some(file) = settings_file(target.config.as_deref())? {
            tell(format_args!("settings file: {}", file.display()));
        } else {
            let places: Vec<_> =
                Settings::search_path().iter().map(|path| path.display().to_string()).collect();
            tell(format_args!("no settings file (looked for {}); the defaults hold", places.join(", ")));
        }
        let settings = target.settings(&[])?;
        if self.check {
            tell(format_args!("the settings are in order"));
            return Ok(());
        }
        let shown = toml::to_string(&settings)
            .map_err(|error| Failure::Io { what: "settings".into(), error: std::io::Error::other(error) })?;
        print(&shown)
    }
}

/// Where the settings are: the file named by `--config` or by the environment, else the first one of the search path.
pub(super) fn settings_file(named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    // An empty variable is as good as none, as everywhere in a shell.
    let from_environment =
        || std::env::var_os("ACTIX_SQLITE_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    match named.map(Path::to_owned).or_else(from_environment) {
        Some(file) if file.exists() => Ok(Some(file)),
        Some(file) => Err(Failure::MissingConfig(file.display().to_string())),
        None => Ok(Settings::search_path().into_iter().find(|file| file.is_file())),
    }
}
