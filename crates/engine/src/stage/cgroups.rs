//! The host's old hierarchies of cgroups, as a container sees them: its own part of each, read-only
//! if the document says so. libcontainer always mounts them writable, and mounts systemd's from its
//! root, where `release_agent` is (CVE-2022-0492).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkdirat, symlinkat};
use rustix::mount::{MoveMountFlags, move_mount};
use sys::MountAttributes;

use crate::cgroup::{Hierarchy, old_hierarchies};

/// A directory of mount points, and the mounts to attach there once the directory itself is
/// attached.
pub(super) struct Hierarchies {
    directory: OwnedFd,
    parts: Vec<(String, OwnedFd)>,
    is_read_only: bool,
}

impl Hierarchies {
    /// Prepares the mounts of the cgroup at `path`, which is made if missing.
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

    /// Attaches the mounts. `place` is the path at which the directory was attached.
    pub(super) fn attach(&self, place: &Path) -> io::Result<()> {
        for (name, part) in &self.parts {
            let to: PathBuf = place.join(name);
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(part, "", CWD, &to, flags)?;
        }
        sys::set_mount_attributes(self.directory.as_fd(), attributes(self.is_read_only))
    }
}

/// Where a hybrid host mounts the unified hierarchy.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Whether the unified hierarchy is mounted beside the old ones.
pub(super) fn has_unified() -> bool {
    Path::new(UNIFIED).join("cgroup.procs").exists()
}

/// Returns a mount of the cgroup at `path` in the unified hierarchy beside the old ones. The
/// cgroup is made if missing.
pub(super) fn unified(path: &str) -> io::Result<OwnedFd> {
    let own = Path::new(UNIFIED).join(path.trim_start_matches('/'));
    fs::create_dir_all(&own)?;
    part(&own, false)
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
    let tree = sys::bind(own, false)?;
    sys::set_mount_attributes(tree.as_fd(), attributes(is_read_only))?;
    Ok(tree)
}

fn empty_directory() -> io::Result<OwnedFd> {
    sys::new_file_system("tmpfs", ["mode=755"])
}
