//! The section `[server.hrana]`: what clients that speak libSQL's protocol may keep in the daemon.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::nonzero;

/// The daemon's side of Hrana, the protocol of the libSQL clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HranaSettings {
    /// How many streams may be open at once: those that HTTP clients keep between requests, and all over WebSockets.
    pub max_streams: NonZeroUsize,
    /// How long a stream over HTTP is kept for its client's next request; past that its transaction is rolled back.
    #[serde(with = "humantime_serde")]
    pub stream_idle_timeout: Duration,
    /// How many SQL texts a stream over HTTP, or a WebSocket, may store.
    pub max_stored_sql: NonZeroUsize,
    /// How many bytes they may have together.
    pub max_stored_sql_size: ByteSize,
    /// How long the answer to one request over HTTP may grow; what is asked beyond that is not executed.
    pub max_response_size: ByteSize,
}

impl Default for HranaSettings {
    fn default() -> Self {
        Self {
            max_streams: nonzero(10_000),
            stream_idle_timeout: Duration::from_secs(10),
            max_stored_sql: nonzero(1_024),
            max_stored_sql_size: ByteSize::mib(1),
            max_response_size: ByteSize::mib(64),
        }
    }
}
