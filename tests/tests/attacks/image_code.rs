//! CVE-2019-14271: an image contains modules for the C library. A process of the runtime would load
//! them as soon as it looks up a name or an encoding in the container's root.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tests::{Daemon, home, keep_below, program, run, succeed};

use crate::{copy_bb, own_root};

/// Files that the C library loads or trusts: each is made a trap. `/etc/passwd` and `/etc/group`
/// are read as data, by readers with a limit, and are not traps.
const TRAPS: [&str; 12] = [
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/services",
    "/usr/lib/locale/locale-archive",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
    "/usr/lib/x86_64-linux-gnu/libnss_files.so.2",
    "/usr/share/zoneinfo/UTC",
];

/// Adds a module of the name service that leaves a file behind when a process loads it, and the C
/// library that it needs.
fn plant_module(root: &Path) {
    let libraries = root.join("lib/x86_64-linux-gnu");
    fs::create_dir_all(&libraries).unwrap();
    fs::create_dir_all(root.join("lib64")).unwrap();
    let source = libraries.join("evil.c");
    let code = "#include <fcntl.h>\n__attribute__((constructor)) void go(void) \
                { open(\"/loaded\", O_CREAT | O_WRONLY, 0644); }\n";
    fs::write(&source, code).unwrap();
    succeed(
        Command::new("gcc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(libraries.join("libnss_evil.so.2"))
            .arg(&source),
    );
    for name in ["libc.so.6", "ld-linux-x86-64.so.2"] {
        fs::copy(
            Path::new("/lib/x86_64-linux-gnu").join(name),
            libraries.join(name),
        )
        .unwrap();
    }
    fs::copy(
        "/lib64/ld-linux-x86-64.so.2",
        root.join("lib64/ld-linux-x86-64.so.2"),
    )
    .unwrap();
    let mut lines = String::new();
    for database in [
        "passwd",
        "group",
        "initgroups",
        "hosts",
        "shadow",
        "services",
    ] {
        lines += &format!("{database}: evil files\n");
    }
    fs::write(root.join("etc/nsswitch.conf"), lines).unwrap();
}

/// Returns environments in which a runtime has to find a home directory itself, and one in which it
/// does not.
fn environments() -> [serde_json::Value; 4] {
    [
        json!([]),
        json!(["PATH=/bin", "HOME="]),
        json!(["PATH=/bin", "HOME=/x", "HOME="]),
        json!(["PATH=/bin", "HOME=/x"]),
    ]
}

#[test]
fn no_module_of_an_image_is_loaded_by_hand() {
    for env in environments() {
        for user in [0, 4711] {
            let (bundle, root) = own_root(&["/bin/sh", "-c", "echo $HOME"], |spec| {
                spec["process"]["env"] = env.clone();
                spec["process"]["user"] = json!({"uid": user, "gid": user});
                spec["root"]["readonly"] = false.into();
            });
            plant_module(&root);
            let printed = succeed(&mut bundle.slipway(&["run", "c1"]));
            let is_given = env.as_array().unwrap().last() == Some(&json!("HOME=/x"));
            let expected = match (is_given, user) {
                (true, _) => "/x\n",
                (false, 0) => "/root\n",
                (false, _) => "/\n",
            };
            assert_eq!(printed, expected, "{env} {user}");
            assert!(!root.join("loaded").exists(), "{env} {user}");
        }
    }
}

#[test]
fn no_module_of_an_image_is_loaded_by_a_process_that_enters() {
    let (bundle, root) = own_root(&["/bin/sleep", "100"], |spec| {
        spec["root"]["readonly"] = false.into();
        spec["process"]["env"] = json!([]);
    });
    plant_module(&root);
    let _deleted = crate::Deleted(&bundle);
    crate::start(&bundle);
    for args in [
        vec!["exec", "c1", "/bin/true"],
        vec!["exec", "-u", "4711", "c1", "/bin/true"],
    ] {
        succeed(&mut bundle.slipway(&args));
    }
    assert!(!root.join("loaded").exists());
}

#[test]
fn no_module_of_an_image_is_loaded_under_podman() {
    let home = home();
    let root = home.path().join("rootfs");
    copy_bb(&root);
    plant_module(&root);
    for more in [
        &[][..],
        &[
            "--user=4711",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
        ],
    ] {
        let mut podman = Command::new("podman");
        keep_below(&mut podman, home.path())
            .arg("--runtime")
            .arg(program("slipway"))
            .args(["run", "--rm", "--network", "none", "--unsetenv=HOME"])
            .args(more)
            .arg("--rootfs")
            .arg(&root)
            .arg("/bin/true");
        succeed(&mut podman);
        assert!(!root.join("loaded").exists(), "{more:?}");
    }
}

#[test]
fn no_module_of_an_image_is_loaded_under_docker() {
    let home = home();
    let root = home.path().join("rootfs");
    copy_bb(&root);
    plant_module(&root);
    let runtimes = json!({"slipway": {"path": program("slipway")}});
    let daemon = Daemon::docker(home.path(), &runtimes);
    let tar = home.path().join("evil.tar");
    succeed(
        Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tar)
            .arg("."),
    );
    succeed(&mut daemon.client(&["import", &tar.display().to_string(), "evil"]));
    let script = "test ! -e /loaded && echo clean";
    for more in [
        &[][..],
        &[
            "--user=4711",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
        ],
    ] {
        let mut args = vec!["run", "--rm", "--runtime=slipway", "--network=none"];
        args.extend(more);
        args.extend(["evil", "/bin/sh", "-c", script]);
        assert_eq!(succeed(&mut daemon.client(&args)), "clean\n", "{more:?}");
    }
}

