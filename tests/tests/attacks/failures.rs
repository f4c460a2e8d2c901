//! Creations that fail. They must neither hang nor leave a process: in each layout of cgroups, as
//! root and as an ordinary user, with processes hidden, with a low limit, and when a signal comes
//! meanwhile.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Bundle, TESTER, UNIFIED, fixture, open_to_all, program, run, tester};

use crate::own_root;

/// Longest time for a failure on a busy machine.
const LIMIT: Duration = Duration::from_secs(8);

/// A change of a specification.
type Change = fn(&mut Value);

/// Returns specifications that turn out to be impossible at different stages of a creation.
fn impossible() -> Vec<(&'static str, Change)> {
    vec![
        ("oomScoreAdj", |spec| {
            spec["process"]["oomScoreAdj"] = json!(-1000)
        }),
        ("rlimits", |spec| {
            spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]);
        }),
        ("dev", |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/dev", "type": "nosuch", "source": "none"}));
        }),
        ("unknown file system", |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/x", "type": "nosuch", "source": "none"}));
        }),
        ("missing source", |spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.push(json!({"destination": "/x", "type": "bind", "source": "/nowhere", "options": ["bind"]}));
        }),
        ("missing program", |spec| {
            spec["process"]["args"] = json!(["/nosuch"])
        }),
        ("missing directory", |spec| {
            spec["process"]["cwd"] = json!("/bin/busybox")
        }),
        ("failing hook", |spec| {
            spec["hooks"] = json!({"createContainer": [{"path": "/bin/false", "args": ["false"]}]});
        }),
        ("namespace", |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "network");
            namespaces.push(json!({"type": "network", "path": "/proc/self/ns/mnt"}));
        }),
        ("no namespace", |spec| {
            let fifo = "/tmp/slipway-no-namespace";
            let _ = nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRUSR);
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "ipc");
            namespaces.push(json!({"type": "ipc", "path": fifo}));
        }),
        ("sysctl", |spec| {
            spec["linux"]["sysctl"] = json!({"net.nosuch": "1"})
        }),
        ("apparmor", |spec| {
            spec["process"]["apparmorProfile"] = json!("nosuch")
        }),
    ]
}

/// Returns the processes whose root file system or arguments name a bundle.
fn processes_of(bundle: &Bundle) -> Vec<String> {
    let path = bundle.path().display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| {
        let read =
            |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        entry.file_name().to_str()?.parse::<i32>().ok()?;
        let text = format!(
            "{} {}",
            read("comm").trim(),
            read("cmdline").replace('\0', " ")
        );
        let is_its = read("cgroup").contains(&bundle.id()) || text.contains(&path);
        is_its.then_some(text)
    });
    lines.collect()
}

#[test]
fn a_creation_that_fails_ends_in_each_layout() {
    for layout in [":", UNIFIED] {
        for (name, change) in impossible() {
            for command in ["run", "create"] {
                let (bundle, _) = own_root(&["/bin/true"], change);
                let begin = Instant::now();
                // A container that was made all the same would hold our pipes.
                let text = format!(
                    "$S {command} $I >/dev/null 2>errors; code=$?; [ $code -ne 0 ] || $S delete -f $I 2>/dev/null; \
                     cat errors >&2; exit $code"
                );
                let outcome = bundle.script(layout, &text);
                assert!(
                    begin.elapsed() < LIMIT,
                    "{name} {command}: {:?}",
                    begin.elapsed()
                );
                if name == "oomScoreAdj" && outcome.code == 0 {
                    // A privileged machine allows this.
                    continue;
                }
                assert_eq!(outcome.code, 1, "{name} {command} {layout:?}: {outcome:#?}");
                assert_eq!(
                    outcome.stderr.lines().count(),
                    1,
                    "{name} {command}: {outcome:#?}"
                );
                assert!(!outcome.stderr.contains("panick"), "{name}: {outcome:#?}");
                assert_eq!(bundle.left(), Vec::<String>::new(), "{name} {command}");
                assert_eq!(
                    processes_of(&bundle),
                    Vec::<String>::new(),
                    "{name} {command}"
                );
            }
        }
    }
}

