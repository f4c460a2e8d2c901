//! Records: small files in a private directory, one for each claim.
//!
//! A record is read and written under a lock of its directory, which is held for a moment only. No
//! descriptor stays open while a container is made: its first process would inherit it, and a
//! process that may look into that one would reach the host's files through it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::maker::Maker;
use crate::Error;
use crate::cgroup::INTERVAL;
use crate::shadow_bundle::make_private;

/// Longest wait for the lock. Hundreds of containers may be made at once, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest size of a record, in bytes.
const LONGEST: u64 = 64 << 10;

/// A claim of a container to its id or to its cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The state root of the container.
    pub(super) root: PathBuf,
    /// The container's id.
    pub(super) id: String,
    /// The path of its cgroup, if the cgroup is ours to manage.
    pub(super) cgroup: Option<String>,
    /// The process that makes the container. `None` when the container is complete.
    pub(super) maker: Option<Maker>,
}

impl Record {
    /// Whether it is a record of this container.
    pub(super) fn is_of(&self, root: &Path, id: &str) -> bool {
        self.root == root && self.id == id
    }

    /// Whether somebody works on the container.
    pub(super) fn is_being_made(&self) -> bool {
        self.maker.as_ref().is_some_and(Maker::is_alive)
    }

    /// Whether somebody works on the container, or may do so in another PID namespace.
    pub(super) fn may_be_being_made(&self) -> bool {
        let maker = self.maker.as_ref();
        maker.is_some_and(|maker| maker.is_alive() || maker.is_elsewhere())
    }
}

/// A locked directory of records.
#[derive(Debug)]
pub(crate) struct Records {
    directory: PathBuf,
    _lock: File,
}

impl Records {
    /// Makes and locks a directory.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be made, or another process holds the lock for long.
    pub(super) fn lock(directory: &Path) -> Result<Self, Error> {
        let opened = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private(directory)?;
                File::open(directory)
            }
            opened => opened,
        };
        let lock = opened.map_err(Error::state("open", directory))?;
        let end = Instant::now() + PATIENCE;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(INTERVAL);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::state("lock", directory)(
                        io::ErrorKind::TimedOut.into(),
                    ));
                }
                Err(errno) => return Err(Error::state("lock", directory)(errno.into())),
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Returns a record. Damage by a process that was killed while it wrote counts as no record.
    pub(super) fn read(&self, name: &str) -> Option<Record> {
        let text = sys::read_file(&self.directory.join(name), LONGEST).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Returns all records.
    pub(super) fn all(&self) -> Vec<Record> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| self.read(&name)).collect()
    }

    /// Writes a record.
    pub(super) fn write(&self, name: &str, record: &Record) -> Result<(), Error> {
        let path = self.directory.join(name);
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::state("write", &path)(error.into()))?;
        // Emptied first, the file would be written to the disk at once by some file systems.
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(false).open(&path);
        let written = opened.and_then(|mut file| {
            file.write_all(&text)?;
            file.set_len(text.len() as u64)
        });
        written.map_err(Error::state("write", &path))
    }

    /// Removes a record.
    pub(super) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.directory.join(name));
    }
}
