//! `slipway` without an engine, as root: runc's command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Bundle, Outcome, fixture, home, program, run, run_with_input, succeed, wait_for};

#[test]
fn run_returns_what_the_program_does() {
    let rows: [(&[&str], i32); 3] = [
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["true"], 0),
    ];
    for (args, code) in rows {
        // As the first process of a pid namespace, a shell could not kill itself.
        let bundle = Bundle::new(args, |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "pid");
        });
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(outcome.code, code, "{args:?}: {outcome:?}");
        assert!(bundle.left().is_empty(), "{:?}", bundle.left());
    }
    let bundle = Bundle::new(&["cat"], |_| ());
    let outcome = run_with_input(&mut bundle.slipway(&["run", "c1"]), b"through\n");
    assert_eq!(outcome.stdout, "through\n", "{outcome:?}");
}

#[test]
fn a_root_without_a_mount_at_dev_is_run_again() {
    let bundle = Bundle::new(&["sh", "-c", "ls -l /dev; echo hi >/dev/null"], |spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        spec["root"] = serde_json::json!({"path": "rootfs"});
    });
    let root = bundle.root();
    fs::remove_dir_all(root.join("dev")).unwrap();
    fs::create_dir(root.join("dev")).unwrap();
    let first = succeed(&mut bundle.slipway(&["run", "c1"]));
    assert!(first.contains(" stdin -> /proc/self/fd/0"), "{first}");
    let names = |listed: &str| -> Vec<String> {
        let names = listed
            .lines()
            .filter_map(|line| line.split_whitespace().nth(8));
        names.map(str::to_owned).collect()
    };
    for _ in 0..2 {
        let again = succeed(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(names(&again), names(&first));
    }
}

/// Images have links to files that only a running system has.
#[test]
fn mounts_follow_links_to_what_is_missing() {
    let links = [
        ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ("etc/localtime", "/usr/share/zoneinfo/Nowhere/City"),
        ("data", "/srv/../../srv/data"),
    ];
    let script = "cat /etc/resolv.conf /etc/localtime; ls /data; ls -d /srv/data; pwd";
    let volume = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = volume.path().join("file");
    fs::write(&file, "text\n").unwrap();
    let bundle = Bundle::new(&["sh", "-c", script], |spec| {
        let binds = [
            ("/etc/resolv.conf", file.as_path()),
            ("/etc/localtime", &file),
            ("/data", volume.path()),
        ];
        for (destination, source) in binds {
            let mount = serde_json::json!({"destination": destination, "type": "bind", "source": source,
                "options": ["rbind"]});
            spec["mounts"].as_array_mut().unwrap().push(mount);
        }
        spec["process"]["cwd"] = "/data".into();
    });
    for (link, target) in links {
        let path = bundle.root().join(link);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    let expected = "text\ntext\nfile\n/srv/data\n/srv/data\n";
    assert_eq!(outcome.stdout, expected, "{outcome:?}");
}

#[test]
fn the_life_of_a_container() {
    let bundle = Bundle::new(&["sleep", "100"], |_| ());
    // The container keeps its streams open.
    let quiet = |args: &[&str]| {
        let status = bundle
            .slipway(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        status.code().or(status.signal()).unwrap()
    };
    let state = || {
        serde_json::from_str::<serde_json::Value>(&succeed(&mut bundle.slipway(&["state", "c1"])))
            .unwrap()
    };
    let pid_file = bundle.path().join("pid");
    assert_eq!(
        quiet(&["create", "--pid-file", pid_file.to_str().unwrap(), "c1"]),
        0
    );
    assert_eq!(state()["status"], "created");
    assert_eq!(state()["bundle"], bundle.path().display().to_string());
    assert_eq!(
        fs::read_to_string(pid_file).unwrap(),
        state()["pid"].to_string()
    );
    let again = run(&mut bundle.slipway(&["create", "c1"]));
    assert_eq!(again.code, 1);
    assert!(
        again
            .stderr
            .contains("container with given ID already exists"),
        "{again:?}"
    );
    assert_eq!(quiet(&["start", "c1"]), 0);
    assert_eq!(state()["status"], "running");
    let refused = |args: &[&str], words: &str| {
        let outcome: Outcome = run(&mut bundle.slipway(args));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
    };
    refused(
        &["start", "c1"],
        "cannot start an already running container",
    );
    refused(&["delete", "c1"], "that is not stopped: running");
    refused(&["kill", "c1", "FOO"], "unknown signal");
    refused(&["state", "c2"], "container does not exist");
    refused(&["delete", "c2"], "container does not exist");
    assert_eq!(quiet(&["delete", "--force", "c2"]), 0);
    let list = succeed(&mut bundle.slipway(&["list"]));
    assert!(list.starts_with("ID "), "{list}");
    assert_eq!(quiet(&["kill", "c1", "0"]), 0);
    assert_eq!(quiet(&["kill", "c1", "KILL"]), 0);
    wait_for("the end", Duration::from_secs(2), || {
        state()["status"] == "stopped"
    });
    refused(&["kill", "c1"], "container not running");
    assert_eq!(quiet(&["delete", "c1"]), 0);
    assert!(bundle.left().is_empty(), "{:?}", bundle.left());
}

#[test]
fn a_container_that_cannot_be_made_leaves_nothing() {
    type Change = fn(&mut serde_json::Value);
    let rows: [(&str, Change); 6] = [
        ("executable file not found in $PATH", |spec| {
            spec["process"]["args"] = ["nosuch"].into();
        }),
        ("linux is missing", |spec| {
            spec["linux"] = serde_json::Value::Null;
        }),
        ("has no source", |spec| {
            spec["mounts"]
                .as_array_mut()
                .unwrap()
                .push(serde_json::json!({"destination": "/x", "type": "bind"}));
        }),
        ("it has no id mappings", |spec| {
            let mount = serde_json::json!({"destination": "/x", "source": "/tmp", "options": ["bind", "idmap"]});
            spec["mounts"].as_array_mut().unwrap().push(mount);
        }),
        ("needs a console socket", |spec| {
            spec["process"]["terminal"] = true.into();
        }),
        ("root.path is missing", |spec| {
            spec["root"]["path"] = "".into();
        }),
    ];
    for (words, change) in rows {
        let bundle = Bundle::new(&["true"], change);
        let outcome = run(&mut bundle.slipway(&["create", "c1"]));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
        assert!(bundle.left().is_empty(), "{words}: {:?}", bundle.left());
    }
}

#[test]
fn a_short_container_never_hangs() {
    let bundle = Bundle::new(&["true"], |_| ());
    for round in 0..100 {
        let mut child = bundle.slipway(&["run", "c1"]).spawn().unwrap();
        wait_for(&format!("round {round}"), Duration::from_secs(10), || {
            child.try_wait().unwrap().is_some()
        });
        assert!(child.wait().unwrap().success());
    }
    assert!(bundle.left().is_empty());
}

#[test]
fn a_terminal_in_the_foreground() {
    let bundle = Bundle::new(&["sh", "-c", "tty; stty size; exit 5"], |spec| {
        spec["process"]["terminal"] = true.into();
    });
    let command = format!(
        "stty rows 30 cols 90; {} --root {}/state run -b {} {}",
        program("slipway").display(),
        bundle.path().display(),
        bundle.path().display(),
        bundle.id()
    );
    let outcome = run_with_input(
        Command::new("script").args(["-qec", &command, "/dev/null"]),
        b"",
    );
    assert!(
        outcome.stdout.contains("/dev/pts/0") && outcome.stdout.contains("30 90"),
        "{outcome:?}"
    );
    assert_eq!(outcome.code, 5, "{outcome:?}");
}

#[test]
fn the_log_holds_the_last_error() {
    let bundle = Bundle::new(&["nosuch"], |_| ());
    let log = bundle.path().join("log");
    let mut command = bundle.slipway(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "create",
        "c1",
    ]);
    assert_eq!(run(&mut command).code, 1);
    let text = fs::read_to_string(log).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "error");
    assert!(
        last["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found"),
        "{last}"
    );
}

