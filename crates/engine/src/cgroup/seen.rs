//! The cgroups that a container sees where it mounts them.

use std::path::{Path, PathBuf};

use mounts::Hierarchy as Seen;

use super::mask::{is_unified, own_cgroup};
use super::membership::own_memberships;
use super::{Hierarchy, MOUNTED, old_hierarchies};

/// Returns the cgroup of version 2 and the old hierarchies that the calling process sees: it is a
/// container's first process, in its cgroups. On a host with version 2 alone, a container without a
/// cgroup namespace sees the host's whole hierarchy, as the kernel shows it.
pub(crate) fn seen(has_namespace: bool) -> (Option<PathBuf>, Vec<Seen>) {
    if is_unified() {
        let cgroup = match has_namespace {
            true => own_cgroup(),
            false => Some(MOUNTED.into()),
        };
        return (cgroup, Vec::new());
    }
    let own = own_memberships();
    let seen = |(name, hierarchy): (String, Hierarchy)| match hierarchy {
        Hierarchy::Link(target) => Some(Seen::Link(name, target)),
        Hierarchy::Mounted(mounted) => {
            let theirs = own
                .iter()
                .find(|one| one.mounted() == Some(mounted.clone()))?;
            let path = mounted.join(theirs.path.trim_start_matches('/'));
            // Nothing is shown in place of a cgroup that is not to be seen from here: it would be one
            // of others.
            (!theirs.is_outside() && is_cgroup(&path)).then_some(Seen::Own(name, path))
        }
    };
    let hierarchies = old_hierarchies().into_iter().filter_map(seen);
    (own_cgroup(), hierarchies.collect())
}

fn is_cgroup(path: &Path) -> bool {
    path.join("cgroup.procs").exists()
}
