//! Freezing and thawing a container's processes.

use std::fs;
use std::path::Path;

use libcgroups::common::{CgroupManager, FreezerState};
use nix::unistd::Pid;

use super::cover::is_cgroup2;
use super::place::memberships;
use super::{MOUNTED, manager};
use crate::Error;

/// Freezes or thaws every process in a cgroup.
pub(crate) fn freeze(path: &Path, systemd: bool, id: &str, frozen: bool) -> Result<(), Error> {
    let state = if frozen {
        FreezerState::Frozen
    } else {
        FreezerState::Thawed
    };
    manager(path, systemd, id)?
        .freeze(state)
        .map_err(|error| Error::library("freeze or thaw the container's cgroup", &error))
}

/// Whether a process is in a frozen cgroup, whoever froze it.
pub(crate) fn is_frozen(pid: Pid) -> bool {
    let memberships = memberships(pid);
    let path = |controller: &str| {
        let membership = memberships.iter().find(|one| one.has(controller))?;
        Some(membership.path.trim_start_matches('/').to_owned())
    };
    let (mounted, unified) = (Path::new(MOUNTED), path(""));
    // Version 1 where it is mounted: it is what libcgroups then uses.
    if let Some(path) = path("freezer").filter(|_| !is_cgroup2(mounted)) {
        // A container may have frozen itself in the unified hierarchy beside it.
        let beside = unified.map(|path| mounted.join("unified").join(path));
        return holds(&mounted.join("freezer").join(path))
            || beside.is_some_and(|path| holds(&path));
    }
    unified.is_some_and(|path| holds(&mounted.join(path)))
}

/// Refuses a cgroup that is frozen, or in one that is: a process that comes there stops where nothing but a thaw
/// reaches it, and not even a signal ends it.
pub(crate) fn refuse_frozen(path: &str) -> Result<(), Error> {
    let mounted = Path::new(MOUNTED);
    let hierarchy = if is_cgroup2(mounted) {
        mounted.to_owned()
    } else {
        mounted.join("freezer")
    };
    let whole = hierarchy.join(path.trim_start_matches('/'));
    let above = whole
        .ancestors()
        .take_while(|directory| *directory != hierarchy);
    match { above }.find(|directory| holds(directory)) {
        Some(directory) => Err(Error::Refused(format!(
            "cgroupsPath: {} is frozen; thaw it, or choose another",
            directory.display()
        ))),
        None => Ok(()),
    }
}

/// Whether the cgroup at a directory holds its processes: of version 2 by its own switch or its parents', of which the
/// events tell.
fn holds(directory: &Path) -> bool {
    let read = |name: &str| fs::read_to_string(directory.join(name));
    read("freezer.state").is_ok_and(|state| state.trim() != "THAWED")
        || read("cgroup.freeze").is_ok_and(|switch| switch.trim() == "1")
        || read("cgroup.events").is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}
