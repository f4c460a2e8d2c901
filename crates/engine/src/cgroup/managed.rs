//! A container's cgroup in the unified hierarchy, made and managed by us.
//!
//! A write that moves a process into a cgroup waits for the kernel's RCU, 8 ms and more on an idle
//! machine. A process that is born in the cgroup does not wait.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::mask::is_cgroup2;
use super::{MOUNTED, deadline, tree};

/// The cgroup.
#[derive(Debug)]
pub(crate) struct ManagedCgroup {
    directory: PathBuf,
}

/// The open directory of the cgroup.
#[derive(Debug)]
pub(crate) struct OpenCgroup(File);

impl AsFd for OpenCgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ManagedCgroup {
    /// Makes the cgroup. Returns `None` without a unified hierarchy, or with one that we may not
    /// write to.
    pub(crate) fn make(path: &str) -> Option<(Self, OpenCgroup)> {
        let mounted = Path::new(MOUNTED);
        if !is_cgroup2(mounted) {
            return None;
        }
        let relative = Path::new(path.trim_start_matches('/'));
        let directory = mounted.join(relative);
        let mut current = mounted.to_owned();
        for part in relative {
            enable_controllers(&current);
            current.push(part);
            match fs::create_dir(&current) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
                _ => {}
            }
        }
        let own = Self { directory };
        match File::open(&own.directory) {
            Ok(open) => Some((own, OpenCgroup(open))),
            Err(_) => {
                own.remove();
                None
            }
        }
    }

    /// Kills all processes in the cgroup. This needs Linux 5.14; before, the processes that are
    /// left end with their parent.
    pub(crate) fn kill(&self) {
        if self.has_others_below() {
            let own = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
            for process in own.lines().filter_map(|line| line.parse().ok()) {
                let _ = sys::kill(Pid::from_raw(process), nix::libc::SIGKILL);
            }
            return;
        }
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }

    /// Removes the cgroup of a container that could not be made, with all processes in it. One that
    /// somebody has made below it meanwhile stays.
    pub(crate) fn remove(&self) {
        self.kill();
        if !self.has_others_below() {
            let _ = tree::remove(&self.directory, deadline());
        }
    }

    /// Whether somebody has made a cgroup below: the container that is being made has none.
    fn has_others_below(&self) -> bool {
        let mut entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        entries.any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    }
}

/// Enables all controllers of a directory for the cgroups below it.
fn enable_controllers(directory: &Path) {
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let enabled = read("cgroup.subtree_control");
    let missing: Vec<String> = read("cgroup.controllers")
        .split_whitespace()
        .filter(|name| !enabled.split_whitespace().any(|one| one == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return;
    }
    let control = directory.join("cgroup.subtree_control");
    if fs::write(&control, missing.join(" ")).is_err() {
        // One unavailable controller must not block the others. A limit that needs it fails later.
        for one in missing {
            let _ = fs::write(&control, one);
        }
    }
}
