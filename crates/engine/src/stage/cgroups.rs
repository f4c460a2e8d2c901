//! The host's old hierarchies of cgroups, as a container sees them: its own part of each, and read-only where the
//! document says so. libcontainer mounts them for writing whatever is asked, and systemd's from its root, where
//! `release_agent` is (CVE-2022-0492).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkdirat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use sys::MountAttributes;

use crate::cgroup::{Hierarchy, old_hierarchies};

/// A directory of mount points, and what is to be mounted there once it is attached.
pub(super) struct Hierarchies {
    directory: OwnedFd,
    parts: Vec<(String, OwnedFd)>,
    is_read_only: bool,
}

impl Hierarchies {
    /// Makes them of the cgroup at `path`, which is made where it is missing.
    pub(super) fn make(path: &str, is_read_only: bool) -> io::Result<Self> {
        let directory = empty_directory()?;
        let mut parts = Vec::new();
        for (name, hierarchy) in old_hierarchies() {
            match hierarchy {
                Hierarchy::Link(target) => symlinkat(target, &directory, name.as_str())?,
                Hierarchy::Mounted(mounted) => {
                    mkdirat(&directory, name.as_str(), Mode::from_raw_mode(0o755))?;
                    let own = mounted.join(path.trim_start_matches('/'));
                    fs::create_dir_all(&own)?;
                    parts.push((name, part(&own, is_read_only)?));
                }
            }
        }
        Ok(Self {
            directory,
            parts,
            is_read_only,
        })
    }

    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Mounts the parts; `place` is where the directory was attached.
    pub(super) fn attach(&self, place: &Path) -> io::Result<()> {
        for (name, part) in &self.parts {
            let to: PathBuf = place.join(name);
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(part, "", CWD, &to, flags)?;
        }
        sys::set_mount_attributes(self.directory.as_fd(), attributes(self.is_read_only))
    }
}

fn attributes(is_read_only: bool) -> MountAttributes {
    MountAttributes {
        read_only: is_read_only,
        no_suid: true,
        no_dev: true,
        no_exec: true,
    }
}

fn part(own: &Path, is_read_only: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, own, flags)?;
    sys::set_mount_attributes(tree.as_fd(), attributes(is_read_only))?;
    Ok(tree)
}

fn empty_directory() -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "755")?;
    fsconfig_create(&context)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(&context, flags, MountAttrFlags::empty())?)
}