/// Returns the system calls that name files, of a command and of all processes that it starts, each
/// until it executes its next program.
fn traced(mut command: Command, trace: &Path) -> Vec<String> {
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "trace=file", "-o"])
        .arg(trace);
    strace.arg(command.get_program()).args(args);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        strace.current_dir(directory);
    }
    let outcome = run(strace.stdin(std::process::Stdio::null()));
    assert_eq!(outcome.code, 0, "{command:?}: {outcome:#?}");
    command.env_clear();
    fs::read_to_string(trace)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Returns the calls in which a process of ours looked at a trap inside the container's root: after
/// it has changed its root or its mount namespace, and before it executes the container's program.
fn touched(calls: &[String]) -> Vec<String> {
    let mut inside: std::collections::HashSet<&str> = std::collections::HashSet::new();
    let mut found = Vec::new();
    for call in calls {
        let Some((pid, call)) = call.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if call.starts_with("pivot_root(") || call.starts_with("chroot(") {
            inside.insert(pid);
        } else if call.starts_with("execve") && call.ends_with("= 0") {
            inside.remove(pid);
        } else if inside.contains(pid)
            && TRAPS
                .iter()
                .any(|trap| call.contains(&format!("\"{trap}\"")))
        {
            found.push(call.to_owned());
        }
    }
    found
}

#[test]
fn no_process_of_ours_looks_at_what_the_c_library_would_load() {
    let (bundle, root) = own_root(&["/bin/true"], |spec| {
        spec["process"]["env"] = json!([]);
        spec["hostname"] = "here".into();
    });
    plant_module(&root);
    for trap in TRAPS {
        let path = root.join(trap.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            fs::write(path, "trap").unwrap();
        }
    }
    let trace = bundle.path().join("trace");
    let calls = traced(bundle.slipway(&["run", "c1"]), &trace);
    assert!(
        calls.iter().any(|call| call.contains("pivot_root")),
        "the trace shows too little"
    );
    assert_eq!(touched(&calls), Vec::<String>::new());
}

#[test]
fn a_database_of_users_without_end_is_not_read_to_its_end() {
    for target in ["/dev/zero", "/dev/tty", "pipe"] {
        let (bundle, root) = own_root(&["/bin/sh", "-c", "echo $HOME"], |spec| {
            spec["process"]["env"] = json!([]);
        });
        fs::remove_file(root.join("etc/passwd")).unwrap();
        if target == "pipe" {
            nix::unistd::mkfifo(&root.join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        } else {
            std::os::unix::fs::symlink(target, root.join("etc/passwd")).unwrap();
        }
        let mut limited = Command::new("timeout");
        let slipway = bundle.slipway(&["run", "c1"]);
        limited.args(["10", "sh", "-c", "ulimit -v 4000000; exec \"$@\"", "sh"]);
        limited.arg(slipway.get_program()).args(slipway.get_args());
        assert_eq!(
            succeed(limited.current_dir(bundle.path())),
            "/\n",
            "{target}"
        );
    }
}
