//! Where the daemon listens.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::ServeError;

/// An address the daemon can be reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// HTTP over TCP; the real port, if the settings asked for any free one.
    Http(SocketAddr),
    /// HTTP over a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => write!(formatter, "http://{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Why an address cannot be had.
pub(super) fn explain(address: Address, error: &std::io::Error) -> ServeError {
    if error.kind() == ErrorKind::AddrInUse {
        return ServeError::AddressInUse { address };
    }
    ServeError::Listen { address, reason: error.to_string() }
}

/// Why a path cannot be had that holds somebody's data.
const NO_SOCKET: &str = "there is a file that is no socket; name another server.unix_socket";

/// The file of a Unix socket, which outlives its listener unless somebody removes it.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl SocketFile {
    /// Makes room for a socket at `path`: one that was left behind is removed, one that somebody listens on is not, and
    /// neither is anything else, which listening there would delete.
    pub(super) fn claim(path: &Path) -> Result<Self, ServeError> {
        let address = || Address::Unix(path.to_owned());
        if is_socket(path) {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(ServeError::AddressInUse { address: address() }),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(|error| explain(address(), &error))?;
                }
                Err(error) => return Err(explain(address(), &error)),
            }
        } else if std::fs::symlink_metadata(path).is_ok() {
            return Err(ServeError::Listen { address: address(), reason: NO_SOCKET.to_owned() });
        }
        Ok(Self(path.to_owned()))
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only ever our own: claimed, and then listened on.
        if is_socket(&self.0) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
