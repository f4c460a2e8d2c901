//! Cgroups of others in the container's way: processes that are there already, and cgroups that are
//! frozen, before the container or by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Outcome, run, succeed};

use crate::own_root;

/// A hierarchy in which every host can make and freeze cgroups: the unified one.
fn unified() -> PathBuf {
    let alone = Path::new("/sys/fs/cgroup");
    match alone.join("cgroup.controllers").exists() {
        true => alone.to_owned(),
        false => alone.join("unified"),
    }
}

/// A process of the host's in a cgroup of its own, ended and removed when dropped.
struct Victim {
    process: Child,
    cgroup: PathBuf,
}

impl Victim {
    fn new(cgroup: PathBuf) -> Self {
        fs::create_dir_all(&cgroup).unwrap();
        let process = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), process.id().to_string()).unwrap();
        Self { process, cgroup }
    }

    fn assert_lives(&mut self) {
        assert_eq!(
            self.process.try_wait().unwrap(),
            None,
            "the victim has ended"
        );
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir(&self.cgroup);
        let _ = fs::remove_dir(self.cgroup.parent().unwrap());
    }
}

/// The container's end would kill these processes, whether or not its program exists.
#[test]
fn a_cgroup_with_processes_below_is_refused() {
    for program in ["true", "/nonexistent"] {
        let (bundle, _) = own_root(&[program], |_| ());
        let mut victim = Victim::new(unified().join(bundle.id()).join("below"));
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(
            outcome.stderr.contains("has processes already"),
            "{outcome:?}"
        );
        victim.assert_lives();
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// A process that joined it would wait for ever, and no signal would end it.
#[test]
fn a_frozen_unified_cgroup_is_refused() {
    let (bundle, _) = own_root(&["true"], |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "cgroup");
        namespaces.push(json!({"type": "cgroup"}));
    });
    let cgroup = unified().join(bundle.id());
    fs::create_dir(&cgroup).unwrap();
    fs::write(cgroup.join("cgroup.freeze"), "1").unwrap();
    let slipway = bundle.slipway(&["run", "c1"]);
    let outcome = run(Command::new("timeout")
        .args(["-k", "1", "20"])
        .arg(slipway.get_program())
        .args(slipway.get_args())
        .current_dir(bundle.path()));
    fs::write(cgroup.join("cgroup.freeze"), "0").unwrap();
    fs::remove_dir(&cgroup).unwrap();
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("is frozen"), "{outcome:?}");
}

fn writable_cgroups(spec: &mut Value, has_processes: bool) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["type"] != "cgroup");
    mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}));
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != "cgroup" && (has_processes || one["type"] != "pid"));
    namespaces.push(json!({"type": "cgroup"}));
}

/// A container that may write to its cgroups freezes a part of itself, by the switch of either
/// version: it is ended all the same, at once.
#[test]
fn a_payload_that_freezes_itself_is_deleted() {
    let script = "cd /sys/fs/cgroup; [ -d freezer ] && cd freezer; mkdir -p a/b; sleep 98 & echo $! >a/b/cgroup.procs; \
        [ -e a/freezer.state ] && echo FROZEN >a/freezer.state; [ -e a/cgroup.freeze ] && echo 1 >a/cgroup.freeze; exec sleep 99";
    for has_processes in [true, false] {
        let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
            writable_cgroups(spec, has_processes);
        });
        let deleted = crate::Deleted(&bundle);
        crate::start(&bundle);
        let pid = crate::pid(&bundle);
        let is_frozen = || {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains("99")
        };
        tests::wait_for("the freezing", Duration::from_secs(20), is_frozen);
        let began = Instant::now();
        succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        drop(deleted);
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// On a hybrid host a mount of cgroup2 without a namespace shows the container's own part too.
#[test]
fn a_mount_of_cgroup2_is_the_containers_own() {
    if unified() == Path::new("/sys/fs/cgroup") {
        // There the whole is what such a mount means: the cgroup namespace decides.
        return;
    }
    let victim_directory = unified().join("slipway-seen").join("below");
    let mut victim = Victim::new(victim_directory);
    let script = "ls -d /mnt/slipway-seen; echo 1 >/mnt/slipway-seen/below/cgroup.kill; ls /mnt/cgroup.procs";
    let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/mnt", "type": "cgroup2", "source": "cgroup2", "options": ["rw"]}));
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "cgroup");
    });
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(outcome.stdout, "/mnt/cgroup.procs\n", "{outcome:?}");
    victim.assert_lives();
    assert_eq!(bundle.left(), Vec::<String>::new());
}

/// Another container that was made in the cgroup of one that has stopped, or below it, is not the
/// stopped one's to end.
#[test]
fn a_stopped_container_ends_no_other() {
    for (below, has_processes) in [("", true), ("/below", true), ("", false), ("/below", false)] {
        let (stopped, _) = own_root(&["true"], |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| has_processes || one["type"] != "pid");
        });
        succeed(&mut stopped.slipway(&["run", "--keep", "c1"]));
        let path = format!("/{}{below}", stopped.id());
        let (other, _) = own_root(&["sleep", "60"], |spec| {
            spec["linux"]["cgroupsPath"] = json!(path);
        });
        let deleted = crate::Deleted(&other);
        crate::start(&other);
        let _ = run(&mut stopped.slipway(&["kill", "--all", "c1", "KILL"]));
        succeed(&mut stopped.slipway(&["delete", "c1"]));
        let state = succeed(&mut other.slipway(&["state", "c1"]));
        assert!(
            state.contains("\"running\""),
            "{below:?} {has_processes}: {state}"
        );
        drop(deleted);
        assert_eq!(other.left(), Vec::<String>::new());
    }
}

