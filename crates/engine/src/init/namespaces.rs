//! The namespaces of a container that is being made.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use crate::userns::{Mappings, wanted};
use crate::{Document, Error};

/// `CLONE_NEWTIME`, Linux 5.6; nix has no name for it.
const TIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

/// The kinds of namespaces: the specification's name, and the kernel's flag.
const KINDS: [(&str, CloneFlags); 8] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("mount", CloneFlags::CLONE_NEWNS),
    ("network", CloneFlags::CLONE_NEWNET),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("time", TIME),
    ("user", CloneFlags::CLONE_NEWUSER),
    ("uts", CloneFlags::CLONE_NEWUTS),
];

/// The namespaces that a container makes and joins.
#[derive(Debug)]
pub(super) struct Namespaces {
    pub(super) made: CloneFlags,
    joined: Vec<(CloneFlags, &'static str, OwnedFd)>,
    /// The maps of users and groups of the user namespace that is made.
    pub(super) maps: Option<(Mappings, Mappings)>,
}

impl Namespaces {
    /// Reads a document, and opens the namespaces that are joined.
    pub(super) fn of(document: &Document) -> Result<Self, Error> {
        let mut namespaces = Self {
            made: CloneFlags::empty(),
            joined: Vec::new(),
            maps: wanted(document)?,
        };
        for namespace in document.namespaces() {
            let name = namespace["type"].as_str().unwrap_or_default();
            let refused =
                |reason: &str| Error::Refused(format!("linux.namespaces: {name:?} {reason}"));
            let known = KINDS.iter().find(|(known, _)| *known == name);
            let (name, flag) = known.ok_or_else(|| refused("is no kind of namespace"))?;
            if namespaces.has(*flag) {
                return Err(refused("is there twice"));
            }
            match namespace["path"].as_str() {
                None => namespaces.made |= *flag,
                Some(path) => {
                    let opened = File::open(path).map_err(Error::state("open", path))?;
                    namespaces.joined.push((*flag, *name, opened.into()));
                }
            }
        }
        let joins_mounts = { namespaces.joined.iter() }.any(|(_, name, _)| *name == "mount");
        if joins_mounts && namespaces.makes_time() {
            // Clocks are set and entered by `/proc`, which is somebody else's there.
            return Err(Error::Refused(
                "linux.namespaces: a new time namespace and the mount namespace of others"
                    .to_owned(),
            ));
        }
        Ok(namespaces)
    }

    /// Whether the container has a namespace of a kind of its own, made or joined.
    fn has(&self, flag: CloneFlags) -> bool {
        self.made.contains(flag) || self.joined.iter().any(|(joined, _, _)| *joined == flag)
    }

    /// Whether the ids of the container's users are others outside.
    pub(super) fn has_users(&self) -> bool {
        self.has(CloneFlags::CLONE_NEWUSER)
    }

    /// Whether the container joins a namespace in which the paths of cgroups are others.
    pub(super) fn joins_view(&self) -> bool {
        let views = CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS;
        self.joined
            .iter()
            .any(|(joined, _, _)| views.contains(*joined))
    }

    /// Whether the container sees cgroups from its own as the root.
    pub(super) fn has_cgroups(&self) -> bool {
        self.has(CloneFlags::CLONE_NEWCGROUP)
    }

    /// Whether a process has to go between that joins namespaces.
    pub(super) fn joins(&self) -> bool {
        !self.joined.is_empty()
    }

    /// Returns the namespaces in which the first process is born.
    pub(super) fn of_birth(&self) -> CloneFlags {
        self.made & (CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
    }

    pub(super) fn makes_time(&self) -> bool {
        self.made.contains(TIME)
    }

    /// Joins the existing namespaces. The user namespace comes last but for those that only its root
    /// may join: rights are lost in it.
    pub(super) fn join(&self) -> Result<(), String> {
        let enter = |flag: CloneFlags, namespace: &OwnedFd| setns(namespace, flag);
        let failed = |name: &str, errno: Errno| {
            let text = text::message(&errno.into());
            format!("join the {name} namespace: {text}")
        };
        // The host's paths are not seen any more from the joined mount namespace.
        let is_mount = |flag: CloneFlags| flag == CloneFlags::CLONE_NEWNS;
        let mut order: Vec<_> = self.joined.iter().collect();
        order.sort_by_key(|(flag, _, _)| is_mount(*flag));
        let mut left = Vec::new();
        for (flag, name, namespace) in order {
            if *flag == CloneFlags::CLONE_NEWUSER {
                continue;
            }
            match enter(*flag, namespace) {
                Err(Errno::EPERM) if self.has(CloneFlags::CLONE_NEWUSER) => {
                    left.push((flag, name, namespace));
                }
                entered => entered.map_err(|errno| failed(name, errno))?,
            }
        }
        let users = CloneFlags::CLONE_NEWUSER;
        for (flag, name, namespace) in self.joined.iter().filter(|(flag, _, _)| *flag == users) {
            enter(*flag, namespace).map_err(|errno| failed(name, errno))?;
        }
        for (flag, name, namespace) in left {
            enter(*flag, namespace).map_err(|errno| failed(name, errno))?;
        }
        Ok(())
    }

    /// Makes the namespaces in which the calling process was not born. In a new time namespace are
    /// its children only; see [`enter_time`].
    pub(super) fn make_rest(&self) -> io::Result<()> {
        let rest = self.made - self.of_birth();
        match rest.is_empty() {
            true => Ok(()),
            false => Ok(unshare(rest)?),
        }
    }
}

/// Enters the time namespace that the calling process has made for its children.
pub(super) fn enter_time() -> io::Result<()> {
    let own = File::open("/proc/self/ns/time_for_children")?;
    Ok(setns(own, TIME)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_known_and_named_once() {
        let of = |list| Namespaces::of(&json!({"linux": {"namespaces": list}}).into());
        let found = of(json!([{"type": "pid"}, {"type": "uts", "path": "/proc/self/ns/uts"}]));
        let found = found.unwrap();
        assert_eq!(found.made, CloneFlags::CLONE_NEWPID);
        assert!(found.joins() && !found.has_users());
        for wrong in [
            json!([{"type": "x"}]),
            json!([{"type": "ipc"}, {"type": "ipc"}]),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
