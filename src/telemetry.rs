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
    let filter = EnvFilter::try_new(with_quiet_http(&settings.filter)).map_err(|error| {
        SettingsError(format!("telemetry.filter: {error}; write it like info or info,actix_sqlite=debug"))
    })?;
    let log = fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match settings.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    installed.map_err(|error| SettingsError(format!("telemetry: {error}")))
}

/// What `actix_http` calls an error is what strangers send: a line for each request that is no HTTP, as fast as they come.
/// Of answers that break off, the daemon says more itself. Who wants these lines names `actix_http` in the filter, and the
/// later of two directives counts.
fn with_quiet_http(filter: &str) -> String {
    // An empty filter means errors; with a directive in it, it would mean nothing.
    let filter = if filter.trim().is_empty() { "error" } else { filter };
    format!("actix_http=off,{filter}")
}
