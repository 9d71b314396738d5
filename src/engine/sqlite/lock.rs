//! One process a file: an own lock, held in a file beside the database.
//!
//! Not on the database itself: closing any descriptor of a file drops the POSIX locks that SQLite holds on it
//! (<https://sqlite.org/howtocorrupt.html>, 2.2).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::StartError;

pub(super) struct FileLock {
    /// The lock ends with the process at the latest, when the system closes this.
    file: File,
}

/// Closing the file would not do: a program that is being started has it too until it begins to run, and would keep the
/// lock for so long.
impl Drop for FileLock {
    fn drop(&mut self) {
        // If it cannot be unlocked, it ends with the file.
        let _ = self.file.unlock();
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-lock");
    path.into()
}

impl FileLock {
    pub(super) fn acquire(database: &Path) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError::Open {
            path: lock_path(database).display().to_string(),
            reason: error.to_string(),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path(database))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder's own words are a courtesy: without them the lock is still held.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "another process" } else { holder };
                return Err(StartError::Locked {
                    path: database.display().to_string(),
                    holder: holder.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let note = format!("process {} of actix-sqlite\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(note.as_bytes()))
            .map_err(failed)?;
        Ok(Self { file })
    }
}
