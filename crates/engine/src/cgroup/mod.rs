//! The container's cgroup: looking into it, and ending it.

mod cover;
mod devices;
mod freezer;
mod outside;
mod own;
mod place;
pub(crate) mod spawn;
mod stats;
mod tree;
mod unified;
mod update;

pub(crate) use cover::{bind_what_covers, has_old_hierarchies, is_old_and_closed, is_unified};
pub use cover::{cover_cgroups, own_cgroup};
pub(crate) use freezer::{freeze, is_frozen, refuse_frozen};
pub(crate) use outside::join_what_libcontainer_does_not;
pub use outside::{HOOK_OUTSIDE, hook_outside};
pub(crate) use own::Own;
pub(crate) use place::{Place, memory_directory};
pub(crate) use stats::stats;
pub(crate) use update::{apply, merge, touched};

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcgroups::common::{AnyCgroupManager, CgroupConfig, CgroupManager, create_cgroup_manager};
use libcontainer::oci_spec::runtime::LinuxDeviceCgroup;
use nix::unistd::Pid;
use serde_json::Value;

use crate::Error;

/// Where the hierarchies are mounted.
const MOUNTED: &str = "/sys/fs/cgroup";

/// How often a cgroup is tried to be removed while its last process goes, and how long between.
const ATTEMPTS: u32 = 2000;
const INTERVAL: Duration = Duration::from_millis(5);

/// Refuses a cgroup that has processes: a container that fails takes all of its cgroup with it.
pub(crate) fn refuse_occupied(path: &str) -> Result<(), Error> {
    for directory in directories(path) {
        let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        if !processes.trim().is_empty() {
            return Err(Error::Refused(format!(
                "cgroupsPath: {} has processes already",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Has the kernel ask our program which devices a container's processes may use, where it does not
/// know lists of them: in the unified hierarchy.
pub(crate) fn filter_devices(init: Pid, rules: &Value) -> Result<(), Error> {
    match place::unified_alone(init) {
        Some(directory) => put_filter(&directory, rules),
        None => Ok(()),
    }
}

/// As [`filter_devices`], while nobody is in the cgroup yet, which is made: what puts devices into the
/// container before its start finds the program, and can widen it. Returns whether it is there.
pub(crate) fn filter_devices_first(path: &str, rules: &Value) -> Result<bool, Error> {
    if !is_unified() {
        return Ok(false);
    }
    let directory = Path::new(MOUNTED).join(path.trim_start_matches('/'));
    // Where it cannot be made, libcontainer will say so, or do without.
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
    match sys::attach_device_program(cgroup.as_fd(), &devices::rules(&rules)) {
        // In a user namespace nobody may, and nobody can make a device that the kernel would open.
        Err(error)
            if error.raw_os_error() == Some(nix::libc::EPERM) && crate::in_user_namespace() =>
        {
            Ok(())
        }
        result => result.map_err(|source| Error::system("limit the container's devices", source)),
    }
}

/// The directories of a cgroup in all hierarchies, of the unified and of the old layouts.
fn directories(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let mounted = Path::new(MOUNTED);
    if cover::is_cgroup2(mounted) {
        let directory = mounted.join(relative);
        return Vec::from_iter(directory.is_dir().then_some(directory));
    }
    let directories = hierarchies().into_iter().map(|name| mounted.join(name));
    directories
        .map(|hierarchy| hierarchy.join(relative))
        .filter(|directory| directory.join("cgroup.procs").exists())
        .collect()
}

/// The names of the old hierarchies, as they are mounted; none where there is only the unified one.
fn hierarchies() -> Vec<OsString> {
    if is_unified() {
        return Vec::new();
    }
    let entries = fs::read_dir(MOUNTED).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// An entry beside the old hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// Where one is mounted.
    Mounted(PathBuf),
    /// Another name of one with several controllers: a link, and its target.
    Link(PathBuf),
}

/// The host's old hierarchies, and in a hybrid layout the unified one beside them, by the names of their directories.
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

/// Where the mounts of a container that sees the host's old hierarchies are, and what they show of
/// them: those of its own cgroup.
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

fn manager(path: &Path, systemd: bool, id: &str) -> Result<AnyCgroupManager, Error> {
    create_cgroup_manager(CgroupConfig {
        cgroup_path: path.to_owned(),
        systemd_cgroup: systemd,
        container_name: id.to_owned(),
    })
    .map_err(|error| Error::library("open the container's cgroup", &error))
}

/// Returns every process in the cgroup and below; for a container without a cgroup of its own, every
/// one in the PID namespace of its first process.
pub(crate) fn processes(
    path: &Path,
    systemd: bool,
    id: &str,
    init: Option<Pid>,
) -> Result<Vec<Pid>, Error> {
    if systemd {
        return manager(path, systemd, id)?
            .get_all_pids()
            .map_err(|error| Error::library("list the container's processes", &error));
    }
    let directories = directories(&path.to_string_lossy());
    if directories.is_empty() {
        return Ok(init.map(namesakes).unwrap_or_default());
    }
    let mut found = BTreeSet::new();
    let mut failed = Ok(());
    for directory in directories {
        let looked = tree::processes(&directory, &mut |process| {
            found.insert(process);
        });
        failed = failed.and(looked.map_err(Error::state("read", &directory)));
    }
    // What is known of them is enough to end them, a look at a time.
    if found.is_empty() {
        failed?;
    }
    Ok(found.into_iter().map(Pid::from_raw).collect())
}

/// A process and, if it has a PID namespace of its own, all others in it.
fn namesakes(init: Pid) -> Vec<Pid> {
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

/// Removes the cgroup with those that the container made in it. All processes must have been
/// killed; they may still be on their way out.
pub(crate) fn remove(path: &Path, systemd: bool, id: &str) -> Result<(), Error> {
    if systemd {
        return manager(path, systemd, id)?
            .remove()
            .map_err(|error| Error::library("remove the container's cgroup", &error));
    }
    let mut failed = Ok(());
    for directory in directories(&path.to_string_lossy()) {
        match tree::remove(&directory) {
            // Somebody else's of the same name: where we may remove nothing, nothing is ours.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            // The others go all the same.
            removed => {
                failed = failed.and(removed.map_err(Error::state("remove cgroup", &directory)));
            }
        }
    }
    failed
}

/// Tells of a failure after which the rest goes on.
pub(crate) fn log_failure(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!("{}", sys::one_line(&error));
    }
}
