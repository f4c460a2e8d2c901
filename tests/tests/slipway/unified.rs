//! `slipway` with cgroups of version 2 only: in a mount namespace that has no others mounted. The
//! available controllers depend on the host's other uses, so limits are not tested here.

use tests::{Bundle, Outcome, UNIFIED};

/// Runs a script in which `$S` is `slipway` with its root, on a hierarchy of version 2.
fn unified(bundle: &Bundle, script: &str) -> Outcome {
    bundle.script(UNIFIED, &format!("set -e; {script}"))
}

#[test]
fn the_life_of_a_container() {
    // The document is written where the host may have old hierarchies.
    let bundle = Bundle::new(&["sleep", "100"], |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "cgroup");
        namespaces.push(serde_json::json!({"type": "cgroup"}));
    });
    let script = r#"
        $S run -d $I >/dev/null 2>&1
        pid=$($S state $I | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
        grep -q "^0::/$I$" /proc/$pid/cgroup && echo in its cgroup
        $S exec $I cat /proc/self/cgroup | grep '^0:'
        test "$($S ps -f json $I)" = "[$pid]" && echo listed
        $S pause $I; $S state $I | grep -o '"status": "[a-z]*"'
        $S exec $I true || echo refused
        $S resume $I; $S state $I | grep -o '"status": "[a-z]*"'
        $S delete -f $I
        test ! -e /sys/fs/cgroup/$I && echo removed
    "#;
    let outcome = unified(&bundle, script);
    let expected = "in its cgroup\n0::/\nlisted\n\"status\": \"paused\"\nrefused\n\
                    \"status\": \"running\"\nremoved\n";
    assert_eq!(
        (outcome.stdout.as_str(), outcome.code),
        (expected, 0),
        "{outcome:?}"
    );
    assert_eq!(bundle.left(), Vec::<String>::new());
}

#[test]
fn devices_are_filtered() {
    let script = "mknod /dev/x c 10 200; dd if=/dev/x count=1 2>&1; cat /dev/null && echo null";
    let bundle = Bundle::new(&["sh", "-c", script], |spec| {
        for set in ["bounding", "effective", "permitted"] {
            let set = spec["process"]["capabilities"][set].as_array_mut().unwrap();
            set.push("CAP_MKNOD".into());
        }
        spec["linux"]["resources"]["devices"] =
            serde_json::json!([{"allow": false, "access": "rwm"}]);
    });
    let outcome = unified(&bundle, "$S run $I");
    assert!(
        outcome.stdout.contains("Operation not permitted"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.ends_with("null\n"), "{outcome:?}");
}

#[test]
fn a_container_that_cannot_be_made_leaves_nothing() {
    for args in [["nosuch"], ["/etc/passwd"]] {
        let bundle = Bundle::new(&args, |_| ());
        let outcome = unified(&bundle, "$S run $I || echo $?; test ! -e /sys/fs/cgroup/$I");
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            ("1\n", 0),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains("exec: "), "{outcome:?}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

#[test]
fn hooks_see_the_true_cgroup() {
    let bundle = Bundle::new(&["true"], |spec| {
        let script = r#"id=$(sed 's/.*"id": *"\([^"]*\)".*/\1/'); ls /sys/fs/cgroup/$id/cgroup.type >hooked"#;
        let hook = serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        spec["hooks"] = serde_json::json!({"createRuntime": [hook]});
    });
    let outcome = unified(&bundle, "$S run $I; cat hooked");
    let expected = format!("/sys/fs/cgroup/{}/cgroup.type\n", bundle.id());
    assert_eq!(
        (outcome.stdout, outcome.code),
        (expected, 0),
        "{}",
        outcome.stderr
    );
}
