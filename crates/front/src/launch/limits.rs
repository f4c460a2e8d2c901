//! Limits of a container: a cgroup of version 2 beside the caller's own, in which this process and all
//! that it starts run.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{Access, access};

use crate::flags::Limit;

/// The directory of the hierarchy of version 2.
const MOUNTED: &str = "/sys/fs/cgroup";

/// Interval at which the end of the container is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Moves the calling process into a new cgroup with these limits. The cgroup is removed when it is
/// empty.
///
/// # Errors
///
/// Fails when the host has no such hierarchy, the system has delegated no cgroup with the controllers
/// to the caller, or the kernel refuses a value.
pub(super) fn apply(limits: &[Limit]) -> Result<()> {
    let Some(first) = limits.first() else {
        return Ok(());
    };
    let flag = first.flag;
    let lacking = || {
        format!(
            "{flag}: limits need a cgroup of version 2 that is delegated to you with its controllers; in a \
             batch job, ask the batch system for the limit"
        )
    };
    let above = parent(limits).with_context(lacking)?;
    let own = make(&above).map_err(plain).with_context(lacking)?;
    // It ends this process's claim on the cgroup, whatever happens.
    let _claim = remove_at_the_end(&own)?;
    fill(&own, limits)
}

/// Makes a cgroup. The name of an earlier one, or of one in another pid namespace, may be the same.
fn make(above: &Path) -> io::Result<PathBuf> {
    let name = format!("front-{}", std::process::id());
    let names = [name.clone()]
        .into_iter()
        .chain((1..100).map(|number| format!("{name}-{number}")));
    for name in names {
        let path = above.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn plain(error: io::Error) -> io::Error {
    io::Error::other(text::message(&error))
}

fn fill(own: &Path, limits: &[Limit]) -> Result<()> {
    for limit in limits {
        let written = fs::write(own.join(limit.file), &limit.value);
        written
            .map_err(plain)
            .with_context(|| format!("{}: {} to {}", limit.flag, limit.value, limit.file))?;
    }
    fs::write(own.join("cgroup.procs"), "0")
        .map_err(plain)
        .with_context(|| format!("enter {}", own.display()))
}

/// Returns the nearest cgroup above the caller's in which the caller may make others with these
/// controllers.
fn parent(limits: &[Limit]) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new(MOUNTED);
    if !root.join("cgroup.controllers").exists() {
        return None;
    }
    let own = root.join(path.trim_start_matches('/'));
    let mut above = own
        .ancestors()
        .skip(1)
        .take_while(|above| above.starts_with(root));
    above
        .find(|above| is_usable(above, limits))
        .map(Path::to_owned)
}

fn is_usable(above: &Path, limits: &[Limit]) -> bool {
    let may_write = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    let enabled = fs::read_to_string(above.join("cgroup.subtree_control")).unwrap_or_default();
    let has = |limit: &Limit| {
        enabled
            .split_whitespace()
            .any(|one| one == limit.controller)
    };
    may_write(above) && may_write(&above.join("cgroup.procs")) && limits.iter().all(has)
}

/// Starts a process that removes the cgroup once the claim is dropped and no process is in it. It stays
/// in the caller's own cgroup.
fn remove_at_the_end(own: &Path) -> Result<PipeWriter> {
    let (wait, claim) = io::pipe().context("make a pipe")?;
    let children = sys::heed_children();
    let child = match sys::fork()? {
        sys::Fork::Child => {
            children.restore();
            if let Ok(sys::Fork::Child) = sys::fork() {
                watch(own, wait);
            }
            sys::exit_at_once(0)
        }
        sys::Fork::Parent(child) => child,
    };
    let ended = nix::sys::wait::waitpid(child, None);
    children.restore();
    ended.context("start the process that removes the container's cgroup")?;
    Ok(claim)
}

fn watch(own: &Path, mut wait: PipeReader) {
    let _ = nix::unistd::setsid();
    let _ = nix::sys::prctl::set_name(c"front: limits");
    sys::close_all_except(&[wait.as_raw_fd()]);
    let mut nothing = [0];
    let _ = wait.read(&mut nothing);
    loop {
        let events = fs::read_to_string(own.join("cgroup.events")).unwrap_or_default();
        let is_empty = !events.lines().any(|line| line == "populated 1");
        if is_empty && (remove(own).is_ok() || !own.exists()) {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Removes a cgroup, and those that the container has made below it.
fn remove(own: &Path) -> io::Result<()> {
    for entry in fs::read_dir(own)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(own)
}
