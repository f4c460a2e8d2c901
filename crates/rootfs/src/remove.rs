//! Removing a file tree that may come from an image.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::{Directory, Files};

/// Removes a file, or a directory with everything in it, even directories that their owner may not
/// enter.
///
/// # Errors
///
/// Fails when the file system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => remove_tree(path),
        false => fs::remove_file(path),
    }
}

impl Directory {
    /// Removes what is at `path`, if there is anything, as [`remove`] does. No link of the tree leads out.
    ///
    /// # Errors
    ///
    /// As for [`remove`].
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(Errno::ISDIR)?;
        let above = self.locate(path.parent().unwrap_or(Path::new("/")))?.path;
        let path = above.join(name);
        match self.step(&path)? {
            None => Ok(()),
            Some(_) => remove(&self.path().join(path.strip_prefix("/").unwrap_or(&path))),
        }
    }
}

/// Removes a directory tree. Directories of an image may be closed to their owner, and deeper than a
/// path can name: each directory is moved to the top before it is emptied. No link is followed.
fn remove_tree(path: &Path) -> io::Result<()> {
    let top = open_directory(CWD, path.as_os_str())?;
    let mut ahead = 0_u64;
    move_out(&top, &top, &mut ahead)?;
    // The directories that were moved have numbers for names.
    let mut done = 0;
    while done < ahead {
        let name = moved(done);
        done += 1;
        let directory = match open_directory(&top, name.as_ref()) {
            // The number was passed over.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            directory => directory?,
        };
        move_out(&directory, &top, &mut ahead)?;
        unlinkat(&top, name, AtFlags::REMOVEDIR)?;
    }
    drop(top);
    fs::remove_dir(path)
}

/// The start of the names of directories that were moved.
const MOVED: &str = "..front-";

/// Returns the name of the directory that was moved as this one.
fn moved(number: u64) -> String {
    format!("{MOVED}{number}")
}

/// Removes the files in a directory, and moves its directories to the top.
fn move_out(directory: &OwnedFd, top: &OwnedFd, ahead: &mut u64) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        // Directories that were moved meanwhile may be listed.
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(MOVED)?.parse().ok());
        let is_moved = std::ptr::eq(directory, top) && number.is_some_and(|one: u64| one < *ahead);
        if name == "." || name == ".." || is_moved {
            continue;
        }
        match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        // A directory that its owner may not change cannot be moved.
        drop(open_directory(directory, name)?);
        loop {
            let flags = RenameFlags::NOREPLACE;
            let to = moved(*ahead);
            match renameat_with(directory, name, top, &to, flags) {
                Ok(()) => break,
                // An image may have such a name, or the file system cannot tell.
                Err(Errno::EXIST) => *ahead += 1,
                Err(Errno::INVAL) => {
                    renameat(directory, name, top, &to)?;
                    break;
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        *ahead += 1;
    }
    Ok(())
}

/// Opens a directory, and gives its owner all rights to it.
fn open_directory(above: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(above, name, flags, Mode::empty())?;
    // Only the path in /proc allows it for such a descriptor before Linux 6.6.
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    fs::set_permissions(&path, Permissions::from_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn deep_and_closed_trees_go_and_links_stay_unfollowed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("precious"), "").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        symlink(outside.path(), tree.join("link")).unwrap();
        fs::create_dir(tree.join("..front-1")).unwrap();
        fs::write(tree.join("..front-0"), "").unwrap();
        fs::write(tree.join("..front-2"), "").unwrap();
        let mut here = open_directory(CWD, tree.as_os_str()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, "directory", Mode::from_raw_mode(0o700)).unwrap();
            here = open_directory(&here, "directory".as_ref()).unwrap();
        }
        fs::create_dir(tree.join("closed")).unwrap();
        fs::write(tree.join("closed/file"), "").unwrap();
        fs::set_permissions(tree.join("closed"), Permissions::from_mode(0o000)).unwrap();
        let above = Directory::open_root(dir.path()).unwrap();
        symlink("/", dir.path().join("root")).unwrap();
        above.remove(Path::new("/root/tree/none")).unwrap();
        above.remove(Path::new("/root/tree")).unwrap();
        assert!(!tree.exists());
        assert!(outside.path().join("precious").exists());
    }
}
