//! The daemon's log: spans and events on stderr, as the settings say.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::settings::{LogFormat, SettingsError, TelemetrySettings};

/// Installs the log for this process; to be called once, by a program and never by a library.
///
/// # Errors
/// [`SettingsError`] if the filter cannot be read, or a subscriber is installed already.
pub fn init(settings: &TelemetrySettings) -> Result<(), SettingsError> {
    let filter = EnvFilter::try_new(&settings.filter).map_err(|error| {
        SettingsError(format!("telemetry.filter: {error}; write it like info or info,actix_sqlite=debug"))
    })?;
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match settings.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    installed.map_err(|error| SettingsError(format!("telemetry: {error}")))
}
