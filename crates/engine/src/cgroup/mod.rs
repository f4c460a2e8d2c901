//! The container's cgroup: inspecting it, and ending it.

mod devices;
mod freezer;
mod joined;
mod managed;
mod mask;
mod membership;
mod placement;
mod seen;
mod stats;
mod tree;
mod update;

pub(crate) use freezer::{is_frozen, refuse_frozen};
pub(crate) use joined::{JoinedCgroups, memory_directory};
pub(crate) use managed::{ManagedCgroup, OpenCgroup};
pub(crate) use mask::has_old_hierarchies;
pub use mask::{is_unified, mask_cgroups, own_cgroup};
pub(crate) use seen::seen;
pub(crate) use update::{merge, touched};

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libcgroups::common::{AnyCgroupManager, CgroupConfig, CgroupManager, create_cgroup_manager};
use libcontainer::oci_spec::runtime::LinuxDeviceCgroup;
use nix::unistd::Pid;
use serde_json::Value;

use crate::Error;

/// The directory in which the hierarchies are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";

/// Longest time to look for the processes of a container, to end them, or to remove its cgroup, in
/// all hierarchies together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks at processes or cgroups that are about to go.
pub(crate) const INTERVAL: Duration = Duration::from_millis(5);

/// Longest time that killed processes may take to leave their cgroup: it is one of the last steps of
/// their exit.
const EXIT: Duration = Duration::from_millis(500);

pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Refuses a cgroup that has processes, itself or in a cgroup below: a container that ends or
/// fails kills everything there.
pub(crate) fn refuse_occupied(path: &str) -> Result<(), Error> {
    for directory in directories(path) {
        let is_occupied = tree::is_occupied(&directory, deadline());
        if is_occupied.map_err(Error::state("read", &directory))? {
            return Err(Error::Refused(format!(
                "container's cgroup is not empty: cgroupsPath: {} has processes already",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Attaches our device program to the cgroup of a container, in the unified hierarchy only: the old
/// ones have lists of devices instead.
pub(crate) fn filter_devices(init: Pid, rules: &Value) -> Result<(), Error> {
    match joined::unified_alone(init) {
        Some(directory) => put_filter(&directory, rules),
        None => Ok(()),
    }
}

/// Attaches the program as [`filter_devices`] does, but to a cgroup that is made here and has no
/// processes yet. Early hooks that add devices to the container then find the program, and can
/// widen it. Returns whether the program is attached.
pub(crate) fn filter_devices_first(path: &str, rules: &Value) -> Result<bool, Error> {
    if !is_unified() {
        return Ok(false);
    }
    let directory = Path::new(MOUNTED).join(path.trim_start_matches('/'));
    // If the cgroup cannot be made, libcontainer reports it or does without.
    if fs::create_dir_all(&directory).is_err() {
        return Ok(false);
    }
    put_filter(&directory, rules).map(|()| true)
}

fn put_filter(directory: &Path, rules: &Value) -> Result<(), Error> {
    let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules.clone())
        .map_err(|error| Error::Refused(format!("linux.resources.devices: {error}")))?;
    if rules.is_empty() {
        return Ok(());
    }
    let cgroup = fs::File::open(directory).map_err(Error::state("open", directory))?;
    match device_filter::attach(cgroup.as_fd(), &devices::rules(&rules)) {
        // Nobody may attach a program in a user namespace. It is not needed there: the kernel opens
        // no device node that was made in one.
        Err(error)
            if error.raw_os_error() == Some(nix::libc::EPERM) && crate::in_user_namespace() =>
        {
            Ok(())
        }
        result => result.map_err(|source| Error::system("limit the container's devices", source)),
    }
}

/// Returns the directories of a cgroup in all hierarchies, of the unified and of the old layouts, as
/// far as this process may change them. Another user's cgroup may have the same path.
fn directories(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let mounted = Path::new(MOUNTED);
    if mask::is_cgroup2(mounted) {
        let directory = mounted.join(relative);
        return Vec::from_iter(mask::may_write(&directory).then_some(directory));
    }
    let directories = hierarchies().into_iter().map(|name| mounted.join(name));
    directories
        .map(|hierarchy| hierarchy.join(relative))
        .filter(|directory| mask::may_write(directory))
        .collect()
}

/// Returns the names under which the old hierarchies are mounted; none if there is only the unified
/// one.
fn hierarchies() -> Vec<OsString> {
    if is_unified() {
        return Vec::new();
    }
    let entries = fs::read_dir(MOUNTED).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// An entry in the directory of the old hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// The mount point of a hierarchy.
    Mounted(PathBuf),
    /// A link, with its target: another name of a hierarchy with several controllers.
    Link(PathBuf),
}

/// Returns the host's old hierarchies by the names of their directories. In a hybrid layout, the
/// unified one beside them is included.
pub(crate) fn old_hierarchies() -> Vec<(String, Hierarchy)> {
    let found = hierarchies().into_iter().filter_map(|name| {
        let place = Path::new(MOUNTED).join(&name);
        let hierarchy = match fs::read_link(&place) {
            Ok(target) => Hierarchy::Link(target),
            Err(_) => Hierarchy::Mounted(place.clone()),
        };
        let name = name.into_string().ok()?;
        place
            .join("cgroup.procs")
            .exists()
            .then_some((name, hierarchy))
    });
    found.collect()
}

/// Returns the mounts of a container that sees the host's old hierarchies: each destination, and
/// its source, the container's own cgroup in that hierarchy.
pub(crate) fn shown(destination: &str, cgroup: &str) -> Vec<(String, String)> {
    let shown = old_hierarchies()
        .into_iter()
        .filter_map(|(name, hierarchy)| {
            let Hierarchy::Mounted(place) = hierarchy else {
                return None;
            };
            let source = place.join(cgroup.trim_start_matches('/'));
            Some((
                format!("{destination}/{name}"),
                source.display().to_string(),
            ))
        });
    shown.collect()
}

/// The cgroup of a container.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    /// The path below the hierarchies' mount points, or systemd's `slice:prefix:name`.
    pub(crate) path: PathBuf,
    /// The manager of the cgroup.
    pub(crate) driver: Driver,
    /// The container's id.
    pub(crate) id: String,
}

/// The manager of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// This program, through the file system.
    FileSystem,
    /// systemd, over D-Bus.
    Systemd,
}

impl Cgroup {
    /// Returns the cgroup of a path in the file system.
    pub(crate) fn of_path(path: &str, id: &str) -> Self {
        Self {
            path: path.into(),
            driver: Driver::FileSystem,
            id: id.to_owned(),
        }
    }

    fn is_systemds(&self) -> bool {
        self.driver == Driver::Systemd
    }

    /// Returns the cgroup's directories that this process may change.
    fn directories(&self) -> Vec<PathBuf> {
        directories(&self.path.to_string_lossy())
    }

    /// Returns libcgroups' view of the cgroup.
    fn manager(&self) -> Result<AnyCgroupManager, Error> {
        create_cgroup_manager(CgroupConfig {
            cgroup_path: self.path.clone(),
            systemd_cgroup: self.is_systemds(),
            container_name: self.id.clone(),
        })
        .map_err(|error| Error::library("open the container's cgroup", &error))
    }
}

/// The processes of a container without a cgroup of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Without {
    /// Those in the PID namespace of its first process, which was made for it.
    Namespace(Pid),
    /// The first process. Others in its PID namespace may be another container's.
    First(Pid),
    /// None: the first process has ended.
    None,
}

impl Cgroup {
    /// Returns every process in the cgroup and below; for a container without a cgroup, as `without`
    /// says.
    pub(crate) fn processes(&self, without: Without) -> Result<Vec<Pid>, Error> {
        if self.is_systemds() {
            return self
                .manager()?
                .get_all_pids()
                .map_err(|error| Error::library("list the container's processes", &error));
        }
        let directories = self.directories();
        if directories.is_empty() {
            return Ok(match without {
                Without::Namespace(init) => in_namespace_of(init),
                Without::First(init) => vec![init],
                Without::None => Vec::new(),
            });
        }
        let mut found = BTreeSet::new();
        let mut failed = Ok(());
        let deadline = deadline();
        for directory in directories {
            let looked = tree::processes(&directory, deadline, &mut |process| {
                found.insert(process);
            });
            failed = failed.and(looked.map_err(Error::state("read", &directory)));
        }
        // A partial list is useful: the processes in it can be ended before the next look.
        if found.is_empty() {
            failed?;
        }
        Ok(found.into_iter().map(Pid::from_raw).collect())
    }

    /// Kills every process in the cgroup and below, until none is left. Each pass freezes the whole
    /// first, so that a process that forks all the time does not escape, and thaws everything last,
    /// also the cgroups that the container has frozen itself: not even SIGKILL ends a frozen process of
    /// an old hierarchy.
    ///
    /// Does nothing for a container without a cgroup of its own.
    pub(crate) fn kill_everything(&self) -> Result<(), Error> {
        if self.is_systemds() {
            for pid in self.processes(Without::None)? {
                let _ = sys::kill(pid, nix::libc::SIGKILL);
            }
            return Ok(());
        }
        let directories = self.directories();
        let deadline = deadline();
        while Instant::now() < deadline {
            if !any_process(&directories, deadline) {
                return Ok(());
            }
            for directory in &directories {
                freezer::hold(directory, true);
            }
            for directory in &directories {
                // Linux 5.14: the kernel kills all at once.
                write_switch(directory, "cgroup.kill", "1");
                let _ = tree::processes(directory, deadline, &mut |process| {
                    let _ = sys::kill(Pid::from_raw(process), nix::libc::SIGKILL);
                });
            }
            thaw_below(&directories, deadline);
            std::thread::sleep(INTERVAL);
        }
        Err(Error::system(
            "kill the container's processes",
            std::io::ErrorKind::TimedOut,
        ))
    }

    /// Thaws the container's cgroup and every cgroup below it, as far as possible.
    pub(crate) fn thaw(&self) {
        thaw_below(&self.directories(), deadline());
    }

    /// Removes the cgroup if it has neither processes nor cgroups, without waiting for anything.
    /// Returns whether nothing of it is left.
    pub(crate) fn remove_empty(&self) -> bool {
        let is_removed = |directory: &PathBuf| {
            let removed = rustix::fs::rmdir(directory);
            matches!(removed, Ok(()) | Err(rustix::io::Errno::NOENT))
        };
        !self.is_systemds() && self.directories().iter().all(is_removed)
    }

    /// Removes the cgroup and the cgroups that the container made in it. All processes of the container
    /// must have ended.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        if self.is_systemds() {
            return self
                .manager()?
                .remove()
                .map_err(|error| Error::library("remove the container's cgroup", &error));
        }
        let mut failed = Ok(());
        let (deadline, last_look) = (deadline(), Instant::now() + EXIT);
        let is_occupied = |directory: &Path| loop {
            let is_occupied = tree::is_occupied(directory, deadline).unwrap_or(true);
            if !is_occupied || Instant::now() > last_look {
                break is_occupied;
            }
            std::thread::sleep(INTERVAL);
        };
        for directory in self.directories() {
            // The kernel removes no cgroup that has processes or other cgroups.
            if rustix::fs::rmdir(&directory).is_ok() {
                continue;
            }
            // Another container may have been made in it meanwhile.
            if is_occupied(&directory) {
                tracing::warn!("{} has processes, and stays", directory.display());
                continue;
            }
            match tree::remove(&directory, deadline) {
                // Another user's cgroup of the same name: where we may not remove anything, nothing is
                // ours.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
                // The cgroups of the other hierarchies are removed all the same.
                removed => {
                    failed = failed.and(removed.map_err(Error::state("remove cgroup", &directory)));
                }
            }
        }
        failed
    }
}

