//! The FUSE server: answers the kernel's requests from an image.
//!
//! An image never changes, so the kernel may cache all answers: names (also those that do not
//! exist), attributes, links, listings and contents. The server keeps no nodes between requests,
//! because a node's number is derived from the inode's position in the image.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo, Session, SessionACL};
use lru::LruCache;

use crate::directory::Progress;
use crate::error::Error;
use crate::filesystem::Filesystem;
use crate::format::{InodeRef, Kind};
use crate::inode::Inode;

/// How long the kernel may cache names and attributes: a day.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Number of listings whose progress is kept between requests.
const LISTINGS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// Shortest time between two reports of errors.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How to serve an image.
pub struct ServeOptions {
    /// Number of threads that answer requests, at least one.
    pub threads: usize,
    /// The user and group id that all files belong to, instead of those in the image.
    pub owner: Option<(u32, u32)>,
    /// Called for errors of the image: for the first one, then at most once per second. The program
    /// that accesses the file gets `EIO` in any case.
    pub on_error: Box<dyn Fn(&Error) + Send + Sync>,
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("threads", &self.threads)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// Serves `fs` until it is unmounted.
///
/// `fuse` is an open `/dev/fuse` to which a mount refers already (`fd=`, preferably with
/// `default_permissions`, `allow_other` and `MS_RDONLY`). The threads share it: a descriptor for
/// each thread would require `/dev/fuse` under that name in the caller's mount namespace.
///
/// # Errors
///
/// A handshake that fails, or a descriptor that can no longer be read.
pub fn serve(fs: Filesystem, fuse: OwnedFd, options: ServeOptions) -> io::Result<()> {
    let mut config = fuser::Config::default();
    config.n_threads = Some(options.threads.max(1));
    config.clone_fd = false;
    let server = Server {
        fs,
        owner: options.owner,
        on_error: options.on_error,
        reported: Mutex::new(None),
        listings: Mutex::new(LruCache::new(LISTINGS)),
        opens: Opens::Asked,
    };
    // The kernel checks the permissions (`allow_other`, `default_permissions`).
    Session::from_fd(server, fuse, SessionACL::All, config)?.run()
}

/// Whether the kernel sends a request before it opens files and directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    Asked,
    /// The kernel sends no more requests after the first answer, `ENOSYS` (Linux 5.1 and later).
    Skipped,
}

pub(crate) struct Server {
    pub(crate) fs: Filesystem,
    owner: Option<(u32, u32)>,
    on_error: Box<dyn Fn(&Error) + Send + Sync>,
    reported: Mutex<Option<Instant>>,
    listings: Mutex<LruCache<(u64, u64), Progress>>,
    pub(crate) opens: Opens,
}

impl Server {
    /// Returns the inode for a node number: 1 is the root, other numbers are the reference plus 2.
    pub(crate) fn inode(&self, node: INodeNo) -> Result<Inode, Error> {
        match node {
            INodeNo::ROOT => self.fs.root(),
            INodeNo(number) => self.fs.inode(InodeRef::from_raw(number.saturating_sub(2))),
        }
    }

    /// Returns the node number of an inode. It is also its `st_ino`, because fuser uses one number
    /// for both.
    pub(crate) fn node(&self, reference: InodeRef) -> INodeNo {
        if reference == self.fs.superblock().root {
            INodeNo::ROOT
        } else {
            INodeNo(reference.raw().saturating_add(2))
        }
    }

    pub(crate) fn attributes(&self, inode: &Inode) -> FileAttr {
        let (uid, gid) = self.owner.unwrap_or((inode.uid, inode.gid));
        let modified = UNIX_EPOCH + Duration::from_secs(inode.modified.into());
        FileAttr {
            ino: self.node(inode.reference),
            size: inode.size,
            blocks: inode.size.saturating_sub(inode.sparse).div_ceil(512),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind: file_type(inode.kind),
            perm: inode.permissions,
            // For the kernel, 0 means a file that is being removed.
            nlink: inode.links.max(1),
            uid,
            gid,
            rdev: inode.device,
            blksize: self.fs.superblock().block_size,
            flags: 0,
        }
    }

    /// Returns the error number for an error, and reports the error if the image caused it.
    pub(crate) fn errno(&self, error: &Error) -> Errno {
        match error {
            Error::NotDirectory(_) => return Errno::ENOTDIR,
            Error::NotFile(_) | Error::NotSymlink(_) => return Errno::EINVAL,
            _ => {}
        }
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.is_none_or(|last| last.elapsed() >= REPORT_INTERVAL) {
            *reported = Some(Instant::now());
            drop(reported);
            (self.on_error)(error);
        }
        Errno::EIO
    }

    /// Calls `add` with the entries of a directory from `offset` on, until `add` returns that it is
    /// full.
    pub(crate) fn list(
        &self,
        node: INodeNo,
        offset: u64,
        mut add: impl FnMut(&OsStr, u64, InodeRef, Kind) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let dir = self.inode(node)?;
        if offset == 0 && add(OsStr::new("."), 1, dir.reference, dir.kind)? {
            return Ok(());
        }
        // The parent's inode is not recorded. No program may rely on the number of "..".
        if offset <= 1 && add(OsStr::new(".."), 2, dir.reference, dir.kind)? {
            return Ok(());
        }
        let from = offset.saturating_sub(2);
        let kept = self.listings().pop(&(node.0, from));
        let mut entries = match kept {
            Some(progress) => self.fs.resume_dir(dir.reference, progress),
            None => self.fs.read_dir(&dir, from)?,
        };
        let mut done = from;
        loop {
            let before = entries.progress();
            let Some(entry) = entries.next() else {
                return Ok(());
            };
            let result = entry.and_then(|entry| {
                let next = entry.next.saturating_add(2);
                let full = add(
                    OsStr::from_bytes(&entry.name),
                    next,
                    entry.inode,
                    entry.kind,
                )?;
                Ok((full, entry.next))
            });
            match result {
                Ok((false, next)) => done = next,
                Ok((true, _)) => {
                    self.listings().put((node.0, done), before);
                    return Ok(());
                }
                // The entries before the error are returned first. The next request then fails at
                // once.
                Err(_) if done > from => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn listings(&self) -> std::sync::MutexGuard<'_, LruCache<(u64, u64), Progress>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an attribute must be hidden: a file's capabilities apply to its original
    /// owner.
    pub(crate) fn hidden(&self, name: &[u8]) -> bool {
        self.owner.is_some() && name == b"security.capability"
    }

    pub(crate) fn names(&self, node: INodeNo) -> Result<Vec<u8>, Error> {
        let mut list = Vec::new();
        for name in self.fs.xattr_names(&self.inode(node)?)? {
            if !self.hidden(&name) {
                list.extend(name);
                list.push(0);
            }
        }
        Ok(list)
    }
}

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharDevice => FileType::CharDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}