/// Of two that are made in one cgroup at the same time, the one that fails does not end the other.
#[test]
fn a_creation_that_fails_ends_no_other() {
    let path = format!("/slipway-both-{}", std::process::id());
    let same = |spec: &mut Value| spec["linux"]["cgroupsPath"] = json!(path);
    for _ in 0..8 {
        let (bundle, _) = own_root(&["sleep", "60"], same);
        let (failing, _) = own_root(&["/nonexistent"], same);
        let deleted = crate::Deleted(&bundle);
        let fails = std::thread::scope(|scope| {
            let fails = scope.spawn(|| run(&mut failing.slipway(&["run", "c1"])));
            crate::start(&bundle);
            fails.join().unwrap()
        });
        assert_eq!(fails.code, 1, "{fails:?}");
        let state = succeed(&mut bundle.slipway(&["state", "c1"]));
        assert!(state.contains("\"running\""), "{fails:?} {state}");
        drop(deleted);
        assert_eq!(bundle.left(), Vec::<String>::new());
        assert_eq!(failing.left(), Vec::<String>::new());
    }
}

/// A cgroup that freezes each process that comes: `exec` does not wait for ever. A program that has
/// begun before its cgroup is frozen is waited for, so another attempt is made then.
#[test]
fn an_exec_into_a_cgroup_that_freezes_ends() {
    let has_ended = (0..5).any(|_| {
        let outcome = exec_into_a_cgroup_that_freezes();
        ![0, 124].contains(&outcome.code)
    });
    // With one processor, the watcher does not run while a process enters.
    let has_others = std::thread::available_parallelism().unwrap().get() > 1;
    assert!(has_ended || !has_others, "no exec was frozen as it entered");
}

fn exec_into_a_cgroup_that_freezes() -> Outcome {
    let script = "cd /sys/fs/cgroup; [ -d unified ] && cd unified; mkdir me; echo $$ >me/cgroup.procs; \
        echo ready >/ready; while :; do read who <cgroup.procs && echo 1 >cgroup.freeze && break; done; sleep 100";
    let (bundle, root) = own_root(&["/bin/sh", "-c", script], |spec| {
        writable_cgroups(spec, true);
    });
    let deleted = crate::Deleted(&bundle);
    crate::start(&bundle);
    tests::wait_for("the watcher", Duration::from_secs(20), || {
        root.join("ready").exists()
    });
    let slipway = bundle.slipway(&["exec", "c1", "true"]);
    let outcome = run(Command::new("timeout")
        .args(["-k", "1", "15"])
        .arg(slipway.get_program())
        .args(slipway.get_args())
        .current_dir(bundle.path()));
    drop(deleted);
    assert_eq!(bundle.left(), Vec::<String>::new());
    outcome
}

/// Two containers without cgroups, as an ordinary user has them, the second in the PID namespace of
/// the first: to end the second is not to end the first.
#[test]
fn a_joined_namespace_of_processes_is_not_the_containers() {
    let bundles = ["first", "second"].map(|name| {
        let (bundle, _) = own_root(&["sleep", "60"], |spec| {
            crate::for_an_ordinary_user(spec);
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            if name == "second" {
                let pid = namespaces.iter_mut().find(|one| one["type"] == "pid");
                pid.unwrap()["path"] = json!("FIRST");
            }
        });
        succeed(
            Command::new("chown")
                .args(["-R", tests::TESTER])
                .arg(bundle.path()),
        );
        bundle
    });
    let [first, second] = &bundles;
    let script = format!(
        "S='{slipway} --root {state}/state'; $S run -d -b {one} one >/dev/null 2>&1 || exit 9; \
         P=$($S state one | tr -d ' ,' | grep '^\"pid\"' | cut -d: -f2); \
         sed -i \"s,FIRST,/proc/$P/ns/pid,\" {two}/config.json; \
         $S run -d -b {two} two >/dev/null 2>&1 || exit 8; \
         $S kill --all two KILL; sleep 0.3; $S state one | grep status; $S state two | grep status; \
         $S delete -f two; $S state one | grep status; $S delete -f one",
        slipway = tests::program("slipway").display(),
        state = first.path().display(),
        one = first.path().display(),
        two = second.path().display(),
    );
    let outcome = run(Command::new("timeout")
        .args(["-k", "5", "40", "setpriv", "--reuid", tests::TESTER])
        .args(["--regid", tests::TESTER, "--clear-groups", "unshare", "-Ur"])
        .args(["sh", "-c", &script]));
    let lines: Vec<&str> = outcome.stdout.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "\"status\": \"running\",",
            "\"status\": \"stopped\",",
            "\"status\": \"running\","
        ],
        "{outcome:?}"
    );
}