#[test]
fn a_signal_ends_a_creation_that_waits() {
    for layout in [":", UNIFIED] {
        for signal in ["TERM", "INT", "HUP", "QUIT"] {
            let (bundle, _) = own_root(&["/bin/true"], |spec| {
                spec["hooks"] =
                    json!({"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]});
            });
            // A shell has its background ignore two of them, as nohup the third.
            let heeds = "env --default-signal=HUP,INT,QUIT,TERM";
            let text =
                format!("{heeds} $S run $I & sleep 0.5; kill -{signal} $!; wait $!; echo $?");
            let begin = Instant::now();
            let outcome = bundle.script(layout, &text);
            assert!(begin.elapsed() < LIMIT, "{signal} {layout:?}: {outcome:#?}");
            assert_ne!(outcome.stdout, "0\n", "{signal} {layout:?}: {outcome:#?}");
            tests::wait_for("the container's processes to end", LIMIT, || {
                processes_of(&bundle).is_empty()
            });
        }
    }
}

#[test]
fn a_frozen_cgroup_is_refused() {
    let (bundle, _) = own_root(&["/bin/true"], |_| ());
    let freeze = "mkdir -p /sys/fs/cgroup/$I; echo 1 >/sys/fs/cgroup/$I/cgroup.freeze; ";
    let outcome = bundle.script(
        UNIFIED,
        &format!("{freeze} $S run $I; code=$?; rmdir /sys/fs/cgroup/$I; exit $code"),
    );
    assert_eq!(outcome.code, 1, "{outcome:#?}");
    assert!(outcome.stderr.contains("is frozen"), "{outcome:#?}");
    if !Path::new("/sys/fs/cgroup/freezer").exists() {
        // The host has version 2 only.
        return;
    }
    let freeze = "mkdir -p /sys/fs/cgroup/freezer/$I; echo FROZEN >/sys/fs/cgroup/freezer/$I/freezer.state; ";
    let thaw =
        "echo THAWED >/sys/fs/cgroup/freezer/$I/freezer.state; rmdir /sys/fs/cgroup/freezer/$I;";
    let outcome = bundle.script(
        ":",
        &format!("{freeze} $S run $I; code=$?; {thaw} exit $code"),
    );
    assert_eq!(outcome.code, 1, "{outcome:#?}");
    assert!(outcome.stderr.contains("is frozen"), "{outcome:#?}");
}

/// As an ordinary user, with other users' processes hidden, as on most login nodes.
#[test]
fn hidden_processes_are_no_obstacle() {
    let uid = tester();
    for hidden in ["0", "1", "2"] {
        let directory = tests::home();
        let bundle = directory.path().join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        std::os::unix::fs::chown(&bundle, Some(uid), Some(uid)).unwrap();
        open_to_all(directory.path());
        let text = format!(
            "mount -t proc -o hidepid={hidden} proc /proc; exec setpriv --reuid {uid} --regid {uid} --clear-groups \
             --inh-caps=-all env XDG_RUNTIME_DIR={run} HOME=/home/{TESTER} sh -c '\
             cd {run}; {slipway} spec --rootless; \
             sed -i \"s,\\\"terminal\\\": true,\\\"terminal\\\": false,; s,\\\"sh\\\",\\\"true\\\",; s,\\\"rootfs\\\",\\\"{root}\\\",\" config.json; \
             {slipway} run c1; echo $?; {slipway} run -d c2 >/dev/null 2>&1; echo $?; \
             {slipway} delete -f c2; echo $?; {slipway} list -q'",
            run = bundle.display(),
            slipway = program("slipway").display(),
            root = fixture("bb").display(),
        );
        let mut command = Command::new("timeout");
        command.args([
            "-k",
            "5",
            "30",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--propagation",
            "private",
        ]);
        let outcome = run(command.args(["sh", "-c", &text]).stdin(Stdio::null()));
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            ("0\n0\n0\n", 0),
            "hidepid={hidden}: {outcome:#?}"
        );
    }
}

/// A filter that allows little more than the program needs does not end the container silently.
#[test]
fn a_filter_need_not_allow_what_the_runtime_does() {
    for no_new_privileges in [true, false] {
        // Without no_new_privileges, the kernel accepts a filter only from a process that still has
        // its capabilities.
        let mut calls = vec![
            "close_range",
            "recvfrom",
            "setgroups",
            "keyctl",
            "getcwd",
            "accept",
            "accept4",
        ];
        calls.extend(no_new_privileges.then_some("capset"));
        for forbidden in calls {
            let (bundle, _) = own_root(&["/bin/echo", "ran"], |spec| {
                spec["process"]["noNewPrivileges"] = no_new_privileges.into();
                spec["linux"]["seccomp"] = json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": [forbidden], "action": "SCMP_ACT_KILL_PROCESS"}],
                });
            });
            let outcome = run(&mut bundle.slipway(&["run", "c1"]));
            assert_eq!(
                (outcome.stdout.as_str(), outcome.code),
                ("ran\n", 0),
                "{forbidden}: {outcome:#?}"
            );
        }
    }
}

/// The container is complete but for its caller's file.
#[test]
fn a_process_id_that_cannot_be_written_leaves_nothing() {
    for has_processes in [true, false] {
        let (bundle, _) = own_root(&["/bin/sleep", "1000.375"], |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| has_processes || one["type"] != "pid");
            let script = format!("touch {}/ended", spec["root"]["path"].as_str().unwrap());
            spec["hooks"] =
                json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
        });
        for verb in ["create", "run"] {
            let began = Instant::now();
            let outcome = run(&mut bundle.slipway(&[verb, "--pid-file", "/nowhere/pid", "c1"]));
            assert!(outcome.stderr.contains("/nowhere/pid"), "{outcome:#?}");
            assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
            assert_eq!(bundle.left(), Vec::<String>::new());
            assert_eq!(crate::processes_with("sleep 1000.375"), Vec::<i32>::new());
            let ended = bundle.path().join("rootfs/ended");
            assert!(ended.exists(), "the last hook has run");
            std::fs::remove_file(ended).unwrap();
        }
    }
}

#[test]
fn a_document_without_end_is_not_read() {
    let (bundle, _) = own_root(&["true"], |_| ());
    let config = bundle.path().join("config.json");
    for name in ["zero", "fifo"] {
        let _ = std::fs::remove_file(&config);
        match name {
            "zero" => std::os::unix::fs::symlink("/dev/zero", &config).unwrap(),
            _ => tests::succeed(Command::new("mkfifo").arg(&config)).clear(),
        }
        let began = Instant::now();
        let outcome = run(&mut bundle.slipway(&["create", "c1"]));
        assert!(
            outcome.code == 1 && outcome.stderr.contains("it is no regular file"),
            "{outcome:#?}"
        );
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    }
}
