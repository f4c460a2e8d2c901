//! Descriptors of the host in processes that a container can look into: those that enter it, those
//! that wait in it, and those that its program inherits.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::{run, succeed, wait_for};

use crate::own_root;

/// Another container in the same PID namespace, with CAP_SYS_PTRACE, could reach the host's files
/// through them as long as the first one waits for its start.
#[test]
fn a_container_that_waits_has_no_file_open() {
    for hooks in [false, true] {
        let (bundle, _) = own_root(&["true"], |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "cgroup");
            namespaces.push(json!({"type": "cgroup"}));
            if hooks {
                spec["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
            }
        });
        let _deleted = crate::Deleted(&bundle);
        let mut create = bundle.slipway(&["create", "c1"]);
        create.env("SLIPWAY_SECRET", "of the caller");
        create.stdout(std::process::Stdio::null());
        create.stderr(std::process::Stdio::null());
        assert!(create.status().unwrap().success());
        let pid = crate::pid(&bundle);
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert!(environment.iter().all(|byte| *byte == 0));
        let open = format!("/proc/{pid}/fd");
        let mut seen = 0;
        for entry in fs::read_dir(open).unwrap().flatten() {
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            let target = fs::read_link(entry.path()).unwrap().display().to_string();
            let is_harmless = ["socket:", "pipe:", "anon_inode:"]
                .iter()
                .any(|kind| target.starts_with(kind));
            assert!(number <= 2 || is_harmless, "{hooks} {number}: {target}");
            seen += 1;
        }
        assert!(seen > 3, "{seen}");
    }
}

/// Of many inherited descriptors, none stays open in a container that waits, and none of the
/// runtime's own is closed.
#[test]
fn a_runtime_may_inherit_many_descriptors() {
    for count in [100, 300, 1100] {
        let (bundle, _) = own_root(&["true"], |_| ());
        let _deleted = crate::Deleted(&bundle);
        let inherit = format!(
            "ulimit -n 4096; for i in $(seq 10 {count}); do eval \"exec $i</etc/hostname\"; done; exec \"$@\""
        );
        let id = bundle.id();
        let slipway = tests::program("slipway");
        let mut create = Command::new("bash");
        create.args(["-c", &inherit, "bash"]).arg(slipway);
        create.args(["--root", "state", "--debug", "--log", "log", "create", &id]);
        create.current_dir(bundle.path());
        create.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(create.status().unwrap().success(), "{count}");
        let open = fs::read_dir(format!("/proc/{}/fd", crate::pid(&bundle))).unwrap();
        let targets = open.flatten().map(|entry| fs::read_link(entry.path()));
        let hosts = targets.filter(|target| {
            let target = target
                .as_ref()
                .map_or("".as_ref(), |target| target.as_path());
            target.starts_with("/etc") || target == std::path::Path::new("/")
        });
        assert_eq!(hosts.count(), 0, "{count}");
        let log = fs::read_to_string(bundle.path().join("log")).unwrap();
        assert!(
            !log.is_empty() && log.lines().all(|line| line.starts_with("time=")),
            "{count}: {log}"
        );
    }
}

/// The first process of a container inherits the descriptors of the process that makes it, and
/// keeps them for a moment in the container's root. None of them leads to the container's state or
/// to its cgroup.
#[test]
fn a_first_process_inherits_no_file_of_the_runtime() {
    let (bundle, _) = own_root(&["true"], |spec| {
        let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1000.125"]});
        spec["hooks"] = json!({"createContainer": [hook]});
    });
    let _deleted = crate::Deleted(&bundle);
    let mut create = bundle.slipway(&["create", "c1"]);
    create.stdout(Stdio::null()).stderr(Stdio::null());
    let mut create = create.spawn().unwrap();
    let mut hooks = Vec::new();
    wait_for("the hook", Duration::from_secs(20), || {
        hooks = crate::processes_with("sleep 1000.125");
        !hooks.is_empty()
    });
    let parent = fs::read_to_string(format!("/proc/{}/stat", hooks[0])).unwrap();
    let parent = parent
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    let open = fs::read_dir(format!("/proc/{parent}/fd"))
        .unwrap()
        .flatten();
    let open = open.map(|entry| fs::read_link(entry.path()).unwrap().display().to_string());
    let open: Vec<String> = open.collect();
    create.kill().unwrap();
    create.wait().unwrap();
    assert!(
        open.iter().any(|target| target.starts_with("socket:")),
        "{open:?}"
    );
    for directory in [".bundles", "/sys/fs/cgroup", "/run/slipway"] {
        assert!(
            open.iter().all(|target| !target.contains(directory)),
            "{open:?}"
        );
    }
}

