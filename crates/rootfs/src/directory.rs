//! A directory tree as a root file system.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{Content, Entry, Files, Step};

/// Number of attempts for a path with `..`: Linux returns `EAGAIN` whenever anything on the machine
/// is renamed or mounted meanwhile (openat2(2), `RESOLVE_IN_ROOT`).
const ATTEMPTS: u32 = 100;

/// A sandbox: a root file system that is unpacked in a directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

impl Directory {
    /// Makes a sandbox from an open directory. `path` is the directory's name.
    #[must_use]
    pub fn new(path: PathBuf, handle: OwnedFd) -> Self {
        Self { path, handle }
    }

    /// Opens the directory at `path`.
    ///
    /// # Errors
    ///
    /// Fails when there is no directory, or it may not be read.
    pub fn open_root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self::new(path.to_owned(), handle))
    }

    /// Opens the directory at `path` inside this one. Returns `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails when the directory may not be read.
    pub fn below(&self, path: &Path) -> io::Result<Option<Self>> {
        let handle = self.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let name = self.path.join(path.strip_prefix("/").unwrap_or(path));
        Ok(handle.map(|handle| Self::new(name, handle)))
    }

    /// Returns the path by which the directory was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an open file is this directory.
    ///
    /// # Errors
    ///
    /// Fails when either cannot be inspected.
    pub fn is_itself(&self, open: &OwnedFd) -> io::Result<bool> {
        let other = rustix::fs::fstat(open)?;
        Ok(self.identity()? == (other.st_dev, other.st_ino))
    }

    /// Returns the directory's device and inode, which identify it as long as it exists.
    ///
    /// # Errors
    ///
    /// Fails when the file system fails.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let own = rustix::fs::fstat(&self.handle)?;
        Ok((own.st_dev, own.st_ino))
    }

    /// Returns the status of the file at `path`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be inspected.
    pub fn status(&self, path: &Path) -> io::Result<Option<rustix::fs::Stat>> {
        let Some(fd) = self.open_inside(path, OFlags::PATH)? else {
            return Ok(None);
        };
        Ok(Some(rustix::fs::fstat(&fd)?))
    }

    /// Opens the regular file at `path`. Returns `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails when the file may not be read.
    pub fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        match self.entry(path)? {
            Some(Entry::File { .. }) => {}
            _ => return Ok(None),
        }
        Ok(self.open_inside(path, OFlags::RDONLY)?.map(File::from))
    }

    /// Returns a text that changes whenever the file at `path` does: its place on the disk, its
    /// size and its times. The text is empty if there is no file.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be inspected.
    pub fn stamp(&self, path: &Path) -> io::Result<String> {
        let Some(stat) = self.status(path)? else {
            return Ok(String::new());
        };
        let place = (stat.st_dev, stat.st_ino, stat.st_size);
        let times = [
            (stat.st_mtime, stat.st_mtime_nsec),
            (stat.st_ctime, stat.st_ctime_nsec),
        ];
        Ok(format!("{place:?} {times:?}"))
    }

    /// Opens `path` as if this directory were `/` ([openat2(2)], Linux 5.6).
    ///
    /// [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html
    pub(crate) fn open_inside(&self, path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT)
    }

    pub(crate) fn resolve(
        &self,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> io::Result<Option<OwnedFd>> {
        let mut flags = flags | OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let open = |path| rustix::fs::openat2(&self.handle, path, flags, Mode::empty(), resolve);
        let mut opened = open(path);
        for _ in 0..ATTEMPTS {
            match opened {
                Err(Errno::AGAIN) => opened = open(path),
                _ => break,
            }
        }
        // Another process renames files again and again.
        if let Err(Errno::AGAIN) = opened {
            let path = self.without_dots(path, flags.contains(OFlags::NOFOLLOW))?;
            opened = open(&path);
        }
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Directory {
    /// Returns a path with the same target that has no `..`, and leads through no link that has
    /// one. With `itself`, a link at the end is not followed.
    fn without_dots(&self, path: &Path, itself: bool) -> io::Result<PathBuf> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) if itself => Ok(self.locate(parent)?.path.join(name)),
            _ => Ok(self.locate(path)?.path),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Files for Directory {
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let Some(fd) = self.open_inside(path, OFlags::PATH)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Some(kind(&stat)))
    }

    fn step(&self, path: &Path) -> io::Result<Option<Step>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let Some(fd) = self.open_inside(path, flags)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Some(Step::Entry(kind(&stat))));
        }
        let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
        Ok(Some(Step::Link(PathBuf::from(OsStr::from_bytes(
            target.to_bytes(),
        )))))
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Content + '_>>> {
        let file = self.open_file(path)?;
        Ok(file.map(|file| Box::new(file) as Box<dyn Content>))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let Some(fd) = self.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

fn kind(stat: &rustix::fs::Stat) -> Entry {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Entry::Directory,
        FileType::RegularFile => Entry::File {
            executable: stat.st_mode & 0o111 != 0,
        },
        _ => Entry::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_way_out_is_none() {
        let root = tempfile::tempdir().unwrap();
        symlink("/etc", root.path().join("out")).unwrap();
        let root = Directory::open_root(root.path()).unwrap();
        assert!(root.below(Path::new("/out")).unwrap().is_none());
        assert!(root.below(Path::new("/../../etc")).unwrap().is_none());
    }

    #[test]
    fn renames_elsewhere_do_not_hinder() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        symlink("../../a/b/c", root.path().join("a/b/link")).unwrap();
        let path = "a/b/../../".repeat(200);
        let link = format!("{path}a/b/link");
        let directory = Directory::open_root(root.path()).unwrap();
        let (begun, over) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (from, to) = (elsewhere.path().join("from"), elsewhere.path().join("to"));
                fs::write(&from, "").unwrap();
                begun.wait();
                while !over.load(Ordering::Relaxed) {
                    fs::rename(&from, &to).unwrap();
                    fs::rename(&to, &from).unwrap();
                }
            });
            begun.wait();
            let looks = (0..1000).map(|_| {
                let found = directory.below(Path::new(&path));
                let itself = directory.step(Path::new(&link));
                let nothing = directory.entry(Path::new(&link));
                let is_link = matches!(itself, Ok(Some(Step::Link(_))));
                is_link && matches!(found, Ok(Some(_))) && matches!(nothing, Ok(None))
            });
            let failed = looks.filter(|is_right| !is_right).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0);
        });
    }
}
