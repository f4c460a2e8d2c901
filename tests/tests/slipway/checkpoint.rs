//! Saving a container's processes and restoring them, with the real CRIU.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::{Bundle, fixture, run, succeed, wait_for};

const COUNT: &str = "i=0; while true; do i=$((i+1)); echo $i >/dev/shm/count; sleep 0.05; done";

/// Returns `slipway` with Debian's CRIU, which may be newer than the host.
fn slipway(bundle: &Bundle, args: &[&str]) -> Command {
    let criu = fixture("criu/criu").display().to_string();
    let mut all = vec!["--criu", &criu];
    all.extend(args);
    bundle.slipway(&all)
}

fn start(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?}");
}

fn count(bundle: &Bundle) -> u32 {
    let text = succeed(&mut bundle.slipway(&["exec", "c1", "cat", "/dev/shm/count"]));
    text.trim().parse().unwrap_or_default()
}

fn counting() -> (Bundle, PathBuf) {
    let bundle = Bundle::new(&["sh", "-c", COUNT], |spec| {
        let hosts = json!({"destination": "/etc/hosts", "type": "bind", "source": "/etc/hostname",
            "options": ["bind", "ro"]});
        spec["mounts"].as_array_mut().unwrap().push(hosts);
    });
    let images = bundle.path().join("images");
    start(&mut bundle.slipway(&["run", "-d", "c1"]));
    wait_for("the count", Duration::from_secs(5), || count(&bundle) > 3);
    (bundle, images)
}

#[test]
fn what_was_saved_goes_on() {
    let (bundle, images) = counting();
    let images = images.display().to_string();
    succeed(&mut slipway(
        &bundle,
        &["checkpoint", "--image-path", &images, "c1"],
    ));
    assert_eq!(bundle.left(), Vec::<String>::new());
    let pid_file = bundle.path().join("pid");
    let pid_path = pid_file.display().to_string();
    start(&mut slipway(
        &bundle,
        &[
            "restore",
            "-d",
            "--pid-file",
            &pid_path,
            "--image-path",
            &images,
            "c1",
        ],
    ));
    let before = count(&bundle);
    assert!(before > 3, "{before}");
    wait_for("it to count on", Duration::from_secs(5), || {
        count(&bundle) > before
    });
    let hosts = succeed(&mut bundle.slipway(&["exec", "c1", "cat", "/etc/hosts"]));
    assert_eq!(hosts, fs::read_to_string("/etc/hostname").unwrap());
    let state: serde_json::Value =
        serde_json::from_str(&succeed(&mut bundle.slipway(&["state", "c1"]))).unwrap();
    assert_eq!(state["status"], "running");
    assert_eq!(
        state["pid"].to_string(),
        fs::read_to_string(pid_file).unwrap()
    );
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn what_is_left_running_runs_on() {
    let (bundle, images) = counting();
    let first = images.join("first").display().to_string();
    let last = images.join("last").display().to_string();
    let mut parent = vec!["--parent-path", "../first"];
    let memory = run(&mut slipway(
        &bundle,
        &["checkpoint", "--pre-dump", "--image-path", &first, "c1"],
    ));
    if memory.code != 0 {
        // A kernel may be built without soft-dirty pages, CONFIG_MEM_SOFT_DIRTY.
        assert!(
            memory.stderr.contains("Tracking memory is not available"),
            "{memory:?}"
        );
        parent.clear();
    }
    let mut all = vec!["checkpoint", "--leave-running", "--image-path", &last];
    all.extend(parent);
    all.push("c1");
    succeed(&mut slipway(&bundle, &all));
    let before = count(&bundle);
    wait_for("it to run on", Duration::from_secs(5), || {
        count(&bundle) > before
    });
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    start(&mut slipway(
        &bundle,
        &["restore", "-d", "--image-path", &last, "c1"],
    ));
    assert!(count(&bundle) > 0);
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
}

#[test]
fn its_output_comes_to_who_restores_it() {
    let script = "echo before; while [ ! -e /dev/shm/go ]; do sleep 0.05; done; echo after; exit 7";
    let bundle = Bundle::new(&["sh", "-c", script], |_| ());
    let images = bundle.path().join("images").display().to_string();
    let first = bundle
        .slipway(&["run", "c1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the container", Duration::from_secs(5), || {
        run(&mut bundle.slipway(&["exec", "c1", "true"])).code == 0
    });
    std::thread::sleep(Duration::from_millis(200));
    succeed(&mut slipway(
        &bundle,
        &["checkpoint", "--image-path", &images, "c1"],
    ));
    let first = first.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&first.stdout), "before\n");
    let second = slipway(&bundle, &["restore", "--image-path", &images, "c1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the container", Duration::from_secs(5), || {
        run(&mut bundle.slipway(&["exec", "c1", "touch", "/dev/shm/go"])).code == 0
    });
    let second = second.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&second.stdout),
        "after\n",
        "{second:?}"
    );
    assert_eq!(second.status.code(), Some(7));
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_done_is_said() {
    let (bundle, images) = counting();
    let images = images.display().to_string();
    let missing = [
        "--criu",
        "/nowhere/criu",
        "checkpoint",
        "--image-path",
        &images,
        "c1",
    ];
    let outcome = run(&mut bundle.slipway(&missing));
    assert!(
        outcome.stderr.contains("/nowhere/criu is not installed"),
        "{outcome:?}"
    );
    let outcome = run(&mut slipway(
        &bundle,
        &["restore", "--image-path", &images, "c1"],
    ));
    assert!(outcome.stderr.contains("already exists"), "{outcome:?}");
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    // The directory exists, but is empty.
    let outcome = run(&mut slipway(
        &bundle,
        &["restore", "--image-path", &images, "c1"],
    ));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains("criu restore failed"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("restore.log"), "{outcome:?}");
    assert_eq!(bundle.left(), Vec::<String>::new());
}

/// A CRIU that takes its time ends with the command, however that ends.
#[test]
fn a_restore_can_be_ended() {
    let (bundle, images) = counting();
    let images = images.display().to_string();
    fs::create_dir_all(&images).unwrap();
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    let criu = bundle.path().join("criu");
    fs::write(&criu, "#!/bin/sh\nsleep 100.875\n").unwrap();
    fs::set_permissions(&criu, fs::Permissions::from_mode(0o755)).unwrap();
    let criu = criu.display().to_string();
    for (signal, detach) in [("TERM", false), ("TERM", true), ("KILL", true)] {
        let mut args = vec!["--criu", &criu, "restore", "--image-path", &images];
        args.extend(detach.then_some("-d"));
        args.push("c1");
        let mut restore = bundle.slipway(&args);
        let mut restore = restore
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sleeps = || {
            let found = run(Command::new("pgrep").args(["-f", "sleep 100.875"]));
            found.stdout.lines().count()
        };
        wait_for("criu", Duration::from_secs(10), || sleeps() > 0);
        let pid = restore.id().to_string();
        succeed(Command::new("kill").args(["-s", signal, &pid]));
        restore.wait().unwrap();
        if signal == "TERM" {
            assert_eq!(sleeps(), 0, "{detach}");
            assert_eq!(bundle.left(), Vec::<String>::new());
        }
    }
    // CRIU itself ends with a command that was killed; what it has started is left to it.
    let _ = run(Command::new("pkill").args(["-f", "sleep 100.875"]));
}