/// Returns a process and, if it has a PID namespace of its own, all others in that namespace.
fn in_namespace_of(init: Pid) -> Vec<Pid> {
    let namespace = |pid: Pid| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(init);
    if theirs.is_none() || theirs == namespace(Pid::this()) {
        return vec![init];
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter(|pid| namespace(*pid) == theirs)
        .collect()
}

fn any_process(directories: &[PathBuf], deadline: Instant) -> bool {
    let mut is_any = false;
    for directory in directories {
        // A cgroup that cannot be read to its end may have more.
        let looked = tree::processes(directory, deadline, &mut |_| is_any = true);
        is_any |= looked.is_err();
    }
    is_any
}

fn thaw_below(directories: &[PathBuf], deadline: Instant) {
    for directory in directories {
        let _ = tree::walk(directory, deadline, &mut |cgroup| freezer::thaw(cgroup));
    }
}

/// Writes to a file of a cgroup, if the cgroup has it. Never asks the kernel to make a file.
fn write_switch(cgroup: &Path, name: &str, value: &str) {
    if let Ok(mut file) = fs::File::options().write(true).open(cgroup.join(name)) {
        let _ = file.write_all(value.as_bytes());
    }
}

/// Logs a failure after which the rest goes on.
pub(crate) fn log_failure(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!("{}", text::one_line(&error));
    }
}
