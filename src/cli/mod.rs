//! The command line: `actix-sqlite [--config F] [--database F | --url U] <subcommand>`.
//!
//! One file a subcommand. Each works on the file itself, through the library, or on a daemon, over HTTP; `target.rs`
//! says which. Data goes to stdout, all else to stderr. Exit codes: see [`Failure::exit_code`].

mod bench;
mod check;
mod client;
mod completions;
mod config;
mod dead_letters;
mod execute;
mod failure;
mod import;
mod output;
mod query;
mod serve;
mod statement;
mod status;
mod table;
mod target;

use clap::{CommandFactory, Parser, Subcommand};

pub use failure::Failure;

use target::TargetArgs;

const EXAMPLES: &str = "\
Examples:
  actix-sqlite --database app.db execute 'CREATE TABLE notes (id INTEGER PRIMARY KEY, text)'
  actix-sqlite --database app.db execute 'INSERT INTO notes (text) VALUES (?)' --param hello
  actix-sqlite --database app.db query 'SELECT * FROM notes' --output csv
  actix-sqlite serve --database app.db --listen 127.0.0.1:4280
  actix-sqlite --url http://127.0.0.1:4280 import messages.ndjson

Data goes to stdout, all else to stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage, 69 the daemon cannot be reached, 78 wrong settings.

Environment:
  ACTIX_SQLITE_CONFIG          the settings file, if --config names none
  ACTIX_SQLITE_TOKEN           the bearer token sent to the daemon of --url
  ACTIX_SQLITE__SECTION__KEY   a setting, over the file: ACTIX_SQLITE__WRITER__LINGER=5ms";

/// SQLite that never blocks: group commit, a reader pool and supervised actors, as a daemon and as a tool for its files.
#[derive(Debug, Parser)]
#[command(name = "actix-sqlite", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    target: TargetArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Execute(execute::ExecuteCommand),
    Query(query::QueryCommand),
    Import(import::ImportCommand),
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    Status(status::StatusCommand),
    Check(check::CheckCommand),
    Bench(bench::BenchCommand),
    Config(config::ConfigCommand),
    Completions(completions::Completions),
}

impl Cli {
    /// Parses the arguments of this process. `--help` and wrong usage end it here.
    ///
    /// # Errors
    /// [`Failure`] if options contradict each other in a way that the parser does not see.
    pub fn from_arguments() -> Result<Self, Failure> {
        let cli = Self::parse();
        cli.target.check()?;
        Ok(cli)
    }
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`] says what to tell, and which exit code to end with.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { target, command } = cli;
    match command {
        Command::Serve(serve) => serve.run(&target),
        Command::Execute(execute) => execute.run(&target),
        Command::Query(query) => query.run(&target),
        Command::Import(import) => import.run(&target),
        Command::DeadLetters(dead_letters) => dead_letters.run(&target),
        Command::Status(status) => status.run(&target),
        Command::Check(check) => check.run(&target),
        Command::Bench(bench) => bench.run(&target),
        Command::Config(config) => config.run(&target),
        Command::Completions(completions) => completions.run(&target, Cli::command()),
    }
}
