//! CVE-2019-16884: a mount over a part of `/proc`, where a runtime then writes labels and limits.

use std::os::unix::fs::symlink;

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
