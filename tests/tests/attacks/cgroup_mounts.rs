//! CVE-2022-0492 and its like: a container that writes to the host's cgroups, raises its own limits, or sees those of
//! others. On a host with the old hierarchies, alone or beside the unified one.

use std::fs;
use std::path::Path;

use serde_json::json;
use tests::succeed;

use crate::own_root;

/// Tells of each hierarchy what of it can be written, and whether others' cgroups are to be seen.
const LOOK: &str = "cd /sys/fs/cgroup; touch here 2>/dev/null && echo new file; \
    for h in *; do [ -e $h/cgroup.procs ] || continue; echo hierarchy; \
    [ -e $h/release_agent ] && echo $h release_agent; \
    mkdir $h/below 2>/dev/null && echo $h below && rmdir $h/below; \
    for f in memory.limit_in_bytes pids.max cpuset.cpus cgroup.procs notify_on_release; do \
    [ -e $h/$f ] && sh -c 'cat $0 >$0' $h/$f 2>/dev/null && echo $h/$f; done; \
    [ -d $h/slipway-others ] && echo $h others; done; true";

fn printed(options: &[&str], with_namespace: bool) -> String {
    let (bundle, _) = own_root(&["/bin/sh", "-c", LOOK], |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}));
        spec["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "cgroup");
        if with_namespace {
            namespaces.push(json!({"type": "cgroup"}));
        }
    });
    let printed = succeed(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(bundle.left(), Vec::<String>::new());
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let left = hierarchy.path().join(bundle.id());
        assert!(!left.exists(), "{}", left.display());
    }
    printed
}

/// A cgroup beside the container's, in each hierarchy.
struct Others;

impl Others {
    fn each(act: impl Fn(&Path)) {
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            if hierarchy.path().join("cgroup.procs").exists() {
                act(&hierarchy.path().join("slipway-others"));
            }
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        Self::each(|path| drop(fs::remove_dir(path)));
    }
}

#[test]
fn a_read_only_cgroup_is_the_containers_own_and_cannot_be_written() {
    Others::each(|path| drop(fs::create_dir(path)));
    let _others = Others;
    for with_namespace in [false, true] {
        let printed = printed(&["ro", "nosuid", "noexec", "nodev"], with_namespace);
        let lines: Vec<&str> = printed.lines().collect();
        assert!(lines.len() > 3, "{printed}");
        assert!(lines.iter().all(|line| *line == "hierarchy"), "{printed}");
    }
}

#[test]
fn a_writable_cgroup_is_the_containers_own_too() {
    Others::each(|path| drop(fs::create_dir(path)));
    let _others = Others;
    let printed = printed(&["rw"], false);
    assert!(
        printed.contains("memory/memory.limit_in_bytes"),
        "{printed}"
    );
    assert!(
        !printed.contains("release_agent") && !printed.contains("others"),
        "{printed}"
    );
}
