//! `serve`: the daemon, from its first log line to its shutdown report.

use std::net::SocketAddr;

use clap::Args;
use futures_util::future::join;

use super::failure::{Failure, tell};
use super::target::TargetArgs;
use crate::server::Server;
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  actix-sqlite serve --database chat.db
  ACTIX_SQLITE__WRITER__LINGER=5ms actix-sqlite serve --listen 127.0.0.1:0";

/// Runs the daemon until it is told to stop
///
/// SIGTERM or SIGINT drains: nothing new is taken, what is queued is committed within `supervisor.shutdown_timeout`, and
/// the report says what became of it. A second signal ends the process at once; what was acknowledged is in the file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// Address and port, instead of the settings' `server.listen` (127.0.0.1:4280 by default); port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(&self, target: &TargetArgs) -> Result<(), Failure> {
        target.refuse_url("serve")?;
        let flags: Vec<_> = self.listen.iter().map(|listen| ("server.listen", listen.to_string())).collect();
        let settings = target.settings(&flags)?;
        telemetry::init(&settings.telemetry)?;
        actix_rt::System::new().block_on(async {
            let server = Server::bind(settings).await?;
            let addresses = server.addresses().to_vec();
            let say_where = async {
                for address in &addresses {
                    tell(format_args!("listening on {address}"));
                }
            };
            // In this order: whoever reads the line may send a signal at once, and `run` is who takes them over.
            let (end, ()) = join(server.run(), say_where).await;
            tell(format_args!("{}", end?));
            Ok(())
        })
    }
}
