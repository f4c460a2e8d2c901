//! The directory for the trees of a build, which is removed at its end.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// The start of the directories' names.
const PREFIX: &str = "front-build-";
/// Number of attempts to make a directory.
const ATTEMPTS: u32 = 20;
/// The start of the names of those that a user wants to look into.
const KEPT: &str = "front-kept-";

/// The directory for the trees of a build.
pub struct Workplace {
    path: PathBuf,
    /// The lock says that the build goes on. The kernel releases it at the end of the process.
    _lock: File,
}

impl Workplace {
    /// Makes a directory in `scratch`. Removes those of builds that were killed.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be made.
    pub fn new(scratch: &Path) -> Result<Self> {
        let prefix = prefix();
        remove_abandoned(scratch, &prefix);
        let failed = || format!("make a directory in {}", scratch.display());
        for _ in 0..ATTEMPTS {
            let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(scratch);
            let path = made.with_context(failed)?.keep();
            let Ok(lock) = File::open(&path) else {
                continue;
            };
            // Without locks on this file system, only this process removes the directory.
            let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
            // Another build may have removed it before it was locked.
            let identity = |found: fs::Metadata| (found.dev(), found.ino());
            let own = lock.metadata().map(identity).with_context(failed)?;
            if path
                .symlink_metadata()
                .is_ok_and(|found| identity(found) == own)
            {
                return Ok(Self { path, _lock: lock });
            }
        }
        bail!("{}: other processes remove it", failed())
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory for the user. Returns its new path.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be renamed.
    pub fn keep(&self) -> Result<PathBuf> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let kept = self.path.with_file_name(name.replace(PREFIX, KEPT));
        let renamed = fs::rename(&self.path, &kept);
        renamed.with_context(|| self.path.display().to_string())?;
        Ok(kept)
    }

    /// Removes the directory.
    pub fn remove(&self) {
        let _ = rootfs::remove(&self.path);
    }
}

/// Returns the start of the names of this machine's directories. A lock may be unknown to others that
/// share the file system.
fn prefix() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let host: String = host.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{PREFIX}{host}-")
}

/// Removes the directories whose builds have ended without removing them.
fn remove_abandoned(scratch: &Path, prefix: &str) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_bytes());
        let is_own = || {
            let metadata = entry.path().symlink_metadata();
            metadata.is_ok_and(|found| found.is_dir() && found.uid() == own)
        };
        if !is_ours || !is_own() {
            continue;
        }
        let Ok(directory) = File::open(entry.path()) else {
            continue;
        };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = rootfs::remove(&entry.path());
        }
    }
}
