//! The FUSE server: answers the kernel's requests from an image.
//!
//! An image never changes, so the kernel may keep whatever it has been told: names (also those that
//! are not there), attributes, links, listings and contents. Nothing is remembered here between
//! requests, as a node's number is made from the inode's place in the image.

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
use crate::inode::{Inode, InodeRef, Kind};

/// How long the kernel may keep names and attributes: a day.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Listings whose state is kept from one request to the next.
const LISTINGS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// The least time between two reports of errors.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How to serve an image.
pub struct ServeOptions {
    /// Number of threads that answer requests, at least one.
    pub threads: usize,
    /// Whom all files belong to, as user and group id, instead of what the image says.
    pub owner: Option<(u32, u32)>,
    /// Told of what an image's reader met: the first error, then at most one each second. The
    /// program that asked for the file gets `EIO` in any case.
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
/// `fuse` is an open `/dev/fuse` that a mount refers to already (`fd=`, best with
/// `default_permissions`, `allow_other` and `MS_RDONLY`). The threads share it: a descriptor for each
/// would need `/dev/fuse` under that name in the caller's mount namespace.
///
/// # Errors
///
/// A handshake that fails, or a descriptor that cannot be read any more.
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
    // The kernel checks who may (`allow_other`, `default_permissions`).
    Session::from_fd(server, fuse, SessionACL::All, config)?.run()
}

/// Whether the kernel asks before it opens files and directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    Asked,
    /// The first answer, `ENOSYS`, is the last: Linux 5.1 and later do without.
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
    /// Returns the inode of a node number: 1 for the root, else its reference and 2.
    pub(crate) fn inode(&self, node: INodeNo) -> Result<Inode, Error> {
        match node {
            INodeNo::ROOT => self.fs.root(),
            INodeNo(number) => self.fs.inode(InodeRef::from_raw(number.saturating_sub(2))),
        }
    }

    /// Returns the node number of an inode, which is also its `st_ino`: fuser has one for both.
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
            // The kernel takes 0 for a file that is being removed.
            nlink: inode.links.max(1),
            uid,
            gid,
            rdev: inode.device,
            blksize: self.fs.superblock().block_size,
            flags: 0,
        }
    }

    /// Returns the number for an error, and reports it if it is the image's fault.
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

    /// Gives `add` the entries of a directory from `offset` on, until it says that it is full.
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
        // The parent's place is not recorded; nobody may rely on the number of "..".
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
                // What there is first: the next request will fail at once.
                Err(_) if done > from => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn listings(&self) -> std::sync::MutexGuard<'_, LruCache<(u64, u64), Progress>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an attribute must not be seen: capabilities of a file belong to its owner.
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
