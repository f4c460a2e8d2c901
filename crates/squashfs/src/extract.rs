//! Unpacks an image below a directory, as an ordinary user and without trusting the image.
//!
//! Every system call names one entry of an open directory that was made here. No link is followed
//! and no existing file is written to, so no image can affect anything outside.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::directory::{DirEntry, ReadDir};
use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::format::{InodeRef, Kind};
use crate::inode::Inode;

/// Deepest nesting of directories. Each level holds a descriptor, and a process has 1024 by
/// default.
const DEEPEST: usize = 512;

/// The mode bits that unpacked files keep if their owner is another.
const MODE: u16 = 0o1777;

/// The parts of an image that the unpacked tree lacks, by number of files or attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Device nodes.
    pub devices: u64,
    /// Sockets.
    pub sockets: u64,
    /// Set-user-id and set-group-id bits.
    pub set_ids: u64,
    /// Extended attributes other than `user.*`, and those that the target file system does not
    /// support.
    pub xattrs: u64,
}

/// Unpacks all of `fs` below the existing, empty directory `into`.
///
/// Owners become the caller, unless `keeps_owners` is set; modes, times, hard links, holes and `user.*`
/// attributes are kept.
/// After an error the caller has to remove the files that have been unpacked.
///
/// # Errors
///
/// A part of the image that cannot be read, or a system call that fails.
pub fn extract(fs: &Filesystem, into: &Path, keeps_owners: bool) -> Result<Skipped, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, into, flags, Mode::empty())
        .map_err(|source| failed(into, "open the directory", source))?;
    let mut extraction = Extraction {
        fs,
        root: &root,
        path: PathBuf::new(),
        seen: HashSet::new(),
        linked: HashMap::new(),
        buffer: vec![0; usize::try_from(fs.block_size()).unwrap_or_default()],
        keeps_owners,
        skipped: Skipped::default(),
    };
    let copy = openat(&root, c".", flags, Mode::empty())
        .map_err(|source| failed(into, "open the directory", source))?;
    extraction.tree(fs.root()?, copy)?;
    Ok(extraction.skipped)
}

/// A directory whose entries are being unpacked.
struct Level<'a> {
    inode: Inode,
    fd: OwnedFd,
    entries: ReadDir<'a>,
}

struct Extraction<'a> {
    fs: &'a Filesystem,
    root: &'a OwnedFd,
    /// The path of the current entry within the image.
    path: PathBuf,
    /// The directories so far. In a tree, each has only one name.
    seen: HashSet<InodeRef>,
    /// The path of the first name of each file that has several names.
    linked: HashMap<InodeRef, PathBuf>,
    buffer: Vec<u8>,
    keeps_owners: bool,
    skipped: Skipped,
}

