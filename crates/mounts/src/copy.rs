//! Copying a directory of an image. The image is not trusted: no link is followed out of the
//! directory.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

/// Deepest tree that is copied; every level holds two descriptors.
const DEPTH: usize = 128;

/// Copies the contents of one directory to another, with owners, modes and times.
pub(crate) fn copy_tree(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    copy(from.as_fd(), to.as_fd(), DEPTH)
}

fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
    let deeper = depth
        .checked_sub(1)
        .ok_or_else(|| io::Error::other("the directory to copy is too deep"))?;
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        copy_one(from, to, name, &stat, deeper)?;
    }
    Ok(())
}

fn copy_one(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    depth: usize,
) -> io::Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let none = Mode::empty();
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let opened = match kind {
        FileType::Directory => {
            let directory = OFlags::RDONLY | OFlags::DIRECTORY | nofollow;
            mkdirat(to, name, Mode::RWXU)?;
            let target = openat(to, name, directory, none)?;
            let source = openat(from, name, directory, none)?;
            copy(source.as_fd(), target.as_fd(), depth)?;
            Some(target)
        }
        FileType::RegularFile => {
            // If the file is replaced meanwhile, for example by a FIFO, we must not block.
            let source = openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NONBLOCK | nofollow,
                none,
            )?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
            let target = File::from(openat(to, name, create, Mode::RUSR | Mode::WUSR)?);
            io::copy(&mut File::from(source), &mut &target)?;
            Some(target.into())
        }
        FileType::Symlink => {
            symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
            None
        }
        FileType::Socket | FileType::Unknown => return Ok(()),
        kind => match mknodat(to, name, kind, mode, stat.st_rdev) {
            // Nobody may make devices in a user namespace, and they would not be usable there.
            Err(Errno::PERM) => return Ok(()),
            made => {
                made?;
                None
            }
        },
    };
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(
        to,
        name,
        Some(owner.0),
        Some(owner.1),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if let Some(opened) = opened {
        fchmod(opened.as_fd(), mode)?;
    }
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn links_are_copied_and_not_followed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/file"), "text").unwrap();
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(from.path().join("a/b/file"), mode).unwrap();
        symlink("/etc/passwd", from.path().join("a/link")).unwrap();
        copy_tree(
            fs::File::open(from.path()).unwrap(),
            fs::File::open(to.path()).unwrap(),
        )
        .unwrap();
        let copied = to.path().join("a/b/file");
        assert_eq!(fs::read_to_string(&copied).unwrap(), "text");
        assert_eq!(
            fs::metadata(&copied).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(
            fs::read_link(to.path().join("a/link")).unwrap(),
            std::path::Path::new("/etc/passwd")
        );
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deep: std::path::PathBuf = std::iter::repeat_n("d", DEPTH + 1).collect();
        fs::create_dir_all(from.path().join(deep)).unwrap();
        let copied = copy_tree(
            fs::File::open(from.path()).unwrap(),
            fs::File::open(to.path()).unwrap(),
        );
        assert!(copied.unwrap_err().to_string().contains("too deep"));
    }
}
