//! The program: parses the command line, loads the settings, runs the subcommand, and says how it went as an exit code.

use std::process::ExitCode;

use actix_sqlite::cli::{self, Cli};

fn main() -> ExitCode {
    let ended = Cli::from_arguments().and_then(cli::run);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}
