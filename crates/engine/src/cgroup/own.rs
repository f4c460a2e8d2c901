//! A container's cgroup in the unified hierarchy, made and managed by us.
//!
//! libcontainer moves the container's process into its cgroup by a write that waits for the kernel's
//! RCU, 8 ms and more on an idle machine; a process that is born there waits for nothing. And when
//! it fails it kills all that is in the cgroup that it was told of. So a process of ours is born in
//! the cgroup and calls libcontainer, which is shown a decoy: a directory with the two files that it writes to,
//! to move a process there and to end those that are there. They are pipes of which we hold both ends, so that it never
//! waits, and we are told.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::OFlags;
use serde_json::Value;

use super::cover::is_cgroup2;
use super::{MOUNTED, tree};

/// The files of the decoy.
const DECOYS: [&str; 2] = ["cgroup.procs", "cgroup.kill"];
/// Options that a bind of what has no mounts below it need not have.
const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];
/// From where the hierarchies are mounted back to the root.
const UP: &str = "/../../..";

/// The cgroup, and the decoy.
#[derive(Debug)]
pub(crate) struct Own {
    directory: PathBuf,
    handle: File,
    decoy: PathBuf,
    /// The files of the decoy, open.
    pipes: Vec<OwnedFd>,
}

impl Own {
    /// Makes the cgroup; `None` where there is no unified hierarchy, or none that we may write to.
    /// `decoy` is a directory to be made.
    pub(crate) fn make(path: &str, decoy: PathBuf) -> Option<Self> {
        let mounted = Path::new(MOUNTED);
        // A path that is no text could not be told.
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
        let mut own = Self {
            handle: File::open(&directory).ok()?,
            directory,
            decoy,
            pipes: Vec::new(),
        };
        if own.make_decoy().is_ok() {
            return Some(own);
        }
        own.remove();
        None
    }

    fn make_decoy(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.decoy)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        for name in DECOYS {
            let path = self.decoy.join(name);
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            self.pipes
                .push(rustix::fs::open(&path, flags, rustix::fs::Mode::empty())?);
        }
        Ok(())
    }

    /// The cgroup's directory, to be born in.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The path to tell libcontainer, which joins it to where the hierarchies are mounted.
    pub(crate) fn decoy(&self) -> String {
        format!("{UP}{}", self.decoy.display())
    }

    /// Has the document bind what a new cgroup2 would show: making one waits for the kernel's RCU, too.
    pub(crate) fn bind_mounts(&self, document: &mut Value) {
        let namespaces = document.pointer("/linux/namespaces");
        let namespaces = namespaces.and_then(Value::as_array);
        let is_hidden =
            namespaces.is_some_and(|list| list.iter().any(|one| one["type"] == "cgroup"));
        let source = if is_hidden {
            &self.directory
        } else {
            Path::new(MOUNTED)
        };
        for mount in document["mounts"].as_array_mut().into_iter().flatten() {
            if mount["type"] != "cgroup" && mount["type"] != "cgroup2" {
                continue;
            }
            let options = mount["options"].as_array().into_iter().flatten();
            // Nothing is ever mounted below it.
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

    /// Of what one is ready to be read once libcontainer has taken the decoy.
    pub(crate) fn pipes(&self) -> &[OwnedFd] {
        &self.pipes
    }

    pub(crate) fn remove_decoy(&self) {
        let _ = fs::remove_dir_all(&self.decoy);
    }

    /// Kills all that is in the cgroup. Linux 5.14; before, what is left ends with its parent.
    pub(crate) fn kill(&self) {
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }

    /// Removes the cgroup of a container that could not be made, with all that is in it.
    pub(crate) fn remove(&self) {
        self.kill();
        let _ = tree::remove(&self.directory);
        self.remove_decoy();
    }
}

/// Lets the cgroups below a directory have all the controllers that it has itself.
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
        // One that cannot be had must not take the others along. A limit that needs it fails later.
        for one in missing {
            let _ = fs::write(&control, one);
        }
    }
}
