//! How a subcommand fails: what is told on stderr, and the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::Cli;
use super::client::Problem;
use crate::error::{ReadError, StartError, WriteError};
use crate::server::{ServeError, Signal};
use crate::settings::SettingsError;

/// Why a subcommand did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database could not be opened.
    #[error("{error} (code {code})", error = .0, code = .0.code())]
    Start(#[from] StartError),
    /// A write was not acknowledged.
    #[error("{error} (code {code})", error = .0, code = .0.code())]
    Write(#[from] WriteError),
    /// A query has no answer.
    #[error("{error} (code {code})", error = .0, code = .0.code())]
    Read(#[from] ReadError),
    /// The daemon said no.
    #[error("{0}")]
    Problem(#[from] Problem),
    /// The daemon cannot be reached.
    #[error("cannot reach {url}: {reason}; is the daemon running?")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The connection to the daemon broke before the answer was complete.
    #[error("lost the connection to {url} before its answer was complete: {reason}; {advice}")]
    ConnectionLost {
        /// Where the daemon is.
        url: String,
        /// What the system said.
        reason: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The daemon answered with something else than it should.
    #[error("the answer of {url} is not understood: {reason}; is it an actix-sqlite daemon of this version?")]
    Answer {
        /// Where the daemon is.
        url: String,
        /// What is wrong with its answer.
        reason: String,
    },
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// No settings file where one was named.
    #[error("the settings file {0} does not exist; correct --config or ACTIX_SQLITE_CONFIG")]
    MissingConfig(String),
    /// The daemon could not start, or its database failed for good.
    #[error("{0}")]
    Serve(ServeError),
    /// Two columns of one name in a form that cannot tell them apart.
    #[error(
        "two columns have the name {0:?}; rename one with AS, or use --output json or csv (code duplicate_columns)"
    )]
    DuplicateColumns(String),
    /// A file that is only to be read is not there.
    #[error("{0} does not exist; `execute`, `import` and `serve` create it (code missing_file)")]
    MissingFile(String),
    /// Options that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A file or stream failed.
    #[error("{what}: {error}")]
    Io {
        /// Which one.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// There is no room for scratch files.
    #[error("cannot write to {directory}: {error}; name another directory with --dir (code scratch)")]
    Scratch {
        /// Where they should be.
        directory: String,
        /// What the system said.
        error: io::Error,
    },
    /// A signal ended it before it was done.
    #[error("interrupted by {0}; nothing is left behind")]
    Interrupted(Signal),
    /// Whoever read stdout has seen enough.
    #[error("stdout was closed")]
    ClosedPipe,
    /// Something is wrong with the data, and was told already.
    #[error("something is wrong with the data")]
    Findings,
}

impl From<ServeError> for Failure {
    /// A database that cannot be opened is told in the same words by every subcommand.
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Start(error) => Self::Start(error),
            error => Self::Serve(error),
        }
    }
}

impl Failure {
    /// 0: nobody reads on; 1: failed; 2: wrong usage; 69: the daemon cannot be reached; 78: wrong settings;
    /// 128 and its number: a signal that left the work undone.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::Usage(_) => ExitCode::from(2),
            Self::Serve(error) => ExitCode::from(error.exit_code()),
            Self::Interrupted(signal) => ExitCode::from(128 + signal.number()),
            Self::Unreachable { .. } | Self::ConnectionLost { .. } => ExitCode::from(69),
            Self::Settings(_) | Self::MissingConfig(_) | Self::Start(StartError::Settings(_)) => {
                ExitCode::from(78)
            }
            Self::Start(_)
            | Self::Write(_)
            | Self::Read(_)
            | Self::Problem(_)
            | Self::Answer { .. }
            | Self::MissingFile(_)
            | Self::DuplicateColumns(_)
            | Self::Io { .. }
            | Self::Scratch { .. }
            | Self::Findings => ExitCode::FAILURE,
        }
    }

    /// Says it on stderr, unless it was said already or there is nothing to say.
    pub fn tell(&self) {
        match self {
            Self::ClosedPipe | Self::Findings => {}
            Self::Usage(reason) => {
                let error = Cli::command().error(ErrorKind::ArgumentConflict, reason);
                // Nobody is left to hear of an error of stderr.
                let _ = error.print();
            }
            other => tell(format_args!("error: {other}")),
        }
    }

    /// A failure of stdout; a closed pipe is none.
    pub(super) fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Io { what: "stdout".into(), error },
        }
    }

    /// A failure of a file.
    pub(super) fn file(path: &std::path::Path, error: io::Error) -> Self {
        Self::Io { what: path.display().to_string(), error }
    }
}

/// A line on stderr. `eprintln!` would panic if it is closed.
pub(super) fn tell(line: std::fmt::Arguments<'_>) {
    // Nobody is left to hear of an error of stderr.
    let _ = writeln!(io::stderr(), "{line}");
}
