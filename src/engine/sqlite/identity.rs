//! Whether the files that are open are still those that their names stand for.
//!
//! Somebody who moves, replaces or deletes the database or its log under a running process leaves it writing into files
//! that nobody will find again: SQLite does not notice, and would go on acknowledging. So the names are looked up once a
//! COMMIT, which costs two `statx` calls, and a file that became another one is never opened in its place: what was
//! acknowledged would be missing in it.
//!
//! Nothing but the identity is asked for. Linux 6.13 and later keep fine time stamps of a file only once somebody has
//! asked for them (<https://docs.kernel.org/filesystems/multigrain-ts.html>): after a plain `stat` the next write has a new
//! time stamp to store, and its fsync pays for that with a commit of the file system's journal.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::log_path;

/// What a name stood for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
}

impl File {
    #[cfg(target_os = "linux")]
    fn at(path: &Path) -> Option<Self> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO).ok()?;
        Some(Self { device: makedev(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino })
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    fn at(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|file| Self { device: file.dev(), inode: file.ino() })
    }

    #[cfg(not(unix))]
    fn at(path: &Path) -> Option<Self> {
        path.exists().then_some(Self { device: 0, inode: 0 })
    }
}

/// The database file as it was opened first; for as long as the process has it, it has to be that one.
#[derive(Debug, Default)]
pub(super) struct Identity(Mutex<Option<File>>);

impl Identity {
    /// Remembers the file the first time, and later says what is wrong if it is another one.
    pub(super) fn check(&self, path: &Path) -> Result<(), String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (*known, File::at(path)) {
            (None, found) => *known = found,
            (Some(known), Some(found)) if known == found => {}
            (Some(_), _) => return Err(replaced(path)),
        }
        Ok(())
    }
}

/// The files that a writing connection has open.
#[derive(Debug)]
pub(super) struct OpenFiles(Vec<(PathBuf, Option<File>)>);

impl OpenFiles {
    /// As their names stand now, with the connection just opened.
    pub(super) fn of(path: &Path) -> Self {
        Self([path.to_owned(), log_path(path)].map(|path| (path.clone(), File::at(&path))).into())
    }

    /// What is wrong with them, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.0.iter().find(|(path, opened)| File::at(path) != *opened) {
            Some((path, _)) => Err(replaced(path)),
            None => Ok(()),
        }
    }
}

fn replaced(path: &Path) -> String {
    let name = path.display();
    format!(
        "{name} was moved, replaced or deleted while it was open; put the file back that was there, or stop and start"
    )
}
