//! The bundle's mounts, made in the root before the engine sees it.
//!
//! libcontainer would make them too, but looks at `/proc` anew for each, and every such look ends in
//! a wait for the kernel's RCU: with the twenty mounts that Singularity's users expect, most of a
//! launch. It binds the root with all that is mounted below, so what is made here is there.
//!
//! The image is hostile: a destination is opened as if the root were `/`, and mounted on by its
//! descriptor ([openat2(2)], `RESOLVE_IN_ROOT`).
//!
//! [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};
use sys::MountAttributes;
use tree::Directory;

use crate::Error;

/// Makes the mounts in the root file system at `root`, in their order, but for those that the first
/// process must make.
pub(crate) fn mount_all(root: &Path, mounts: &[Mount]) -> Result<(), Error> {
    for mount in mounts.iter().filter(|mount| !is_inits(mount, mounts)) {
        let made = Directory::open_root(root).and_then(|root| make(&root, mount));
        made.map_err(|source| Error::Mount {
            what: mount
                .source()
                .as_ref()
                .map_or_else(String::new, |path| path.display().to_string()),
            target: mount.destination().clone(),
            source,
        })?;
    }
    Ok(())
}

/// Whether a mount is for the container's first process to make: one that shows its own processes,
/// which nobody else sees, and what lies upon that.
pub(crate) fn is_inits(mount: &Mount, all: &[Mount]) -> bool {
    let mut shows = all
        .iter()
        .filter(|other| other.typ().as_deref() == Some("proc"));
    shows.any(|other| mount.destination().starts_with(other.destination()))
}

fn make(root: &Directory, mount: &Mount) -> io::Result<()> {
    let options = Options::parse(mount.options().as_deref().unwrap_or_default());
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let detached = if kind == "bind" {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if options.recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        open_tree(CWD, source, flags)?
    } else {
        new_file_system(kind, &options)?
    };
    sys::set_mount_attributes(detached.as_fd(), options.attributes)?;
    if options.all_read_only {
        sys::set_all_read_only(detached.as_fd())?;
    }
    let directory = kind != "bind" || tree::is_directory(&detached)?;
    let destination = match options.on_link {
        true => root.mount_point_itself(mount.destination(), directory)?,
        false => root.mount_point(mount.destination(), directory)?,
    };
    tree::attach(&detached, &destination)
}

fn new_file_system(kind: &str, options: &Options<'_>) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, *option)?,
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}

/// The options of a mount, sorted: those of every mount, and those that its file system reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    recursive: bool,
    /// Whether the mounts below are read-only, too.
    all_read_only: bool,
    /// Whether it is mounted on a link in its place.
    on_link: bool,
    attributes: MountAttributes,
    data: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(words: &'a [String]) -> Self {
        let mut options = Self::default();
        for word in words {
            match word.as_str() {
                "rbind" => options.recursive = true,
                "bind" | "rw" => {}
                "dest-nofollow" => options.on_link = true,
                "rro" => options.all_read_only = true,
                "ro" => options.attributes.read_only = true,
                "nosuid" => options.attributes.no_suid = true,
                "nodev" => options.attributes.no_dev = true,
                "noexec" => options.attributes.no_exec = true,
                data => options.data.push(data),
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_options() {
        let words = ["rbind", "nosuid", "ro", "mode=755", "newinstance"].map(str::to_owned);
        let options = Options::parse(&words);
        assert!(options.recursive && options.attributes.no_suid && options.attributes.read_only);
        assert!(!options.attributes.no_dev);
        assert_eq!(options.data, ["mode=755", "newinstance"]);
    }
}
