//! A container's cgroup in the unified hierarchy, made and managed by us.
//!
//! libcontainer moves the container's process into its cgroup by a write that waits for the
//! kernel's RCU, 8 ms and more on an idle machine. A process that is born in the cgroup does not
//! wait. When libcontainer fails, it also kills everything in the cgroup that it was given. So a
//! process of ours is born in the cgroup and calls libcontainer with a decoy: a directory with the
//! two files to which libcontainer writes, one to move a process in, and one to kill the processes.
//! The files are pipes. We hold both ends, so that libcontainer never waits, and we notice its
//! writes.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::OFlags;
use serde_json::Value;

use super::mask::is_cgroup2;
use super::{MOUNTED, deadline, tree};
use crate::Document;

/// The files of the decoy.
const DECOYS: [&str; 2] = ["cgroup.procs", "cgroup.kill"];
/// Options of propagation, which a bind without mounts below it does not need.
const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];
/// The way from the hierarchies' mount point back to the root.
const UP: &str = "/../../..";

/// The cgroup and its decoy.
#[derive(Debug)]
pub(crate) struct ManagedCgroup {
    directory: PathBuf,
    decoy: PathBuf,
}

/// The open files of the cgroup and of its decoy. The process that is born in the cgroup closes
/// them: its children must not lead to the host's cgroups.
#[derive(Debug)]
pub(crate) struct OpenCgroup {
    directory: File,
    pipes: Vec<OwnedFd>,
}

impl OpenCgroup {
    /// Returns the cgroup's directory, for a process to be born in.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Returns the pipes of the decoy. One of them is readable once libcontainer has used the
    /// decoy.
    pub(crate) fn pipes(&self) -> &[OwnedFd] {
        &self.pipes
    }
}

impl ManagedCgroup {
    /// Makes the cgroup. Returns `None` without a unified hierarchy, or with one that we may not
    /// write to. `decoy` is a directory that is made here.
    pub(crate) fn make(path: &str, decoy: PathBuf) -> Option<(Self, OpenCgroup)> {
        let mounted = Path::new(MOUNTED);
        // libcontainer takes the path as text.
        if !is_cgroup2(mounted) || decoy.to_str().is_none() {
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
        let own = Self { directory, decoy };
        match own.open() {
            Ok(open) => Some((own, open)),
            Err(_) => {
                own.remove();
                None
            }
        }
    }

    /// Opens the cgroup, and makes the decoy.
    fn open(&self) -> io::Result<OpenCgroup> {
        let directory = File::open(&self.directory)?;
        fs::create_dir_all(&self.decoy)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = |name: &&str| -> io::Result<OwnedFd> {
            let path = self.decoy.join(name);
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            Ok(rustix::fs::open(&path, flags, rustix::fs::Mode::empty())?)
        };
        let pipes = DECOYS.iter().map(pipe).collect::<io::Result<_>>()?;
        Ok(OpenCgroup { directory, pipes })
    }

    /// Returns the path for libcontainer, which appends it to the hierarchies' mount point.
    pub(crate) fn decoy(&self) -> String {
        format!("{UP}{}", self.decoy.display())
    }

    /// Whether a path of libcontainer's leads to the decoy of a container that is not complete.
    pub(crate) fn is_decoy(path: &Path) -> bool {
        path.starts_with(UP)
    }

    /// Replaces the cgroup2 mounts of the document by binds of the same directory: a new mount
    /// waits for the kernel's RCU, too.
    pub(crate) fn bind_mounts(&self, document: &mut Document) {
        let source = if document.has_namespace("cgroup") {
            &self.directory
        } else {
            Path::new(MOUNTED)
        };
        for mount in document.mounts_mut() {
            if mount["type"] != "cgroup" && mount["type"] != "cgroup2" {
                continue;
            }
            let options = mount["options"].as_array().into_iter().flatten();
            // Nothing is ever mounted below it, so propagation is irrelevant.
            let mut options: Vec<Value> = options
                .filter(|option| !PROPAGATION.iter().any(|one| *option == one))
                .cloned()
                .collect();
            options.push("bind".into());
            mount["type"] = "bind".into();
            mount["source"] = source.display().to_string().into();
            mount["options"] = options.into();
        }
    }

    pub(crate) fn remove_decoy(&self) {
        let _ = fs::remove_dir_all(&self.decoy);
    }

    /// Kills all processes in the cgroup. This needs Linux 5.14; before, the processes that are
    /// left end with their parent.
    pub(crate) fn kill(&self) {
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }

    /// Removes the cgroup of a container that could not be made, with all processes in it.
    pub(crate) fn remove(&self) {
        self.kill();
        let _ = tree::remove(&self.directory, deadline());
        self.remove_decoy();
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
