//! A cgroup2 at the usual place for the engine, in which it can do no harm.
//!
//! The engine always drives a cgroup manager. It may enable controllers in the hierarchy's root,
//! and when a container fails, it kills all processes in the container's cgroup. The payload stays
//! in the caller's cgroup, to which a job's limits and accounting apply. The engine is shown a leaf
//! of its own as the root, or else a directory where it may write nothing, which it accepts.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::mount::{MsFlags, mount};
use rustix::fs::AtFlags;

use crate::error::mount_error;
use crate::{Error, Layout};

const CGROUP: &str = "/sys/fs/cgroup";

/// The engine's cgroup. It is removed when dropped, and must be empty then.
#[derive(Debug)]
pub(crate) struct Stand {
    /// The cgroup that holds the leaf, and the leaf's name; `None` if no leaf could be made.
    leaf: Option<(OwnedFd, String)>,
    container: PathBuf,
}

/// Mounts the engine's cgroup over the host's cgroups.
pub(crate) fn mask(layout: &Layout, privileged: bool) -> Result<Stand, Error> {
    let target = Path::new(CGROUP);
    let container = target.join(
        layout
            .cgroup()
            .strip_prefix("/")
            .unwrap_or(Path::new("container")),
    );
    let Some(own) = engine::own_cgroup().filter(|_| privileged) else {
        engine::mask_cgroups().map_err(|error| Error::Engine(text::one_line(&error)))?;
        return Ok(Stand {
            leaf: None,
            container,
        });
    };
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
    let flags = MsFlags::MS_BIND;
    mount(Some(&leaf), target, None::<&str>, flags, None::<&str>)
        .map_err(mount_error(&leaf.to_string_lossy(), target))?;
    Ok(stand)
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.container);
        if let Some((parent, name)) = &self.leaf {
            let _ = rustix::fs::unlinkat(parent, name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}
