//! Mounts that are attached nowhere yet.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
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
/// Fails when the kernel refuses the kind or an option.
pub fn new_file_system<'a>(
    kind: &str,
    options: impl IntoIterator<Item = &'a str>,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, option)?,
        }
    }
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(&context, flags, MountAttrFlags::empty())?)
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
