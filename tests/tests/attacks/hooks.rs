//! Hooks: their time, their signals, their surroundings, and what they leave when they fail.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Bundle, run, succeed};

use crate::own_root;

const POINTS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn set_hooks(bundle: &Bundle, change: impl Fn(&mut Value)) {
    let config = bundle.path().join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    change(&mut spec);
    fs::write(&config, spec.to_string()).unwrap();
}

/// A shell hook at a point, whose output goes to a file in the container's root.
fn shell(bundle: &Bundle, point: &str, script: &str, timeout: Option<u32>) {
    let told = match point {
        "startContainer" => "/told".into(),
        _ => bundle.path().join("rootfs/told").display().to_string(),
    };
    let script = format!("exec >>{told}; {script}");
    set_hooks(bundle, |spec| {
        let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        if let Some(timeout) = timeout {
            hook["timeout"] = json!(timeout);
        }
        spec["hooks"] = json!({point: [hook]});
    });
}

/// A state that is longer than a pipe holds, and a hook that does not read it.
#[test]
fn a_hook_that_does_not_read_ends_with_its_timeout() {
    for point in POINTS {
        let (bundle, _) = own_root(&["true"], |spec| {
            spec["annotations"] = json!({"long": "x".repeat(100_000)});
        });
        shell(&bundle, point, "exec sleep 20", Some(1));
        let began = Instant::now();
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{point}: {outcome:?}"
        );
        // Failures of the last kind are logged, as the specification says.
        assert_eq!(
            outcome.code == 0,
            point == "poststop",
            "{point}: {outcome:?}"
        );
        assert!(outcome.stderr.contains("time"), "{point}: {outcome:?}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// A hook that ends itself by a signal would otherwise not end, or count as a success.
#[test]
fn a_hook_has_no_signal_blocked_and_is_in_its_place() {
    for point in POINTS {
        let (bundle, root) = own_root(&["true"], |_| ());
        let script = "grep SigBlk /proc/self/status | tr -d '\\t'; pwd; wc -c | { read n; [ $n -gt 50 ] && echo state; }";
        shell(&bundle, point, script, None);
        succeed(&mut bundle.slipway(&["run", "c1"]));
        let told = fs::read_to_string(root.join("told")).unwrap();
        let place = match point {
            "startContainer" => "/".into(),
            // As with runc.
            "createContainer" => bundle.path().join("rootfs").display().to_string(),
            _ => bundle.path().display().to_string(),
        };
        let expected = format!("SigBlk:0000000000000000\n{place}\nstate\n");
        assert_eq!(told, expected, "{point}");
        shell(&bundle, point, "kill -SEGV $$; sleep 5", None);
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(
            outcome.code == 0,
            point == "poststop",
            "{point}: {outcome:?}"
        );
        assert!(!outcome.stderr.is_empty(), "{point}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

#[test]
fn a_hook_that_cannot_run_is_refused_in_words() {
    for (hook, words) in [
        (json!("x"), "hooks.createRuntime"),
        (json!([null, [1]]), "hooks.createRuntime"),
        (json!({"path": "true"}), "not absolute"),
        (json!({"path": "./hook"}), "not absolute"),
        (json!({"path": "/bin/true", "timeout": -1}), "not positive"),
    ] {
        for kind in ["cgroup", "uts"] {
            let (bundle, _) = own_root(&["true"], |spec| {
                let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|one| one["type"] != "cgroup");
                if kind == "cgroup" {
                    namespaces.push(json!({"type": "cgroup"}));
                }
                spec["hooks"] = json!({"createRuntime": [hook.clone()]});
            });
            let outcome = run(&mut bundle.slipway(&["run", "c1"]));
            assert_eq!(outcome.code, 1, "{hook}: {outcome:?}");
            assert!(outcome.stderr.contains(words), "{hook}: {outcome:?}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
            assert_eq!(bundle.left(), Vec::<String>::new());
        }
    }
}

/// Drivers want the mounts that their hook makes inside `/proc`. Children of a hook that takes too
/// long end with it.
#[test]
fn a_hook_may_mount_and_leaves_nothing_when_it_ends_late() {
    let (bundle, root) = own_root(
        &["/bin/sh", "-c", "grep -c ' /proc/tty ' /proc/mounts"],
        |_| (),
    );
    let mount = format!("mount -t tmpfs hook {}/proc/tty", root.display());
    shell(&bundle, "createContainer", &mount, None);
    let printed = succeed(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(printed, "1\n");
    for point in ["poststart", "poststop"] {
        let (bundle, _) = own_root(&["true"], |_| ());
        let mark = format!("31{}", std::process::id());
        shell(
            &bundle,
            point,
            &format!("sleep {mark} & sleep {mark}"),
            Some(1),
        );
        let _ = run(&mut bundle.slipway(&["run", "c1"]));
        let left = run(std::process::Command::new("pgrep").args(["-f", &format!("sleep {mark}")]));
        assert_eq!(left.stdout, "", "{point}");
    }
}

/// A container whose hook fails after its start is not left running.
#[test]
fn a_hook_that_fails_after_the_start_ends_the_container() {
    let (bundle, _) = own_root(&["sleep", "60"], |_| ());
    let _deleted = crate::Deleted(&bundle);
    shell(&bundle, "poststart", "exit 1", None);
    let mut create = bundle.slipway(&["create", "c1"]);
    create
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    assert!(create.status().unwrap().success());
    let outcome = run(&mut bundle.slipway(&["start", "c1"]));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let state = succeed(&mut bundle.slipway(&["state", "c1"]));
    assert!(state.contains("\"stopped\""), "{state}");
}

/// A hook may use the terminal of the user who runs the container: a process group of its own would
/// be stopped there.
#[test]
fn a_hook_may_use_the_terminal() {
    for point in ["createRuntime", "poststart", "poststop"] {
        let (bundle, root) = own_root(&["true"], |_| ());
        shell(&bundle, point, "stty echo </dev/tty && echo set", None);
        let slipway = bundle.slipway(&["run", "c1"]);
        let words: Vec<_> = [slipway.get_program()]
            .into_iter()
            .chain(slipway.get_args())
            .collect();
        let words: Vec<String> = words
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        let command = words.join(" ");
        succeed(
            std::process::Command::new("timeout")
                .args(["-k", "1", "10", "script", "-qec", &command, "/dev/null"])
                .stdin(std::process::Stdio::null())
                .current_dir(bundle.path()),
        );
        let told = fs::read_to_string(root.join("told")).unwrap();
        assert_eq!(told, "set\n", "{point}");
    }
}

/// The container is deleted when the last hooks run: one that deletes it once more finds nothing.
#[test]
fn a_last_hook_finds_no_container() {
    let (bundle, root) = own_root(&["true"], |_| ());
    let delete = bundle.slipway(&["delete", "-f", "c1"]);
    let state = bundle.slipway(&["state", "c1"]);
    let words = |command: &std::process::Command| {
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let words: Vec<String> = words.map(|word| word.display().to_string()).collect();
        words.join(" ")
    };
    let script = format!("{} 2>&1; {} 2>&1; echo $?", words(&state), words(&delete));
    shell(&bundle, "poststop", &script, Some(10));
    succeed(&mut bundle.slipway(&["run", "c1"]));
    let told = fs::read_to_string(root.join("told")).unwrap();
    assert!(told.contains("container does not exist"), "{told}");
    assert!(told.ends_with("\n0\n"), "{told}");
}

/// Most login nodes hide other users' processes, and an ordinary user's container too once it has
/// ids of its own.
#[test]
fn a_hook_runs_where_processes_are_hidden() {
    let (bundle, root) = own_root(&["true"], |spec| {
        crate::for_an_ordinary_user(spec);
        let linux = spec["linux"].as_object_mut().unwrap();
        let uid = tests::tester();
        linux.insert(
            "uidMappings".into(),
            json!([{"containerID": 0, "hostID": uid, "size": 1}]),
        );
        linux.insert(
            "gidMappings".into(),
            json!([{"containerID": 0, "hostID": uid, "size": 1}]),
        );
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
    });
    shell(&bundle, "createRuntime", "echo ran", None);
    succeed(
        std::process::Command::new("chown")
            .args(["-R", tests::TESTER])
            .arg(bundle.path()),
    );
    let script = format!(
        "exec setpriv --reuid {user} --regid {user} --clear-groups $S run $I",
        user = tests::TESTER
    );
    let before = "mount -t proc -o hidepid=2 proc /proc";
    let outcome = bundle.script(before, &script);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(fs::read_to_string(root.join("told")).unwrap(), "ran\n");
}

/// The runtime may have been killed before its hook's first instruction.
#[test]
fn a_hook_without_its_runtime_does_not_begin() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("begun");
    let begin = |parent: &str, state: &str| {
        let script = "printf '%s' \"$2\" | \"$1\" hook / \"${3:-$$}\" /bin/touch touch \"$4\"";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "sh"])
            .arg(tests::program("slipway"));
        let outcome = run(shell.args([state, parent]).arg(&file));
        (outcome.code == 0, file.exists(), outcome.stderr)
    };
    let (_, is_begun, error) = begin(&std::process::id().to_string(), "{}");
    assert!(
        !is_begun && error.contains("the runtime has ended"),
        "{error}"
    );
    let (_, is_begun, error) = begin("", "");
    assert!(
        !is_begun && error.contains("the runtime has ended"),
        "{error}"
    );
    let (is_well, is_begun, error) = begin("", "{}");
    assert!(is_well && is_begun, "{error}");
}
