//! Showing libcontainer a cgroup2 in which it may write nothing, which it then accepts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};

use super::MOUNTED;
use crate::Error;

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: i64 = 0x6367_7270;

/// Covers the host's cgroups by our own one, read-only, in the mount namespace of the calling process;
/// what is started stays in the cgroup of its caller.
///
/// # Errors
///
/// Fails when the kernel refuses a mount.
pub fn cover_cgroups() -> Result<(), Error> {
    let target = Path::new(MOUNTED);
    let failed = |source: io::Error| Error::system("cover the host's cgroups", source);
    let Some(own) = own_cgroup() else {
        return mount_cgroup2(target).map_err(failed);
    };
    // Not a mount point, if it is not.
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
    // Even where the user could write: a process that moves between cgroups waits for the kernel's
    // RCU, 10 ms and more on an idle machine.
    let read_only = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | locked();
    mount(None::<&str>, target, None::<&str>, read_only, None::<&str>)
        .map_err(|errno| failed(errno.into()))
}

/// Flags that the host may have set and that a user namespace must keep in a remount.
fn locked() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

/// Returns our own cgroup as the host's cgroup2 shows it, of a unified or a hybrid layout. Binding
/// that is much cheaper than mounting another cgroup2, which waits for the kernel's RCU.
#[must_use]
pub fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounted = Path::new(MOUNTED);
    [mounted.to_owned(), mounted.join("unified")]
        .into_iter()
        .find(|mounted| is_cgroup2(mounted))
        .map(|mounted| mounted.join(path))
        .filter(|own| own.is_dir())
}

/// Whether the host has cgroups of version 2 alone.
pub(crate) fn is_unified() -> bool {
    is_cgroup2(Path::new(MOUNTED))
}

/// Whether the host has old hierarchies, be it beside the unified one.
pub(crate) fn has_old_hierarchies() -> bool {
    let mounted = Path::new(MOUNTED);
    !is_cgroup2(mounted) && mounted.is_dir()
}

pub(super) fn is_cgroup2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2)
}

/// Whether the host has the old hierarchies, and we may write to none of them: what libcontainer then
/// takes for a failure, though no limit was asked for.
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

/// Has a document bind what covers the host's cgroups: libcontainer would look for what is below.
pub(crate) fn bind_what_covers(document: &mut Value) {
    let mounts = document.get_mut("mounts").and_then(Value::as_array_mut);
    for mount in mounts.into_iter().flatten() {
        if mount["type"] == "cgroup" || mount["type"] == "cgroup2" {
            mount["type"] = "bind".into();
            mount["source"] = MOUNTED.into();
            mount["options"] = json!(["bind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
}

/// On a host without cgroup2: one whose root is our own cgroup.
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
