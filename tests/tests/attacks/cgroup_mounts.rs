//! CVE-2022-0492 and similar attacks: a container that writes to the host's cgroups, raises its own
//! limits, or sees cgroups of others. On a host with the old hierarchies, with or without the
//! unified one beside them.

use std::fs;
use std::path::Path;

use serde_json::json;
use tests::succeed;

use crate::own_root;

/// Prints for each hierarchy which files can be written, and whether cgroups of others are visible.
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

/// Whether the host has version 2 alone. There, a container without a cgroup namespace sees the
/// host's tree, as engines want it of `--cgroupns=host`.
fn has_no_old_hierarchies() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn a_read_only_cgroup_is_the_containers_own_and_cannot_be_written() {
    Others::each(|path| drop(fs::create_dir(path)));
    let _others = Others;
    for with_namespace in [false, true] {
        let printed = printed(&["ro", "nosuid", "noexec", "nodev"], with_namespace);
        let lines: Vec<&str> = printed.lines().collect();
        let sees_others = has_no_old_hierarchies() && !with_namespace;
        let is_harmless =
            |line: &&str| *line == "hierarchy" || sees_others && line.ends_with(" others");
        assert!(lines.iter().all(is_harmless), "{printed}");
        assert!(lines.len() > 3 || has_no_old_hierarchies(), "{printed}");
    }
}

#[test]
fn a_writable_cgroup_is_the_containers_own_too() {
    if has_no_old_hierarchies() {
        return;
    }
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

/// The unified hierarchy, alone or beside the old ones. A container with a cgroup namespace finds
/// its own part at the root, whatever it mounts, and can neither see, freeze nor kill the host's.
#[test]
fn a_namespace_of_cgroups_begins_at_the_containers_own() {
    let mut unified = Path::new("/sys/fs/cgroup").to_owned();
    if !unified.join("cgroup.controllers").exists() {
        unified.push("unified");
    }
    let victim = unified.join("slipway-victim");
    fs::create_dir(&victim).unwrap();
    struct Removed<'a>(&'a Path, std::process::Child);
    impl Drop for Removed<'_> {
        fn drop(&mut self) {
            let _ = self.1.kill();
            let _ = self.1.wait();
            let _ = fs::remove_dir(self.0);
        }
    }
    let process = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let mut victim = Removed(&victim, process);
    fs::write(victim.0.join("cgroup.procs"), victim.1.id().to_string()).unwrap();
    let script = "cd /mnt; [ -e cgroup.controllers ] && echo mounted; ls -d slipway-victim; \
        for f in freeze kill; do echo 1 >slipway-victim/cgroup.$f && echo $f; done; cut -d: -f2- /proc/self/cgroup | grep -v ':/$'; true";
    for options in [["nosuid", "rw"], ["nosuid", "ro"]] {
        let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["type"] != "cgroup");
            mounts.push(json!({"destination": "/mnt", "type": "cgroup2", "source": "cgroup2", "options": options}));
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "cgroup");
            namespaces.push(json!({"type": "cgroup"}));
        });
        let outcome = tests::run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(outcome.stdout, "mounted\n", "{options:?}: {outcome:?}");
        assert_eq!(bundle.left(), Vec::<String>::new());
        assert!(!unified.join(bundle.id()).exists());
    }
    assert_eq!(victim.1.try_wait().unwrap(), None, "the victim has ended");
}

/// Hooks of the runtime's namespaces do not belong to the container, which must not end the
/// processes that they leave behind.
#[test]
fn a_hook_of_the_runtimes_is_not_in_the_containers_cgroup() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    for point in ["prestart", "createRuntime"] {
        let (bundle, root) = own_root(&["true"], |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "cgroup");
            namespaces.push(json!({"type": "cgroup"}));
        });
        let told = root.join("told");
        let script = format!(
            "cat /proc/self/cgroup >{}; echo $0 $1 >>{0}",
            told.display()
        );
        let config = bundle.path().join("config.json");
        let mut spec: serde_json::Value =
            serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        spec["hooks"][point] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["A=1"]}]);
        fs::write(&config, spec.to_string()).unwrap();
        succeed(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(
            fs::read_to_string(told).unwrap(),
            format!("{own}zero one\n"),
            "{point}"
        );
        spec["hooks"][point] = json!([{"path": "/nosuch"}]);
        fs::write(&config, spec.to_string()).unwrap();
        let outcome = tests::run(&mut bundle.slipway(&["run", "c1"]));
        assert_ne!(outcome.code, 0, "{outcome:?}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// The cgroups are nested deeper than a path can name. The container's processes are listed and
/// ended, and its cgroups removed.
#[test]
fn cgroups_of_any_depth_are_ended_and_removed() {
    let name = "x".repeat(120);
    let script = format!(
        "for h in systemd unified pids; do ( cd /sys/fs/cgroup/$h || exit; for i in $(seq 40); do mkdir {name} && cd {name} || exit; done; \
         [ $h != pids ] || echo 0 >cgroup.procs ) ; done; echo deep; exec sleep 100"
    );
    let (bundle, _) = own_root(&["/bin/sh", "-c", &script], |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "cgroup");
        mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}));
        // Without a pid namespace, only the cgroups show which processes are the container's.
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "pid");
    });
    let deleted = crate::Deleted(&bundle);
    crate::start(&bundle);
    let pid = crate::pid(&bundle);
    let is_deep = || {
        let status = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        status.starts_with("sleep")
    };
    tests::wait_for("its cgroups", std::time::Duration::from_secs(20), is_deep);
    assert!(succeed(&mut bundle.slipway(&["ps", "c1"])).contains("sleep"));
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    drop(deleted);
    assert_eq!(bundle.left(), Vec::<String>::new());
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        assert!(
            !hierarchy.path().join(bundle.id()).exists(),
            "{hierarchy:?}"
        );
    }
}
