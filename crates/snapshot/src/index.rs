//! The state of all files of a tree at one moment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rootfs::Directory;
use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat};

use crate::Changes;

/// The state of all files of a tree at one moment.
#[derive(Debug, Default)]
pub struct Index {
    pub(crate) entries: BTreeMap<PathBuf, State>,
    /// Time that it took to read the tree.
    pub took: Duration,
    /// Whether the tree is the caller's to change: files that are closed to their owner are opened
    /// for a moment.
    pub(crate) is_own: bool,
}

/// The state of a file. Its change time tells of each change of content and metadata, and no program
/// can set it (inode(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) inode: u64,
    pub(crate) links: u64,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) device: u64,
    /// Seconds and nanoseconds since 1970.
    pub(crate) modified: (i64, u32),
    changed: (i64, u32),
    /// Whether most of the file is a hole.
    pub(crate) is_sparse: bool,
}

impl State {
    fn of(status: &Stat) -> Self {
        let small = |nanoseconds| u32::try_from(nanoseconds).unwrap_or(0);
        let size = u64::try_from(status.st_size).unwrap_or(0);
        let used = u64::try_from(status.st_blocks).unwrap_or(0) * 512;
        Self {
            inode: status.st_ino,
            links: status.st_nlink,
            mode: status.st_mode,
            owner: (status.st_uid, status.st_gid),
            size,
            device: status.st_rdev,
            modified: (status.st_mtime, small(status.st_mtime_nsec)),
            changed: (status.st_ctime, small(status.st_ctime_nsec)),
            is_sparse: size > LARGE && used < size / 2,
        }
    }

    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}

/// Size from which on holes matter, in bytes.
const LARGE: u64 = 64 << 20;
/// The longest step of the clock that gives files their times.
const TICK: Duration = Duration::from_millis(20);

impl Index {
    /// Reads a tree of somebody else's. As [`read`](Self::read), but no mode is changed.
    ///
    /// # Errors
    ///
    /// Fails when a directory cannot be read.
    pub fn read_as_it_is(root: &Directory) -> io::Result<Self> {
        Self::read_tree(root, false)
    }

    /// Reads a tree of the caller's. A file that is changed afterwards has a later change time than it has here.
    ///
    /// # Errors
    ///
    /// Fails when a directory cannot be read.
    pub fn read(root: &Directory) -> io::Result<Self> {
        Self::read_tree(root, true)
    }

    fn read_tree(root: &Directory, is_own: bool) -> io::Result<Self> {
        let began = Instant::now();
        let mut entries = BTreeMap::from([("/".into(), State::of(&fstat(root)?))]);
        let mut ahead = vec![PathBuf::from("/")];
        while let Some(path) = ahead.pop() {
            let mut access = Vec::new();
            let opened = match root.below(&path) {
                Err(error) if is_own && error.kind() == io::ErrorKind::PermissionDenied => {
                    access = root.give_owner_access_from_top(&path)?;
                    root.below(&path)?
                }
                opened => opened?,
            };
            let Some(directory) = opened else {
                continue;
            };
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                let status = statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                let state = State::of(&status);
                let path = path.join(name);
                if state.kind() == FileType::Directory {
                    ahead.push(path.clone());
                }
                entries.insert(path, state);
            }
            drop(access);
        }
        let took = began.elapsed();
        // Within one step of the clock, a later change would not be seen.
        std::thread::sleep(TICK.saturating_sub(took));
        Ok(Self {
            entries,
            took,
            is_own,
        })
    }

    /// Forgets a file, or a directory with all that it has.
    pub fn leave_out(&mut self, path: &Path) {
        self.entries.retain(|own, _| !own.starts_with(path));
    }

    /// Returns the differences between an earlier state and this one.
    #[must_use]
    pub fn since<'a>(&'a self, earlier: &'a Self) -> Changes<'a> {
        let mut removed: Vec<&Path> = Vec::new();
        for (path, before) in &earlier.entries {
            let is_gone = (self.entries.get(path)).is_none_or(|now| now.kind() != before.kind());
            let is_below = || removed.last().is_some_and(|above| path.starts_with(above));
            if is_gone && !is_below() {
                removed.push(path);
            }
        }
        let is_new = |(path, now): &(&PathBuf, &State)| earlier.entries.get(*path) != Some(*now);
        Changes {
            changed: self.entries.iter().filter(is_new).collect(),
            removed,
            is_own: self.is_own,
        }
    }
}