#[test]
fn what_a_killed_runtime_left_can_be_listed_and_deleted() {
    let bundle = Bundle::new(&["sleep", "100"], |_| ());
    // A list of a root that is named and missing is an error, as with runc.
    assert_ne!(run(&mut bundle.slipway(&["list"])).code, 0);
    fs::create_dir(bundle.path().join("state")).unwrap();
    for moment in 0..20u64 {
        let mut child = bundle
            .slipway(&["run", "-d", "c1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(moment * 2));
        let _ = child.kill();
        child.wait().unwrap();
        // Other processes finish their work.
        std::thread::sleep(Duration::from_millis(20));
        succeed(&mut bundle.slipway(&["list"]));
        succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
        assert!(bundle.left().is_empty(), "{moment}: {:?}", bundle.left());
    }
    let broken = bundle.path().join("state").join(bundle.id());
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("state.json"), "{\"id\":").unwrap();
    succeed(&mut bundle.slipway(&["list"]));
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    assert!(bundle.left().is_empty());
}

#[test]
fn another_specification_decides_on_the_terminal_too() {
    let bundle = Bundle::new(&["tty"], |_| ());
    let path = bundle.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    spec["process"]["terminal"] = true.into();
    let other = bundle.path().join("other.json");
    fs::write(&other, spec.to_string()).unwrap();
    let other = other.display().to_string();
    let seen = succeed(&mut bundle.slipway(&["run", "--config", &other, "c1"]));
    assert!(seen.starts_with("/dev/pts/"), "{seen:?}");
}

/// Its first process is undumpable, so nobody else could enter the network.
#[test]
fn an_ordinary_users_own_network_has_a_loopback_interface() {
    let home = home();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let slipway = |args: &[&str]| {
        let mut slipway = tests::as_tester(program("slipway"));
        let state = home.path().join("state");
        slipway.arg("--root").arg(state).args(args);
        slipway.current_dir(home.path());
        slipway
    };
    succeed(&mut slipway(&["spec", "--rootless"]));
    let config = home.path().join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = serde_json::json!(["ip", "address", "show", "lo"]);
    spec["root"]["path"] = fixture("bb").display().to_string().into();
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(serde_json::json!({"type": "network"}));
    fs::write(&config, spec.to_string()).unwrap();
    let seen = succeed(slipway(&["run", "c1"]).stdin(Stdio::null()));
    assert!(seen.contains("127.0.0.1") && seen.contains("UP"), "{seen}");
}

/// As systemd does for a service of type notify.
#[test]
fn a_program_reports_that_it_is_ready() {
    let program = "import os, socket, time\n\
                   s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                   s.sendto(b'STATUS=soon', os.environ['NOTIFY_SOCKET'])\n\
                   s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n\
                   time.sleep(100)";
    let bundle = Bundle::new(&["python3", "-c", program], |spec| {
        spec["root"]["path"] = fixture("py").display().to_string().into();
        let run = serde_json::json!({"destination": "/run", "type": "tmpfs", "source": "run"});
        spec["mounts"].as_array_mut().unwrap().push(run);
    });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let told = || {
        let mut bytes = [0; 100];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    for steps in [&["run -d c1"][..], &["create c1", "start c1"]] {
        for step in steps {
            let words: Vec<&str> = step.split(' ').collect();
            let mut slipway = bundle.slipway(&words);
            // The barrier's other end is closed by nobody here, and so waits until this ends.
            let mut child = slipway.env("NOTIFY_SOCKET", &path).stdin(Stdio::null());
            child = child.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = child.spawn().unwrap();
            if *step != "create c1" {
                assert_eq!(told(), "READY=1\n");
                let state = succeed(&mut bundle.slipway(&["state", "c1"]));
                let pid = serde_json::from_str::<serde_json::Value>(&state).unwrap()["pid"].clone();
                assert_eq!(told(), format!("MAINPID={pid}\n"));
                assert_eq!(told(), "BARRIER=1");
            }
            assert!(child.wait().unwrap().success());
        }
        succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
        assert!(bundle.left().is_empty(), "{:?}", bundle.left());
    }
    // A manager that is gone is told nothing, and the container runs all the same.
    let mut slipway = bundle.slipway(&["run", "-d", "c1"]);
    slipway.env("NOTIFY_SOCKET", directory.path().join("gone"));
    slipway
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(slipway.status().unwrap().success());
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    // Nobody waits for one that ends before.
    let bundle = Bundle::new(&["true"], |spec| {
        let run = serde_json::json!({"destination": "/run", "type": "tmpfs", "source": "run"});
        spec["mounts"].as_array_mut().unwrap().push(run);
    });
    let mut slipway = bundle.slipway(&["run", "c1"]);
    succeed(slipway.env("NOTIFY_SOCKET", &path));
}

/// The caller lets everybody write to its files, and wants no news of its children.
#[test]
fn what_the_caller_is_used_to_changes_nothing() {
    let bundle = Bundle::new(&["sh", "-c", "exit 7"], |_| ());
    let show = "find /sys/fs/cgroup -maxdepth 2 -name $I -perm /022";
    let script = format!(
        "umask 0; trap '' CHLD; $S create $I </dev/null; {show}; $S delete -f $I; $S run $I; echo $?"
    );
    let outcome = bundle.script(":", &script);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("7\n", "")
    );
}

#[test]
fn limits_that_the_library_leaves_out_are_set() {
    let old = std::path::Path::new("/sys/fs/cgroup/memory");
    let bundle = Bundle::new(&["true"], |spec| {
        spec["linux"]["resources"] = serde_json::json!({
            "cpu": {"burst": 50_000, "quota": 100_000, "period": 100_000},
            "memory": {"disableOOMKiller": old.exists()},
        });
    });
    let show = "cat /sys/fs/cgroup/cpu/$I/cpu.cfs_burst_us /sys/fs/cgroup/$I/cpu.max.burst 2>/dev/null; \
        head -n 1 /sys/fs/cgroup/memory/$I/memory.oom_control 2>/dev/null";
    let outcome = bundle.script(
        ":",
        &format!("$S create $I </dev/null; {show}; $S delete -f $I"),
    );
    let expected = match old.exists() {
        true => "50000\noom_kill_disable 1\n",
        false => "50000\n",
    };
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        (expected, "")
    );
    // No kernel since 5.0 has this.
    let bundle = Bundle::new(&["true"], |spec| {
        spec["linux"]["resources"] = serde_json::json!({"blockIO": {"leafWeight": 500}});
    });
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert!(
        outcome.code == 1 && outcome.stderr.contains("blockIO.leafWeight"),
        "{outcome:?}"
    );
    assert!(bundle.left().is_empty(), "{:?}", bundle.left());
}
