//! Mounts that are attached nowhere yet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

/// Makes a new file system with options such as `mode=755` ([fsopen(2)], Linux 5.2).
///
/// [fsopen(2)]: https://man7.org/linux/man-pages/man2/fsopen.2.html
///
/// # Errors
///
/// As [`new_file_system_of`].
pub fn new_file_system<'a>(
    kind: &str,
    options: impl IntoIterator<Item = &'a str>,
) -> io::Result<OwnedFd> {
    new_file_system_of(kind, None, options)
}

/// Makes a new file system as [`new_file_system`] does, of a source such as a device.
///
/// # Errors
///
/// Fails when the kernel refuses the kind or an option. The error has the kernel's own words, if it
/// says any, and the errno as its kind.
pub fn new_file_system_of<'a>(
    kind: &str,
    source: Option<&Path>,
    options: impl IntoIterator<Item = &'a str>,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configure = || -> rustix::io::Result<()> {
        if let Some(source) = source {
            fsconfig_set_string(&context, "source", source)?;
        }
        for option in options {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(&context, key, value)?,
                None => fsconfig_set_flag(&context, option)?,
            }
        }
        fsconfig_create(&context)
    };
    configure().map_err(|errno| explain(&context, errno))?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(&context, flags, MountAttrFlags::empty())?)
}

/// Returns an error with the kernel's words about it. It writes them for whoever reads the context.
fn explain(context: &OwnedFd, errno: Errno) -> io::Error {
    let mut line = [0; 512];
    let length = rustix::io::read(context, &mut line).unwrap_or(0);
    let words = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
    // A line begins with `e` for an error, `w` for a warning and `i` for information.
    match words.trim().strip_prefix("e ") {
        Some(words) => io::Error::new(
            io::Error::from(errno).kind(),
            Explained {
                words: words.to_owned(),
                errno,
            },
        ),
        None => errno.into(),
    }
}

/// The kernel's words about an error.
#[derive(Debug)]
struct Explained {
    words: String,
    errno: Errno,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// Returns the errno of an error of this module.
#[must_use]
pub fn errno_of(error: &io::Error) -> Option<i32> {
    let explained = error.get_ref().and_then(|inner| inner.downcast_ref());
    let own = explained.map(|explained: &Explained| explained.errno.raw_os_error());
    own.or_else(|| error.raw_os_error())
}

/// Makes a bind of a path, with the mounts below it or without ([open_tree(2)], Linux 5.2).
///
/// [open_tree(2)]: https://man7.org/linux/man-pages/man2/open_tree.2.html
///
/// # Errors
///
/// Fails when there is nothing at the path, and when the kernel refuses.
pub fn bind(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// Makes a bind of an open file or directory, which may be open as a path only.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_open(open: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(open, "", flags)?)
}
