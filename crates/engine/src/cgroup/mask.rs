//! The layout of the host's cgroups, and covering them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, access};

use super::MOUNTED;
use super::membership::{Membership, own_memberships};
use crate::Error;

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: i64 = 0x6367_7270;

/// Mounts our own cgroup over the host's cgroups, read-only, in the mount namespace of the calling
/// process. Processes that are started then stay in the cgroup of their caller.
///
/// # Errors
///
/// Fails when the kernel refuses a mount.
pub fn mask_cgroups() -> Result<(), Error> {
    let target = Path::new(MOUNTED);
    let failed = |source: io::Error| Error::system("cover the host's cgroups", source);
    let Some(own) = own_cgroup() else {
        return mount_cgroup2(target).map_err(failed);
    };
    // An error is ignored: the target need not be a mount point.
    let _ = mount(
        None::<&str>,
        target,
        None::<&str>,
        MsFlags::MS_PRIVATE,
        None::<&str>,
    );
    let bind = MsFlags::MS_BIND;
    mount(Some(&own), target, None::<&str>, bind, None::<&str>)
        .map_err(|errno| failed(errno.into()))?;
    // Read-only even where the user may write: a process that moves between cgroups waits for the
    // kernel's RCU, 10 ms and more on an idle machine.
    let read_only = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | locked();
    mount(None::<&str>, target, None::<&str>, read_only, None::<&str>)
        .map_err(|errno| failed(errno.into()))
}

/// Flags that the host may have set and that a user namespace must keep in a remount.
fn locked() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

/// Returns our own cgroup as the host's cgroup2 shows it, in a unified or a hybrid layout. A bind
/// of this directory is much cheaper than another mount of cgroup2, which waits for the kernel's
/// RCU.
#[must_use]
pub fn own_cgroup() -> Option<PathBuf> {
    let own = own_memberships();
    // One outside of this process's cgroup namespace cannot be shown.
    let is_shown = |one: &&Membership| one.controllers.is_empty() && !one.is_outside();
    let path = own.iter().find(is_shown)?.path.trim_start_matches('/');
    let mounted = Path::new(MOUNTED);
    [mounted.to_owned(), mounted.join("unified")]
        .into_iter()
        .find(|mounted| is_cgroup2(mounted))
        .map(|mounted| mounted.join(path))
        .filter(|own| own.is_dir())
}

/// Whether the host has cgroups of version 2 only.
#[must_use]
pub fn is_unified() -> bool {
    is_cgroup2(Path::new(MOUNTED))
}

/// Whether the host has old hierarchies, with or without the unified one beside them.
pub(crate) fn has_old_hierarchies() -> bool {
    let mounted = Path::new(MOUNTED);
    !is_cgroup2(mounted) && mounted.is_dir()
}

/// Whether this process may move processes into a cgroup, as the file's permissions say.
pub(super) fn may_write(cgroup: &Path) -> bool {
    access(&cgroup.join("cgroup.procs"), AccessFlags::W_OK).is_ok()
}

pub(super) fn is_cgroup2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2)
}

/// Whether the host has the old hierarchies, and we may write to none of them.
pub(crate) fn is_old_and_closed() -> bool {
    let mounted = Path::new(MOUNTED);
    if is_cgroup2(mounted) {
        return false;
    }
    let hierarchies = fs::read_dir(mounted).into_iter().flatten().flatten();
    !hierarchies
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .any(|path| access(&path, AccessFlags::W_OK).is_ok())
}

/// Mounts a new cgroup2 whose root is our own cgroup, on a host without a mounted cgroup2.
fn mount_cgroup2(target: &Path) -> io::Result<()> {
    if !target.is_dir() {
        // A host without sysfs, as in a bare root.
        mount(
            Some("tmpfs"),
            "/sys",
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )?;
        fs::create_dir_all(target)?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    let kind = Some("cgroup2");
    Ok(mount(kind, target, kind, locked(), None::<&str>)?)
}
