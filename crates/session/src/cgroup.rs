//! A cgroup2 where the engine looks for one, in which it can do no harm.
//!
//! The engine always drives a cgroup manager, which may enable controllers in the hierarchy's root
//! and, when a container fails, kills all that is in the container's cgroup. The payload stays in
//! the caller's cgroup, which a job's limits and accounting hold; the engine is shown a leaf of its
//! own as root, else a place where it may write nothing, which it then accepts.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::AtFlags;

use crate::error::mount_error;
use crate::{Error, Layout};

const CGROUP: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2: i64 = 0x6367_7270;

/// The engine's place; removed when dropped, and must be empty then.
#[derive(Debug)]
pub(crate) struct Stand {
    /// The cgroup that holds the leaf, and the leaf's name; `None` where none could be made.
    leaf: Option<(OwnedFd, String)>,
    container: PathBuf,
}

/// Puts the engine's place over the host's cgroups.
pub(crate) fn cover(layout: &Layout, privileged: bool) -> Result<Stand, Error> {
    let target = Path::new(CGROUP);
    let container = target.join(
        layout
            .cgroup()
            .strip_prefix("/")
            .unwrap_or(Path::new("container")),
    );
    let Some(own) = own_cgroup() else {
        mount_cgroup2(target)?;
        return Ok(Stand {
            leaf: None,
            container,
        });
    };
    if !privileged {
        bind(&own, target, MsFlags::empty())?;
        // Even where the user could write: a process that moves between cgroups waits for the
        // kernel's RCU, 10 ms and more on an idle machine.
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | locked();
        mount(None::<&str>, target, None::<&str>, read_only, None::<&str>)
            .map_err(mount_error("a read-only cgroup2", target))?;
        return Ok(Stand {
            leaf: None,
            container,
        });
    }
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.subsec_nanos());
    let name = format!("front.{}.{now}", std::process::id());
    let leaf = own.join(&name);
    let made = |source| Error::Write {
        path: leaf.clone(),
        source,
    };
    let parent = File::open(&own).map_err(made)?;
    fs::create_dir(&leaf).map_err(made)?;
    let stand = Stand {
        leaf: Some((parent.into(), name)),
        container,
    };
    bind(&leaf, target, MsFlags::empty())?;
    Ok(stand)
}

/// Flags that the host may have set and that a user namespace must keep in a remount.
fn locked() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

fn bind(source: impl AsRef<Path>, target: &Path, more: MsFlags) -> Result<(), Error> {
    let source = source.as_ref();
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | more,
        None::<&str>,
    )
    .map_err(mount_error(&source.to_string_lossy(), target))
}

/// Returns our own cgroup as the host's cgroup2 shows it, of a unified or a hybrid layout. Binding
/// that is much cheaper than mounting another cgroup2, which waits for the kernel's RCU.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_cgroup2 =
        |path: &Path| rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2);
    [
        Path::new(CGROUP).to_owned(),
        Path::new(CGROUP).join("unified"),
    ]
    .into_iter()
    .find(|mounted| is_cgroup2(mounted))
    .map(|mounted| mounted.join(path))
    .filter(|own| own.is_dir())
}

/// On a host without cgroup2: one whose root is our own cgroup.
fn mount_cgroup2(target: &Path) -> Result<(), Error> {
    if !target.is_dir() {
        // A host without sysfs, as in a bare root.
        mount(
            Some("tmpfs"),
            "/sys",
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .map_err(mount_error("tmpfs", Path::new("/sys")))?;
        fs::create_dir_all(target).map_err(|source| Error::Write {
            path: target.to_owned(),
            source,
        })?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|errno| Error::MountNamespace(errno.into()))?;
    mount(
        Some("cgroup2"),
        target,
        Some("cgroup2"),
        locked(),
        None::<&str>,
    )
    .map_err(mount_error("cgroup2", target))
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.container);
        if let Some((parent, name)) = &self.leaf {
            let _ = rustix::fs::unlinkat(parent, name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}
