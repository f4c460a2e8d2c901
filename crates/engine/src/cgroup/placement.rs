//! Putting a container's first process into its cgroups.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use libcgroups::common::CgroupManager;
use nix::unistd::Pid;
use serde_json::Value;

use super::mask::{is_old_and_closed, is_unified};
use super::update::has_limits;
use super::{Cgroup, Hierarchy, old_hierarchies};
use crate::Error;

/// The controllers of old hierarchies that libcgroups knows.
const KNOWN: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// Returns the mount points of the hierarchies that libcgroups does not know, on hosts with the old
/// ones: systemd's, the unified one beside them, and those of new controllers. A container that
/// was not in its own cgroup there would see one of the host's.
fn unknown() -> impl Iterator<Item = PathBuf> {
    let unknown = |(name, hierarchy): (String, Hierarchy)| {
        let is_known = name.split(',').any(|one| KNOWN.contains(&one));
        match hierarchy {
            Hierarchy::Mounted(mounted) if !is_known => Some(mounted),
            Hierarchy::Mounted(_) | Hierarchy::Link(_) => None,
        }
    };
    old_hierarchies().into_iter().filter_map(unknown)
}

/// Refuses the limits of an ordinary user whose host has the old hierarchies, which are root's.
/// Engines send rules for devices always, and the kernel itself keeps such a user from devices.
fn refuse_limits(resources: Option<&Value>) -> Result<(), Error> {
    let mut sections = resources.and_then(Value::as_object).into_iter().flatten();
    match sections.find(|(name, value)| *name != "devices" && is_asking(value)) {
        Some((name, _)) => Err(Error::Resources(format!(
            "cannot set {name}: the cgroups of version 1 on this host belong to root; without root, limits \
             need a delegated cgroup of version 2"
        ))),
        None => Ok(()),
    }
}

/// Whether a section asks for anything: 0, false and an empty value mean that it does not, and a
/// negative one that there is no limit.
fn is_asking(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64().is_some_and(|number| number > 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(is_asking),
        Value::Object(map) => map.values().any(is_asking),
    }
}

impl Cgroup {
    /// Puts a container's first process into the cgroup and sets its limits. An ordinary user
    /// without a delegated cgroup has none, which is an error only if there are limits.
    pub(crate) fn place(&self, init: Pid, resources: Option<&Value>) -> Result<(), Error> {
        let has_limits = resources.is_some_and(has_limits);
        if !self.is_systemds() && is_old_and_closed() {
            return refuse_limits(resources);
        }
        let placed = self.manager()?.add_task(init);
        match placed {
            Err(error) if is_unified() && !self.is_systemds() && !has_limits => {
                tracing::debug!("{}: {error}", self.path.display());
                return Ok(());
            }
            placed => placed.map_err(|error| {
                Error::library("put the container's first process into its cgroup", &error)
            })?,
        }
        if !self.is_systemds() {
            self.place_where_unknown(init)?;
        }
        self.limit(resources)
    }

    /// If the process may not join, as an ordinary user's, the container cannot change anything there
    /// either.
    fn place_where_unknown(&self, init: Pid) -> Result<(), Error> {
        let path = self.path.strip_prefix("/").unwrap_or(&self.path);
        for mounted in unknown() {
            let own = mounted.join(path);
            let joined = fs::create_dir_all(&own)
                .and_then(|()| fs::write(own.join("cgroup.procs"), init.to_string()));
            match joined {
                Err(error)
                    if error.kind() != ErrorKind::PermissionDenied
                        && error.kind() != ErrorKind::ReadOnlyFilesystem =>
                {
                    return Err(Error::state("join", &own)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
