//! `completions`: a script that completes this command line in a shell.

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use super::output::print;
use super::target::TargetArgs;

/// Prints a completion script for a shell
///
/// For bash: `actix-sqlite completions bash > ~/.local/share/bash-completion/completions/actix-sqlite`
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, target: &TargetArgs, mut command: clap::Command) -> Result<(), Failure> {
        target.refuse_url("completions")?;
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        // Into memory first: the generator panics if its writer fails.
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        print(script)
    }
}
