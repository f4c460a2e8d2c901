//! Information for other users and the payload about the making of a container: its state, its
//! caller's keys, and files that a runtime writes where others have prepared the path.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tests::{as_tester, run, succeed};

use crate::{Deleted, own_root, start};

#[test]
fn a_containers_state_is_its_owners_alone() {
    let (bundle, _) = own_root(&["/bin/sleep", "100"], |spec| {
        spec["process"]["env"] = json!(["PATH=/bin", "SECRET=4711"]);
    });
    let _deleted = Deleted(&bundle);
    start(&bundle);
    let root = bundle.path().join("state");
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join(bundle.id())), 0o700);
    let document = root
        .join(".bundles")
        .join(bundle.id())
        .join(".slipway.json");
    assert_eq!(mode(&document), 0o600);
    // In an existing root that others may enter.
    fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(
        bundle.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let read = run(as_tester("grep").args(["-r", "4711"]).arg(&root));
    assert_eq!(read.stdout, "", "{read:#?}");
}

#[test]
fn a_planted_link_is_not_written_through() {
    let (bundle, _) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = Deleted(&bundle);
    let victim = bundle.path().join("victim");
    fs::write(&victim, "kept").unwrap();
    let path = |name: &str| bundle.path().join(name);
    for name in ["run.pid", ".run.pid", "exec.pid", ".exec.pid"] {
        symlink(&victim, path(name)).unwrap();
    }
    let log = fs::File::create(path("log")).unwrap();
    let file = path("run.pid").display().to_string();
    let mut command = bundle.slipway(&["run", "-d", "--pid-file", &file, "c1"]);
    assert!(
        command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap()
            .success()
    );
    let file = path("exec.pid").display().to_string();
    succeed(&mut bundle.slipway(&["exec", "--pid-file", &file, "c1", "true"]));
    assert_eq!(fs::read(&victim).unwrap(), b"kept");
    for name in ["run.pid", "exec.pid"] {
        let written = path(name);
        assert!(
            !fs::symlink_metadata(&written).unwrap().is_symlink(),
            "{name}"
        );
        assert!(
            fs::read_to_string(&written).unwrap().parse::<i32>().is_ok(),
            "{name}"
        );
    }
}

#[test]
fn the_callers_session_keyring_stays_outside() {
    // keyctl(1) makes a session keyring with a name. /proc/keys lists the keys that a process may
    // view.
    let with_keyring = |command: &Command| {
        let mut keyctl = Command::new("keyctl");
        keyctl.args(["session", "of-the-caller"]);
        keyctl.arg(command.get_program()).args(command.get_args());
        succeed(
            keyctl
                .current_dir(command.get_current_dir().unwrap())
                .stdin(std::process::Stdio::null()),
        )
    };
    let describe = ["/bin/keyctl", "rdescribe", "@s"];
    for (flag, is_kept) in [(&[][..], false), (&["--no-new-keyring"], true)] {
        let with_keyctl = |args: &[&str]| {
            let (bundle, root) = own_root(args, |_| ());
            plant_keyctl(&root);
            bundle
        };
        let bundle = with_keyctl(&describe);
        let printed = with_keyring(&bundle.slipway(&[&["run"], flag, &["c1"]].concat()));
        assert_eq!(printed.contains("of-the-caller"), is_kept, "{printed}");
        let bundle = with_keyctl(&["/bin/sleep", "100"]);
        let _deleted = Deleted(&bundle);
        let log = fs::File::create(bundle.path().join("log")).unwrap();
        let mut command = bundle.slipway(&[&["run", "-d"], flag, &["c1"]].concat());
        assert!(
            command
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .status()
                .unwrap()
                .success()
        );
        let printed = with_keyring(&bundle.slipway(&[&["exec", "c1"], &describe[..]].concat()));
        assert_eq!(printed.contains("of-the-caller"), is_kept, "{printed}");
    }
}

/// Puts keyctl(1) into a root file system.
fn plant_keyctl(root: &Path) {
    for file in [
        "/bin/keyctl",
        "/lib/x86_64-linux-gnu/libkeyutils.so.1",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    ] {
        let target = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}