/// The last step before the namespaces is to close everything.
#[test]
fn a_process_that_enters_has_closed_all_before() {
    let (bundle, _) = own_root(&["sleep", "60"], |_| ());
    let _deleted = crate::Deleted(&bundle);
    crate::start(&bundle);
    let slipway = bundle.slipway(&["exec", "c1", "true"]);
    let trace = bundle.path().join("trace");
    succeed(
        Command::new("strace")
            .args([
                "-f",
                "-e",
                "trace=close_range,setns,openat,open_tree,fork,vfork,clone,clone3",
            ])
            .arg("-o")
            .arg(&trace)
            .arg(slipway.get_program())
            .args(slipway.get_args())
            .current_dir(bundle.path()),
    );
    let trace = fs::read_to_string(trace).unwrap();
    let enters = trace.lines().position(|line| line.contains(" setns("));
    let enters = enters.unwrap_or_else(|| panic!("{trace}"));
    let process = trace
        .lines()
        .nth(enters)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let before: Vec<&str> = trace
        .lines()
        .take(enters)
        .filter(|line| line.starts_with(process))
        .collect();
    let last = before.last().unwrap_or_else(|| panic!("{trace}"));
    assert!(
        last.contains("close_range(") && last.contains("4294967295"),
        "{before:#?}"
    );
}

/// More descriptors than the caller has would be ours, some of which lead to the host.
#[test]
fn no_more_descriptors_are_passed_on_than_there_are() {
    let (bundle, _) = own_root(&["/bin/sh", "-c", "ls -l /proc/self/fd | wc -l"], |_| ());
    let none = succeed(&mut bundle.slipway(&["run", "c1"]));
    // Without what a caller of the test has left open.
    let close = "for n in $(seq 3 200); do eval \"exec $n>&-\"; done; exec \"$@\"";
    let slipway = bundle.slipway(&["run", "--preserve-fds", "40", "c1"]);
    let mut shell = Command::new("bash");
    shell.args(["-c", close, "bash"]).arg(slipway.get_program());
    let more = succeed(shell.args(slipway.get_args()).current_dir(bundle.path()));
    assert_eq!(more, none);
    // Meant for this process, and one socket too many; meant for another process.
    let listen = "LISTEN_FDS=3 exec \"$@\" 3</ 4</";
    let slipway = bundle.slipway(&["run", "c1"]);
    let with = |text: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", text, "sh"]).arg(slipway.get_program());
        run(shell.args(slipway.get_args()).current_dir(bundle.path()))
    };
    let outcome = with(&format!("LISTEN_PID=$$ {listen}"));
    assert!(outcome.stderr.contains("5 is not open"), "{outcome:?}");
    let outcome = with(&format!("LISTEN_PID=1 {listen}"));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, none, "{outcome:?}");
    assert_eq!(bundle.left(), Vec::<String>::new());
}

/// The program finds the sockets of a service manager as sd_listen_fds(3) does.
#[test]
fn sockets_of_a_service_manager_are_passed_on() {
    let (bundle, _) = own_root(
        &[
            "/bin/sh",
            "-c",
            "echo $LISTEN_FDS $LISTEN_PID $$; ls /proc/self/fd",
        ],
        |_| (),
    );
    let slipway = bundle.slipway(&["run", "c1"]);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\" 3</dev/null 4</dev/null",
        "sh",
    ]);
    let seen = succeed(
        shell
            .arg(slipway.get_program())
            .args(slipway.get_args())
            .current_dir(bundle.path()),
    );
    assert_eq!(seen, "2 1 1\n0\n1\n2\n3\n4\n5\n");
}
