//! CVE-2019-16884: a mount over a part of `/proc`, where a runtime then writes labels and limits.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use tests::run;

use crate::own_root;

#[test]
fn nothing_is_mounted_inside_proc() {
    for (destination, kind) in [
        ("/proc/self/attr", "tmpfs"),
        ("/proc/sys", "tmpfs"),
        ("/link", "tmpfs"),
        ("/proc", "tmpfs"),
        ("/up/../proc/1", "tmpfs"),
    ] {
        let (bundle, root) = own_root(&["/bin/true"], |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": destination, "type": kind, "source": "none"}));
        });
        symlink("/proc/self", root.join("link")).unwrap();
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(outcome.code, 1, "{destination}: {outcome:#?}");
        assert!(
            outcome.stderr.contains("proc"),
            "{destination}: {outcome:#?}"
        );
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// Somebody else who may write to the root exchanges a directory for a link while the container is
/// made: between the look at the destination and the mount. The link leads to a place where nothing
/// may be, or to one that the container makes read-only itself.
#[test]
fn a_link_that_comes_in_between_leads_no_mount_into_proc() {
    let script =
        "grep ' - tmpfs raced ' /proc/self/mountinfo | grep ' /proc/' && echo mounted; true";
    let mut codes = Vec::new();
    for target in ["/proc/self/attr", "/proc/bus"] {
        let (bundle, root) = own_root(&["/bin/sh", "-c", script], |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/data", "type": "tmpfs", "source": "raced"}));
        });
        fs::create_dir(root.join("data")).unwrap();
        symlink(target, root.join("link")).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let (one, other) = (root.join("data"), root.join("link"));
                    let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
                    std::thread::sleep(std::time::Duration::from_micros(25));
                }
            });
            for _ in 0..30 {
                let outcome = run(&mut bundle.slipway(&["run", "c1"]));
                if outcome.stdout.contains("mounted") {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("{outcome:?}");
                }
                codes.push(outcome.code);
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
    // Both sides of the race were seen: refused in time, and run.
    assert!(codes.contains(&0) && codes.contains(&1), "{codes:?}");
}
