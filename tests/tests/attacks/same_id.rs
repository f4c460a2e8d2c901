//! A container that is deleted by somebody else than the process that runs it, or under another
//! path of its state root.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Killed, program, succeed, wait_for};

use crate::{own_root, pid, processes_with, start};

/// The records of cgroups name the true path of the state root.
#[test]
fn a_container_is_deleted_whole_by_any_path_of_its_state() {
    for root in ["state", "link"] {
        // Without a PID namespace of its own, the second process does not end with the first.
        let script = "sleep 1000.875 & sleep 0.1";
        let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "pid");
        });
        fs::create_dir(bundle.path().join("state")).unwrap();
        symlink("state", bundle.path().join("link")).unwrap();
        let id = bundle.id();
        let slipway = |args: &[&str]| {
            let mut command = Command::new(program("slipway"));
            command.args(["--root", root]).args(args).arg(&id);
            command.current_dir(bundle.path()).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            assert!(command.status().unwrap().success(), "{args:?} {root}");
        };
        slipway(&["run", "-d"]);
        wait_for("the first process", Duration::from_secs(20), || {
            let state = succeed(&mut bundle.slipway(&["state", "c1"]));
            state.contains("\"stopped\"")
        });
        assert_eq!(processes_with("sleep 1000.875").len(), 1, "{root}");
        slipway(&["delete"]);
        assert_eq!(
            processes_with("sleep 1000.875"),
            Vec::<i32>::new(),
            "{root}"
        );
        assert_eq!(bundle.left(), Vec::<String>::new());
        for record in fs::read_dir("/run/slipway/.bundles.cgroups").unwrap() {
            let text = fs::read_to_string(record.unwrap().path()).unwrap_or_default();
            assert!(!text.contains(&id), "{text}");
        }
    }
}

/// The runtime of the first container notices its end only when there is a second one.
#[test]
fn a_late_runtime_leaves_a_later_container_of_the_same_id_alone() {
    let (bundle, _) = own_root(&["/bin/sleep", "1000.9375"], |_| ());
    let _deleted = crate::Deleted(&bundle);
    let mut run = bundle.slipway(&["run", "c1"]);
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let mut late = Killed(run.spawn().unwrap());
    wait_for("the container", Duration::from_secs(20), || {
        let state = bundle.slipway(&["state", "c1"]).output().unwrap();
        String::from_utf8_lossy(&state.stdout).contains("\"running\"")
    });
    let runtime = Pid::from_raw(late.0.id().cast_signed());
    kill(runtime, Signal::SIGSTOP).unwrap();
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    start(&bundle);
    let second = pid(&bundle);
    kill(runtime, Signal::SIGCONT).unwrap();
    assert_eq!(late.0.wait().unwrap().code(), Some(137));
    assert_eq!(pid(&bundle), second);
    let state = succeed(&mut bundle.slipway(&["state", "c1"]));
    assert!(state.contains("\"running\""), "{state}");
}

/// Hooks after the end run once, whoever deletes the container.
#[test]
fn two_who_delete_a_container_run_its_hooks_once() {
    for _ in 0..10 {
        let (bundle, _) = own_root(&["/bin/sleep", "1000.9375"], |spec| {
            let words = ["sh", "-c", "echo >>hooks"];
            let hook = serde_json::json!({"path": "/bin/sh", "args": words});
            spec["hooks"] = serde_json::json!({"poststop": [hook]});
        });
        let mut run = bundle.slipway(&["run", "c1"]);
        run.stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = Killed(run.spawn().unwrap());
        wait_for("the container", Duration::from_secs(20), || {
            let state = bundle.slipway(&["state", "c1"]).output().unwrap();
            String::from_utf8_lossy(&state.stdout).contains("\"running\"")
        });
        succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
        run.0.wait().unwrap();
        let hooks = fs::read_to_string(bundle.path().join("hooks")).unwrap();
        assert_eq!(hooks, "\n");
    }
}