impl<'a> Extraction<'a> {
    fn tree(&mut self, root: Inode, fd: OwnedFd) -> Result<(), Error> {
        let mut levels = Vec::new();
        levels.push(self.level(root, fd)?);
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.next().transpose()? else {
                // The directory comes last: it may be read-only, and each new entry changes its
                // time.
                if let Some(level) = levels.pop() {
                    self.finish(&level.inode, &level.fd)?;
                    self.path.pop();
                }
                continue;
            };
            self.path.push(OsStr::from_bytes(&entry.name));
            if let Some((inode, fd)) = self.entry(&level.fd, &entry)? {
                if levels.len() >= DEEPEST {
                    return Err(self.no_tree("more than 512 directories deep"));
                }
                levels.push(self.level(inode, fd)?);
            } else {
                self.path.pop();
            }
        }
        Ok(())
    }

    fn level(&mut self, inode: Inode, fd: OwnedFd) -> Result<Level<'a>, Error> {
        if !self.seen.insert(inode.reference) {
            return Err(self.no_tree("the directory has two names"));
        }
        let entries = self.fs.read_dir(&inode, 0)?;
        Ok(Level { inode, fd, entries })
    }

    /// Makes one entry in `dir`. A directory is returned, so that its entries can follow.
    fn entry(
        &mut self,
        dir: &OwnedFd,
        entry: &DirEntry,
    ) -> Result<Option<(Inode, OwnedFd)>, Error> {
        let inode = self.fs.inode(entry.inode)?;
        let name = OsStr::from_bytes(&entry.name);
        if inode.kind == Kind::Directory {
            mkdirat(dir, name, Mode::RWXU).map_err(|e| self.failed("mkdir", e))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(dir, name, flags, Mode::empty()).map_err(|e| self.failed("open", e))?;
            return Ok(Some((inode, fd)));
        }
        // A hard link that the file system refuses (too many links, too long a path) becomes a
        // copy.
        if let Some(first) = self.linked.get(&inode.reference)
            && linkat(self.root, first, dir, name, AtFlags::empty()).is_ok()
        {
            return Ok(None);
        }
        match inode.kind {
            Kind::File => self.file(dir.as_fd(), name, &inode)?,
            Kind::Symlink => {
                let target = self.fs.read_link(&inode)?;
                symlinkat(OsStr::from_bytes(&target), dir, name)
                    .map_err(|e| self.failed("symlink", e))?;
                self.own(dir, name, &inode)?;
                utimensat(dir, name, &times(&inode), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| self.failed("set the time", e))?;
                self.skip_xattrs(&inode)?;
            }
            Kind::Fifo => {
                let mode = Mode::from_raw_mode((inode.permissions & 0o777).into());
                mknodat(dir, name, FileType::Fifo, mode, 0)
                    .map_err(|e| self.failed("mkfifo", e))?;
                self.own(dir, name, &inode)?;
                utimensat(dir, name, &times(&inode), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|e| self.failed("set the time", e))?;
                self.skip_xattrs(&inode)?;
            }
            Kind::Socket => self.skipped.sockets = self.skipped.sockets.saturating_add(1),
            Kind::BlockDevice | Kind::CharDevice | Kind::Directory => {
                self.skipped.devices = self.skipped.devices.saturating_add(1);
            }
        }
        if inode.links > 1 {
            self.linked.insert(inode.reference, self.path.clone());
        }
        Ok(None)
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &OsStr, inode: &Inode) -> Result<(), Error> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.failed("create", e))?;
        let file = File::from(fd);
        let mut at = 0;
        while at < inode.size {
            let hole = self.fs.hole(inode, at)?;
            if hole > 0 {
                at = at.saturating_add(hole);
                continue;
            }
            let filled = self.fs.read(inode, at, &mut self.buffer)?;
            let contents = self.buffer.get(..filled).unwrap_or_default();
            file.write_all_at(contents, at)
                .map_err(|e| self.failed("write", e))?;
            at = at.saturating_add(filled as u64);
        }
        // A hole at the end has not extended the file.
        file.set_len(inode.size)
            .map_err(|e| self.failed("truncate", e))?;
        self.finish(inode, &file)
    }

    /// Sets the attributes, mode and times of a file or directory.
    fn finish(&mut self, inode: &Inode, fd: &impl AsFd) -> Result<(), Error> {
        for name in self.fs.xattr_names(inode)? {
            let value = self.fs.xattr(inode, &name)?.unwrap_or_default();
            if !name.starts_with(b"user.")
                || fsetxattr(fd, OsStr::from_bytes(&name), &value, XattrFlags::empty()).is_err()
            {
                self.skipped.xattrs = self.skipped.xattrs.saturating_add(1);
            }
        }
        self.own(fd, OsStr::new(""), inode)?;
        let bits = if self.keeps_owners { 0o7777 } else { MODE };
        if inode.permissions & 0o6000 & !bits != 0 {
            self.skipped.set_ids = self.skipped.set_ids.saturating_add(1);
        }
        fchmod(fd, Mode::from_raw_mode((inode.permissions & bits).into()))
            .map_err(|e| self.failed("chmod", e))?;
        futimens(fd, &times(inode)).map_err(|e| self.failed("set the time", e))
    }

    /// Gives a file to its owner. A user who is not in the caller's user namespace cannot have files.
    fn own(&self, dir: impl AsFd, name: &OsStr, inode: &Inode) -> Result<(), Error> {
        if !self.keeps_owners || (inode.uid, inode.gid) == (0, 0) {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        match chownat(dir, name, Some(user), Some(group), flags) {
            Err(Errno::INVAL) => Ok(()),
            given => given.map_err(|e| self.failed("set the owner", e)),
        }
    }

    /// Counts the attributes of a file that cannot have `user.*` attributes.
    fn skip_xattrs(&mut self, inode: &Inode) -> Result<(), Error> {
        let count = self.fs.xattr_names(inode)?.len() as u64;
        self.skipped.xattrs = self.skipped.xattrs.saturating_add(count);
        Ok(())
    }

    fn failed(&self, step: &'static str, source: impl Into<io::Error>) -> Error {
        failed(&self.path, step, source)
    }

    fn no_tree(&self, reason: &'static str) -> Error {
        Error::Tree {
            path: self.path.display().to_string(),
            reason,
        }
    }
}

fn failed(path: &Path, step: &'static str, source: impl Into<io::Error>) -> Error {
    let source = Arc::new(source.into());
    Error::Extract {
        path: path.display().to_string(),
        step,
        source,
    }
}

fn times(inode: &Inode) -> Timestamps {
    let time = Timespec {
        tv_sec: inode.modified.into(),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
