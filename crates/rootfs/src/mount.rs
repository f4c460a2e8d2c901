//! Mounting in a root file system, by descriptors: no link in it leads out ([openat2(2)],
//! `RESOLVE_IN_ROOT`).
//!
//! [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, mkdirat, openat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::Directory;

impl Directory {
    /// Opens the mount point at `path`. Makes it if it is missing, as in a directory that was
    /// bound.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn mount_point(&self, path: &Path, directory: bool) -> io::Result<OwnedFd> {
        self.mount_point_if(path, directory, &|_| Ok(()))
    }

    /// Does the same as [`mount_point`](Self::mount_point), but makes something in a directory only
    /// if `may_make` has no objection.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses, or `may_make` does.
    pub fn mount_point_if(
        &self,
        path: &Path,
        directory: bool,
        may_make: &dyn Fn(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<OwnedFd> {
        if let Some(there) = self.open_inside(path, OFlags::PATH)? {
            return Ok(there);
        }
        let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
        let parent = self.mount_point_if(above, true, may_make)?;
        may_make(&parent)?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        if directory {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        } else {
            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&parent, name, create, Mode::from_raw_mode(0o644))?;
        }
        let made = self.open_inside(path, OFlags::PATH)?;
        made.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens the mount point at `path`, where a link at the end is the mount point itself. Returns
    /// `None` if nothing is there.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn mount_point_itself(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        self.open_inside(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    /// Does the same as [`mount_point`](Self::mount_point), but only on this directory's own mount.
    /// Returns `None` if `path` leads over another mount.
    ///
    /// # Errors
    ///
    /// As for [`mount_point`](Self::mount_point).
    pub fn own_mount_point(&self, path: &Path, directory: bool) -> io::Result<Option<OwnedFd>> {
        match self.resolve(
            path,
            OFlags::PATH,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV,
        ) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(None),
            Ok(Some(there)) => return Ok(Some(there)),
            other => other?,
        };
        // A missing mount point is made only if the directory above it is on the same mount.
        let above = path.parent().ok_or(io::ErrorKind::NotFound)?;
        if self.own_mount_point(above, true)?.is_none() {
            return Ok(None);
        }
        self.mount_point(path, directory)?;
        self.resolve(
            path,
            OFlags::PATH,
            ResolveFlags::IN_ROOT | ResolveFlags::NO_XDEV,
        )
    }

    /// Opens the file at `path`, on any mount, as a path only: nothing is done to a device or a pipe.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn open_path(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        self.open_inside(path, OFlags::PATH)
    }

    /// Opens the file at `path`, on any mount, if the path has no links.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn open_without_links(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        self.resolve(path, OFlags::PATH, flags)
    }

    /// Makes a detached mount of the tree at `path` (open_tree(2), Linux 5.2).
    ///
    /// # Errors
    ///
    /// Fails when nothing is there, or the kernel refuses.
    pub fn detached(&self, path: &Path) -> io::Result<OwnedFd> {
        let source = self.open_inside(path, OFlags::PATH)?;
        let source = source.ok_or(io::ErrorKind::NotFound)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(open_tree(source, "", flags)?)
    }
}

/// Attaches a detached mount to a mount point.
///
/// # Errors
///
/// Fails when the kernel refuses: a directory on a file, another mount namespace.
pub fn attach(mount: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", place, "", empty)?)
}

/// Whether an open file is a directory.
///
/// # Errors
///
/// Fails when the file cannot be inspected.
pub fn is_directory(open: impl AsFd) -> io::Result<bool> {
    let mode = rustix::fs::fstat(open)?.st_mode;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        let root = Directory::open_root(dir.path()).unwrap();
        // The link leads to a path below the root that does not exist, and nothing is made there.
        assert!(root.mount_point(Path::new("/link/x"), true).is_err());
        assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
        root.mount_point(Path::new("/a/b/file"), false).unwrap();
        assert!(dir.path().join("a/b/file").is_file());
    }
}
