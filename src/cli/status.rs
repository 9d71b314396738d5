//! `status`: the database at a glance.

use clap::Args;

use super::client::READ_AGAIN;
use super::failure::Failure;
use super::output::{Form, print_document};
use super::target::{Target, TargetArgs, on_file, refuse_missing};

/// Shows state, queues and counts of a daemon, or of a file
///
/// Counts are since the database was opened: those of a daemon tell what it did, those of a file are of this run alone.
#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    /// The form; a table on a terminal, else JSON
    #[arg(long, value_name = "FORM")]
    output: Option<Form>,
}

impl StatusCommand {
    pub(super) fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        // Not as a `Status`: a daemon of another version may tell more, or less.
        let status: serde_json::Value = match target.resolve()? {
            Target::File(settings) => {
                refuse_missing(&settings)?;
                let status = on_file(*settings, async |database| Ok(database.status()))?;
                serde_json::to_value(status).map_err(|error| Failure::stdout(error.into()))?
            }
            Target::Daemon(client) => client.read_json(client.get("/v1/status")?, READ_AGAIN)?,
        };
        print_document(self.output, &status)
    }
}
