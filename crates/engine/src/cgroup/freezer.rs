//! Freezing and thawing a container's processes.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcgroups::common::{CgroupManager, FreezerState};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, openat};

use super::mask::is_cgroup2;
use super::membership::memberships;
use super::{Cgroup, MOUNTED, write_switch};
use crate::Error;

impl Cgroup {
    /// Freezes or thaws every process in the cgroup.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let state = if frozen {
            FreezerState::Frozen
        } else {
            FreezerState::Thawed
        };
        self.manager()?
            .freeze(state)
            .map_err(|error| Error::library("freeze or thaw the container's cgroup", &error))
    }
}

/// Whether a process is in a frozen cgroup, whoever froze it.
pub(crate) fn is_frozen(pid: Pid) -> bool {
    let memberships = memberships(pid);
    let path = |controller: &str| {
        let membership = memberships.iter().find(|one| one.has(controller))?;
        Some(membership.path.trim_start_matches('/').to_owned())
    };
    let (mounted, unified) = (Path::new(MOUNTED), path(""));
    // libcgroups uses version 1 wherever it is mounted.
    if let Some(path) = path("freezer").filter(|_| !is_cgroup2(mounted)) {
        // In a hybrid layout a container may have frozen itself in the unified hierarchy.
        let beside = unified.map(|path| mounted.join("unified").join(path));
        return holds(&mounted.join("freezer").join(path))
            || beside.is_some_and(|path| holds(&path));
    }
    unified.is_some_and(|path| holds(&mounted.join(path)))
}

/// The switches of the two versions, each with its words for frozen and thawed.
const SWITCHES: [(&str, &str, &str); 2] = [
    ("freezer.state", "FROZEN", "THAWED"),
    ("cgroup.freeze", "1", "0"),
];

/// Freezes or thaws a cgroup in the hierarchy that can do it, as far as that is possible.
pub(super) fn hold(directory: &Path, frozen: bool) {
    for (switch, on, off) in SWITCHES {
        write_switch(directory, switch, if frozen { on } else { off });
    }
}

/// Thaws a cgroup that is open.
pub(super) fn thaw(cgroup: &OwnedFd) {
    for (switch, _, off) in SWITCHES {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = openat(cgroup, switch, flags, Mode::empty()) {
            let _ = rustix::io::write(&file, off.as_bytes());
        }
    }
}

/// Refuses a cgroup that is frozen or below a frozen one. A process that joins it stops until it is
/// thawed, and not even a signal ends it. On a hybrid host both the old freezer and the unified
/// hierarchy can freeze.
pub(crate) fn refuse_frozen(path: &str) -> Result<(), Error> {
    let mounted = Path::new(MOUNTED);
    let hierarchies = match is_cgroup2(mounted) {
        true => vec![mounted.to_owned()],
        false => vec![mounted.join("freezer"), mounted.join("unified")],
    };
    hierarchies.iter().try_for_each(|hierarchy| {
        refuse_frozen_in(hierarchy, &hierarchy.join(path.trim_start_matches('/')))
            .map_err(|place| Error::Refused(format!("cgroupsPath: {place}")))
    })
}

/// Refuses a directory below a hierarchy if it, or one above it, is frozen.
pub(super) fn refuse_frozen_in(hierarchy: &Path, directory: &Path) -> Result<(), String> {
    let above = directory
        .ancestors()
        .take_while(|directory| *directory != hierarchy);
    match { above }.find(|directory| holds(directory)) {
        Some(frozen) => Err(format!(
            "container's cgroup unexpectedly frozen: {} is frozen; thaw it, or choose another",
            frozen.display()
        )),
        None => Ok(()),
    }
}

/// Whether the cgroup at a directory is frozen. In version 2 its own switch or the switch of a
/// cgroup above freezes it; the latter shows only in `cgroup.events`.
fn holds(directory: &Path) -> bool {
    let read = |name: &str| fs::read_to_string(directory.join(name));
    // Most cgroups are new.
    directory.is_dir()
        && (read("freezer.state").is_ok_and(|state| state.trim() != "THAWED")
            || read("cgroup.freeze").is_ok_and(|switch| switch.trim() == "1")
            || read("cgroup.events")
                .is_ok_and(|events| events.lines().any(|line| line == "frozen 1")))
}
