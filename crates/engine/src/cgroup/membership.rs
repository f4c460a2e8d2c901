//! The cgroups of a process, as `/proc/PID/cgroup` lists them (cgroups(7)).

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::MOUNTED;

/// One line of `/proc/<pid>/cgroup`, cgroups(7).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) controllers: String,
    pub(super) path: String,
}

impl Membership {
    /// Whether the hierarchy has this controller. The unified hierarchy has an empty name.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|one| one == controller)
    }

    /// Whether the cgroup is outside of the namespace that it is seen from (cgroup_namespaces(7)).
    pub(super) fn is_outside(&self) -> bool {
        self.path.split('/').any(|part| part == "..")
    }

    /// Returns the hierarchy's mount point, which has its full name or the name of one of its
    /// controllers.
    pub(super) fn mounted(&self) -> Option<PathBuf> {
        let root = Path::new(MOUNTED);
        if self.controllers.is_empty() {
            let hybrid = root.join("unified");
            let unified = root.join("cgroup.procs").exists();
            return Some(if unified { root.to_owned() } else { hybrid });
        }
        let names = std::iter::once(self.controllers.as_str())
            .chain(self.controllers.split(','))
            .map(|name| name.trim_start_matches("name="));
        names.map(|name| root.join(name)).find(|path| path.is_dir())
    }
}

/// Returns the cgroups of a process, one for each hierarchy.
pub(super) fn memberships(pid: Pid) -> Vec<Membership> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    parse(&text)
}

/// Returns the cgroups of the calling process, also in a PID namespace without a `/proc` of its own.
pub(super) fn own_memberships() -> Vec<Membership> {
    parse(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default())
}

fn parse(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some(Membership {
                controllers: fields.next()?.to_owned(),
                path: fields.next()?.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_read() {
        let read = parse("12:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/u/c1\n");
        assert!(read[0].has("cpuacct") && !read[0].has("memory") && !read[0].has(""));
        assert_eq!(read[0].path, "/a:b");
        assert!(read[2].has("") && read[2].path == "/u/c1");
    }
}
