//! Access to files that are closed to their owner.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};

use crate::Directory;

/// The owner's access to a file whose mode does not give it. Dropped, the file gets its mode back.
#[derive(Debug)]
pub struct OwnerAccess {
    file: OwnedFd,
    mode: u32,
}

impl Directory {
    /// Lets the owner read the file at `path`, or read and enter the directory there. Returns `None`
    /// if its mode does so, or if the caller is not the owner. No link at the end is followed.
    ///
    /// # Errors
    ///
    /// Fails when the file system refuses.
    pub fn give_owner_access(&self, path: &Path) -> io::Result<Option<OwnerAccess>> {
        let Some(file) = self.open_inside(path, OFlags::PATH | OFlags::NOFOLLOW)? else {
            return Ok(None);
        };
        let stat = fstat(&file)?;
        let needed = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => 0o500,
            FileType::RegularFile => 0o400,
            _ => return Ok(None),
        };
        let (user, mode) = (rustix::process::geteuid(), stat.st_mode & 0o7777);
        if mode & needed == needed || user.is_root() || stat.st_uid != user.as_raw() {
            return Ok(None);
        }
        set_mode(&file, mode | needed)?;
        Ok(Some(OwnerAccess { file, mode }))
    }

    /// Does the same for the directories above the file at `path` as well.
    ///
    /// # Errors
    ///
    /// As for [`give_owner_access`](Self::give_owner_access).
    pub fn give_owner_access_from_top(&self, path: &Path) -> io::Result<Vec<OwnerAccess>> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        let given = above.into_iter().map(|path| self.give_owner_access(path));
        given.filter_map(io::Result::transpose).collect()
    }
}

impl Drop for OwnerAccess {
    fn drop(&mut self) {
        let _ = set_mode(&self.file, self.mode);
    }
}

/// Sets the mode of a file that is open without access to its content, which only the path in
/// `/proc` allows before Linux 6.6.
fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("closed");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o4010)).unwrap();
        let tree = Directory::open_root(dir.path()).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        let access = tree.give_owner_access(Path::new("/closed")).unwrap();
        if access.is_some() {
            assert_eq!(mode(), 0o4410);
            assert_eq!(fs::read(&path).unwrap(), b"x");
        }
        drop(access);
        assert_eq!(mode(), 0o4010);
        assert!(tree.give_owner_access(Path::new("/")).unwrap().is_none());
        assert!(
            tree.give_owner_access(Path::new("/none"))
                .unwrap()
                .is_none()
        );
    }
}
