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
    let mounted = Path::new(MOUNTED);
    // Version 1 where it is mounted: it is what libcgroups then uses.
    if let Some(path) = path("freezer").filter(|_| !is_cgroup2(mounted)) {
        let state = mounted.join("freezer").join(path).join("freezer.state");
        return fs::read_to_string(state).is_ok_and(|state| state.trim() != "THAWED");
    }
    let Some(path) = path("") else {
        return false;
    };
    // A parent's freezing counts; only the events tell of it.
    fs::read_to_string(mounted.join(path).join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}
