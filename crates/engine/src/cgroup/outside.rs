//! Hierarchies that libcontainer does not know, on hosts with the old ones: systemd's, the unified
//! one beside them, and those of new controllers.
//!
//! libcontainer has a container's first process join the controllers that it knows. A cgroup
//! namespace has its root, in each hierarchy, at the cgroup of the process that makes it. In the
//! unknown hierarchies this would be a cgroup of the host. So the process that calls libcontainer
//! joins the container's cgroup there, and its children inherit it. Hooks that run in the runtime's
//! namespaces are children of this process, too, but do not belong to the container: they go back
//! before they start.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::{Hierarchy, old_hierarchies};
use crate::Error;

/// The controllers of old hierarchies that libcontainer knows.
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

/// Returns the hierarchies that libcontainer does not know: their names and mount points.
fn unknown() -> impl Iterator<Item = (String, PathBuf)> {
    old_hierarchies()
        .into_iter()
        .filter_map(|(name, hierarchy)| {
            let is_known = name.split(',').any(|one| KNOWN.contains(&one));
            match hierarchy {
                Hierarchy::Mounted(mounted) if !is_known => Some((name, mounted)),
                Hierarchy::Mounted(_) | Hierarchy::Link(_) => None,
            }
        })
}

/// Moves the calling process into the cgroup at `path` in the hierarchies that libcontainer does
/// not know. Returns `cgroup.procs` of the cgroups that it leaves, open for hooks that go back;
/// the descriptors are not marked close-on-exec. If the process may not join, as an ordinary user,
/// the container cannot change anything there either.
pub(crate) fn join_what_libcontainer_does_not(
    path: &str,
    has_hooks: bool,
) -> Result<Vec<OwnedFd>, Error> {
    let lines = fs::read_to_string("/proc/self/cgroup");
    let lines = lines.map_err(|source| Error::system("find the runtime's own cgroups", source))?;
    let mut left = Vec::new();
    for (name, mounted) in unknown() {
        let own = mounted.join(path.trim_start_matches('/'));
        let back = match has_hooks {
            true => way_back(&lines, &name, &mounted)?,
            false => None,
        };
        let joined = fs::create_dir_all(&own).and_then(|()| enter(&own));
        match joined.map_err(|error| (error.kind(), error)) {
            Ok(()) => left.extend(back),
            Err((ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem, _)) => {}
            Err((_, error)) => return Err(Error::state("join", &own)(error)),
        }
    }
    Ok(left)
}

/// Opens `cgroup.procs` of the calling process's cgroup in a hierarchy. `None` means that the
/// cgroup cannot be seen from here, as inside of a container that is shown another part of the
/// hierarchy; a hook then stays in the container's cgroup.
fn way_back(lines: &str, name: &str, mounted: &Path) -> Result<Option<OwnedFd>, Error> {
    let Some(path) = own_cgroup(lines, name) else {
        return Ok(None);
    };
    // The mount may show only a part of the hierarchy, or a cgroup namespace.
    let here = mounted.join(path.trim_start_matches('/'));
    for cgroup in [here, mounted.to_owned()] {
        let kind = fs::read_to_string(cgroup.join("cgroup.type")).unwrap_or_default();
        if kind.trim() == "threaded" && lists_this("cgroup.threads", &cgroup) {
            return Err(Error::Refused(format!(
                "hooks: the runtime is in the threaded cgroup {}, to which a hook could not return; \
                 start the runtime in another cgroup",
                cgroup.display()
            )));
        }
        if lists_this("cgroup.procs", &cgroup) {
            let processes = cgroup.join("cgroup.procs");
            return match open(&processes, OFlags::WRONLY, Mode::empty()) {
                Ok(open) => Ok(Some(open)),
                // A process that may not write here may not leave either, nor join the container's
                // cgroup.
                Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS) => Ok(None),
                Err(errno) => Err(Error::state("open", &processes)(errno.into())),
            };
        }
    }
    Ok(None)
}

/// Whether a file of a cgroup lists the calling process.
fn lists_this(file: &str, cgroup: &Path) -> bool {
    let own = std::process::id().to_string();
    let processes = fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    processes.lines().any(|line| line == own)
}

fn enter(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Returns the path of a process's cgroup in the hierarchy that is mounted under `name`. `lines` is
/// the text of `/proc/PID/cgroup` ([cgroups(7)]): number, controllers, path.
///
/// [cgroups(7)]: https://man7.org/linux/man-pages/man7/cgroups.7.html
fn own_cgroup<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_unified = name == "unified" && number == "0";
        let is_named = controllers == name || controllers.strip_prefix("name=") == Some(name);
        (is_unified || is_named).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_by_the_name_of_its_hierarchy() {
        let lines = "9:name=systemd:/a\n4:memory:/b\n3:misc:/c:d\n0::/e\n";
        let found = ["systemd", "misc", "unified", "rdma"].map(|name| own_cgroup(lines, name));
        assert_eq!(found, [Some("/a"), Some("/c:d"), Some("/e"), None]);
    }
}
