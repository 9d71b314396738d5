//! Small file systems of the test's own, mounted in a temporary directory: in memory, to be filled; in an image file, to
//! be shut down. Needs Linux and root; where they cannot be had, that is told once and `None` is the answer.
//!
//! Unmounted when dropped, after a panic too. Nobody else sees them, and they are gone with the process at the latest: the
//! thread of the test, with all it starts, has a list of mounts of its own.
#![allow(unsafe_code, reason = "an ioctl to shut a file system down is a C function")]

use std::ffi::{c_int, c_ulong};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::skipped;

pub(crate) struct Mount {
    directory: tempfile::TempDir,
    /// As `mount` wants it: `-t tmpfs ..` or `-o loop IMAGE`.
    arguments: Vec<String>,
    mounted: bool,
}

/// How a file system is shut down; the words are those of the kernel (`EXT4_IOC_SHUTDOWN`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flush {
    Everything,
    TheJournal,
    Nothing,
}

impl Mount {
    /// In memory.
    pub(crate) fn tmpfs(row: &str, bytes: u64) -> Option<Self> {
        let options = format!("size={bytes}");
        let arguments = ["-t", "tmpfs", "-o", &options, "actix-sqlite-test"].map(str::to_owned).to_vec();
        Self::new(row, tempfile::tempdir().unwrap(), arguments)
    }

    /// An ext4 in a file.
    pub(crate) fn ext4(row: &str, bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        // Beyond the paths of ordinary users on some systems.
        let made = ["mkfs.ext4", "/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"]
            .iter()
            .any(|mkfs| run(Command::new(mkfs).args(["-q", "-F"]).arg(&image)).is_ok());
        if !made {
            skipped(&format!("{row}: there is no mkfs.ext4"));
            return None;
        }
        let image = image.to_str().unwrap().to_owned();
        Self::new(row, directory, vec!["-o".into(), "loop".into(), image])
    }

    fn new(row: &str, directory: tempfile::TempDir, arguments: Vec<String>) -> Option<Self> {
        let mut mount = Self { directory, arguments, mounted: false };
        std::fs::create_dir(mount.path()).unwrap();
        if let Err(error) = keep_mounts_to_oneself().and_then(|()| mount.mount()) {
            skipped(&format!("{row}: no file system can be mounted here (it takes Linux and root): {error}"));
            return None;
        }
        Some(mount)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    pub(crate) fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(&self.arguments).arg(self.path()))?;
        self.mounted = true;
        Ok(())
    }

    /// As soon as nobody has a file open on it.
    pub(crate) fn unmount(&mut self) {
        let begun = Instant::now();
        while let Err(error) = run(Command::new("umount").arg(self.path())) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.mounted = false;
    }

    /// From now on every call on it fails, and what was not written yet never will be.
    pub(crate) fn shut_down(&self, flush: Flush) -> std::io::Result<()> {
        unsafe extern "C" {
            fn ioctl(file: c_int, request: c_ulong, ...) -> c_int;
        }
        /// `_IOR('X', 125, __u32)`, for ext4, xfs and f2fs.
        const SHUTDOWN: c_ulong = 0x8004_587d;
        let directory = File::open(self.path())?;
        let flags: u32 = match flush {
            Flush::Everything => 0,
            Flush::TheJournal => 1,
            Flush::Nothing => 2,
        };
        // SAFETY: the request reads one `u32` at the address, and the descriptor is open.
        match unsafe { ioctl(directory.as_raw_fd(), SHUTDOWN, &raw const flags) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = self.path();
        // After a panic somebody may still have a file open; it goes when he does.
        if self.mounted && run(Command::new("umount").arg(&path)).is_err() {
            let _ = run(Command::new("umount").arg("-l").arg(&path));
        }
    }
}

/// From here on what this thread mounts is seen by itself and by what it starts, threads and programs.
fn keep_mounts_to_oneself() -> Result<(), String> {
    unsafe extern "C" {
        fn unshare(what: c_int) -> c_int;
    }
    /// Of `linux/sched.h`.
    const CLONE_NEWNS: c_int = 0x0002_0000;
    // SAFETY: it takes a number and changes nothing in memory.
    if unsafe { unshare(CLONE_NEWNS) } != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    run(Command::new("mount").args(["--make-rprivate", "/"]))
}

/// What it said, if it failed.
fn run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Takes all the room that is left on the file system of this directory, until it is removed.
pub(crate) fn ballast(directory: &Path) -> PathBuf {
    use std::io::Write;
    let path = directory.join("ballast");
    let mut file = File::create(&path).unwrap();
    // Smaller and smaller pieces, so that nothing is left.
    for size in [1 << 20, 1 << 12, 1] {
        let piece = vec![0; size];
        while file.write_all(&piece).is_ok() {}
    }
    path
}
