//! Writing to a root file system that is being built: no link in it leads out ([openat2(2)],
//! `RESOLVE_IN_ROOT`).
//!
//! [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, linkat, mkdirat, openat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use crate::{Directory, Entry, Files, Step};

impl Directory {
    /// Opens the directory at `path`, and makes it and those above it if they are missing. A link
    /// that leads to nothing leads to a new directory.
    ///
    /// # Errors
    ///
    /// Fails when a file is in the way, or the file system refuses.
    pub fn make_directories(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        if let Some(there) = self.open_inside(path, flags)? {
            return Ok(there);
        }
        let path = self.locate(path)?.path;
        let mut made = PathBuf::from("/");
        for name in path.components().skip(1) {
            let above = self.opened(&made, flags)?;
            made.push(name);
            match mkdirat(&above, name.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.opened(&made, flags)
    }

    fn opened(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let opened = self.open_inside(path, flags)?;
        opened.ok_or_else(|| Errno::NOTDIR.into())
    }

    /// Returns the directory that has `path`, which is made if it is missing, and the last name of
    /// `path`. Links at the end of `path` are followed.
    fn place(&self, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
        let path = self.locate(path)?.path;
        let above = path.parent().ok_or(Errno::ISDIR)?;
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        Ok((self.make_directories(above)?, PathBuf::from(name)))
    }

    /// Opens a new file at `path` to write to it. An existing file is replaced, and a link is
    /// followed. The directories above it are made.
    ///
    /// # Errors
    ///
    /// Fails when a directory is there, or the file system refuses.
    pub fn create(&self, path: &Path, mode: u32) -> io::Result<File> {
        let (above, name) = self.place(path)?;
        create_at(above, name.as_os_str(), mode)
    }

    /// Writes a file at `path`. Otherwise as [`create`](Self::create).
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create).
    pub fn write(&self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        self.create(path, mode)?.write_all(content)
    }

    /// Makes a symbolic link at `path`, unless something is there. The directories above it are
    /// made.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let above = self.make_directories(path.parent().unwrap_or(Path::new("/")))?;
        match symlinkat(target, &above, path.file_name().ok_or(Errno::ISDIR)?) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the file or link at `path`, if there is one.
    ///
    /// # Errors
    ///
    /// Fails when a directory is there, or the file system refuses.
    pub fn unlink(&self, path: &Path) -> io::Result<()> {
        let above = path.parent().unwrap_or(Path::new("/"));
        let Some(above) = self.open_inside(above, OFlags::PATH | OFlags::DIRECTORY)? else {
            return Ok(());
        };
        remove_at(above, path.file_name().ok_or(Errno::ISDIR)?)
    }

    /// Makes another name for the regular file at `path`: `name` in an open directory of the tree. No
    /// link at the end of `path` is followed. Something else with this name is replaced.
    ///
    /// # Errors
    ///
    /// Fails when there is no regular file, and when the file system refuses.
    pub fn hard_link(&self, path: &Path, above: impl AsFd, name: &OsStr) -> io::Result<()> {
        let file = self.open_inside(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let file = file.ok_or(Errno::NOENT)?;
        let mode = rustix::fs::fstat(&file)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        remove_at(&above, name)?;
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(linkat(CWD, open, &above, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Removes the empty file or directory at `path`, and the empty directories above it below `top`.
    /// Whatever has content stays.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses for another reason.
    pub fn remove_empty(&self, path: &Path, top: &Path) -> io::Result<()> {
        for path in path.ancestors().take_while(|path| path.starts_with(top)) {
            let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
                return Ok(());
            };
            let Some(parent) = self.open_inside(above, OFlags::PATH | OFlags::DIRECTORY)? else {
                continue;
            };
            let flags = match self.step(path)? {
                Some(Step::Entry(Entry::Directory)) => AtFlags::REMOVEDIR,
                Some(Step::Entry(Entry::File { .. })) => {
                    match self.status(path)?.is_some_and(|found| found.st_size == 0) {
                        true => AtFlags::empty(),
                        false => return Ok(()),
                    }
                }
                None => continue,
                Some(_) => return Ok(()),
            };
            match unlinkat(parent, name, flags) {
                Ok(()) => {}
                Err(Errno::NOTEMPTY) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Makes a file in an open directory and opens it to write to it. An existing file that is no
/// directory is replaced.
///
/// # Errors
///
/// Fails when a directory has this name, or the file system refuses.
pub fn create_at(above: impl AsFd, name: &OsStr, mode: u32) -> io::Result<File> {
    remove_at(&above, name)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let made = openat(&above, name, flags, Mode::from_raw_mode(0o600))?;
    let file = File::from(made);
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Returns the times of a file that was changed at a time since 1970.
#[must_use]
pub fn changed_at(seconds: i64, nanoseconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Removes a file or a link in an open directory, if it is there.
///
/// # Errors
///
/// Fails when a directory has this name, or the file system refuses.
pub fn remove_at(above: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(&above, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory in an open directory, and makes it if it is missing. A file or a link with
/// this name is not followed and not replaced.
///
/// # Errors
///
/// Fails when there is another file, or the file system refuses.
pub fn directory_at(above: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    match mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(
        &above,
        name,
        flags | OFlags::DIRECTORY,
        Mode::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_written_outside() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let victim = outside.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let root = dir.path();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink(&victim, root.join("file")).unwrap();
        symlink("../../x/y", root.join("dangling")).unwrap();
        let tree = Directory::open_root(root).unwrap();
        tree.write(Path::new("/out/a"), 0o644, b"a").unwrap();
        tree.write(Path::new("/file"), 0o644, b"b").unwrap();
        tree.write(Path::new("/dangling"), 0o755, b"c").unwrap();
        tree.make_directories(Path::new("/../../d/e")).unwrap();
        tree.link(Path::new("/l/m"), Path::new("n")).unwrap();
        tree.unlink(Path::new("/out/a")).unwrap();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        // The links lead to the same paths below the root.
        let inside = root.join(victim.strip_prefix("/").unwrap());
        assert_eq!(fs::read_to_string(inside).unwrap(), "b");
        let made = root.join("x/y");
        assert_eq!(fs::read_to_string(&made).unwrap(), "c");
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert!(root.join("d/e").is_dir());
        assert!(root.join("l/m").is_symlink());
        assert!(tree.write(Path::new("/d/e"), 0o644, b"").is_err());
        tree.make_directories(Path::new("/d/e/f/g")).unwrap();
        tree.write(Path::new("/d/e/stays"), 0o644, b"x").unwrap();
        tree.remove_empty(Path::new("/d/e/f/g"), Path::new("/d"))
            .unwrap();
        tree.remove_empty(Path::new("/d/e/stays"), Path::new("/d"))
            .unwrap();
        assert_eq!(fs::read_dir(root.join("d/e")).unwrap().count(), 1);
        assert!(tree.make_directories(Path::new("/x/y/z")).is_err());
    }
}
