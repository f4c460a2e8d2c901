//! A creation that somebody interrupts or holds up: a runtime that is killed, a lock on its cgroup,
//! a payload that stops each process that it sees.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Bundle, run, succeed, wait_for};

use crate::{own_root, processes_with};

/// The hook, the processes that make the container, and its cgroup all end with the first
/// `delete`, and the id can be used again at once.
#[test]
fn nothing_is_left_of_a_runtime_that_was_killed() {
    for point in ["createRuntime", "createContainer"] {
        for has_processes in [true, false] {
            let (bundle, _) = own_root(&["true"], |spec| {
                let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|one| has_processes || one["type"] != "pid");
                spec["hooks"] =
                    json!({point: [{"path": "/bin/sleep", "args": ["sleep", "1000.5"]}]});
            });
            let mut create = bundle.slipway(&["create", "c1"]);
            create.stdout(Stdio::null()).stderr(Stdio::null());
            let mut create = create.spawn().unwrap();
            wait_for("the hook", Duration::from_secs(20), || {
                !processes_with("1000.5").is_empty()
            });
            create.kill().unwrap();
            create.wait().unwrap();
            let began = Instant::now();
            succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
            assert!(began.elapsed() < Duration::from_secs(5));
            assert_eq!(bundle.left(), Vec::<String>::new());
            assert_eq!(processes_with(&bundle.id()), Vec::<i32>::new());
            wait_for("the end of the hook", Duration::from_secs(5), || {
                processes_with("1000.5").is_empty()
            });
            let config = bundle.path().join("config.json");
            let text = fs::read_to_string(&config).unwrap();
            fs::write(&config, text.replace("1000.5", "0.5")).unwrap();
            succeed(&mut bundle.slipway(&["run", "c1"]));
        }
    }
}

/// Somebody else may end the creation: the runtime then removes everything itself.
#[test]
fn a_container_that_is_being_made_is_deleted_by_force_only() {
    let (bundle, _) = own_root(&["true"], |spec| {
        spec["hooks"] =
            json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000.25"]}]});
    });
    let mut create = bundle.slipway(&["create", "c1"]);
    create.stdout(Stdio::null()).stderr(Stdio::null());
    let mut create = create.spawn().unwrap();
    wait_for("the hook", Duration::from_secs(20), || {
        !processes_with("1000.25").is_empty()
    });
    let outcome = run(&mut bundle.slipway(&["delete", "c1"]));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("it is being made"), "{outcome:?}");
    assert_eq!(create.try_wait().unwrap(), None);
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    assert_eq!(create.wait().unwrap().code(), Some(1));
    assert_eq!(bundle.left(), Vec::<String>::new());
    assert_eq!(processes_with("1000.25"), Vec::<i32>::new());
}

/// Everybody may open a cgroup's directory, and thereby lock it.
#[test]
fn a_lock_on_a_cgroup_holds_up_nobody() {
    let (bundle, _) = own_root(&["true"], |_| ());
    let hierarchy = [
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/blkio/cgroup.procs",
    ];
    let hierarchy = hierarchy
        .map(Path::new)
        .into_iter()
        .find(|path| path.exists());
    let cgroup = hierarchy.unwrap().with_file_name(bundle.id());
    fs::create_dir(&cgroup).unwrap();
    let lock = File::open(&cgroup).unwrap();
    lock.lock_shared().unwrap();
    let began = Instant::now();
    succeed(&mut bundle.slipway(&["run", "c1"]));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

/// Stops each new process that it sees, again and again.
const STOPPER: &str = "touch /ready; own=$$; while :; do for i in /proc/[0-9]*; do i=${i#/proc/}; \
    [ $i -le $own ] || kill -STOP $i 2>/dev/null; done; done";

fn begin_stopper() -> Bundle {
    crate::begin_payload(STOPPER, "CAP_KILL")
}

/// Runs a command whose container may hold its output open.
fn runs_at_most_10_s(mut command: Command, stopper: &Bundle) {
    let log = stopper.path().join("log");
    let began = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .status()
        .unwrap();
    let error = fs::read_to_string(&log).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{error}");
    let is_told = error.contains("stopped (SIGSTOP) again and again");
    assert!(status.success() || is_told, "{status} {error}");
}

#[test]
fn a_payload_that_stops_processes_holds_up_no_exec() {
    let stopper = begin_stopper();
    let _deleted = crate::Deleted(&stopper);
    for _ in 0..3 {
        // Without -d, the program itself would be waited for, which may stay stopped.
        runs_at_most_10_s(
            stopper.slipway(&["exec", "-d", "c1", "/bin/true"]),
            &stopper,
        );
    }
}

#[test]
fn a_payload_that_stops_processes_holds_up_no_creation() {
    let stopper = begin_stopper();
    let _deleted = crate::Deleted(&stopper);
    let path = format!("/proc/{}/ns/pid", crate::pid(&stopper));
    let (bundle, _) = own_root(&["true"], |spec| {
        for namespace in spec["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(path);
            }
        }
    });
    for _ in 0..3 {
        runs_at_most_10_s(bundle.slipway(&["create", "c1"]), &stopper);
        succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

/// A shell that becomes `slipway` leaves it its own children. They are not the container's.
#[test]
fn children_of_before_are_left_alone() {
    for failure in ["false", "sleep 1"] {
        let (bundle, _) = own_root(&["true"], |spec| {
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", failure]});
            spec["hooks"] = json!({"createRuntime": [hook]});
        });
        let slipway = bundle.slipway(&["run", "c1"]);
        let mut shell = Command::new("sh");
        let script = "sleep 777.75 & kill -STOP $!; exec \"$@\"";
        shell.args(["-c", script, "sh"]).arg(slipway.get_program());
        shell.args(slipway.get_args()).current_dir(bundle.path());
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        let status = shell.status().unwrap();
        assert_eq!(status.success(), failure != "false", "{status}");
        let left = processes_with("sleep 777.75");
        assert_eq!(left.len(), 1, "{failure}");
        let stat = fs::read_to_string(format!("/proc/{}/stat", left[0])).unwrap();
        succeed(Command::new("kill").args(["-KILL", &left[0].to_string()]));
        assert!(stat.contains(") T "), "{failure}: {stat}");
    }
}

/// A container that a hook starts and leaves running is not the failed one's.
#[test]
fn a_container_that_a_hook_starts_is_left_alone() {
    let (inner, _) = own_root(&["sleep", "60"], |_| ());
    let _deleted = crate::Deleted(&inner);
    let run_inner = inner.slipway(&["run", "-d", "c1"]);
    let words = [run_inner.get_program()]
        .into_iter()
        .chain(run_inner.get_args());
    let words: Vec<String> = words.map(|word| word.display().to_string()).collect();
    let script = format!(
        "cd {} && {} >/dev/null 2>&1",
        inner.path().display(),
        words.join(" ")
    );
    let (bundle, _) = own_root(&["true"], |spec| {
        let hook = |script: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        spec["hooks"] = json!({"createRuntime": [hook(&script), hook("exit 1")]});
    });
    assert_ne!(run(&mut bundle.slipway(&["run", "c1"])).code, 0);
    let state = succeed(&mut inner.slipway(&["state", "c1"]));
    assert!(state.contains("\"running\""), "{state}");
}

/// After a runtime was killed, somebody else uses its cgroup, or one below it.
#[test]
fn what_others_made_in_the_cgroup_since_is_left_alone() {
    for below in ["", "/below"] {
        let (killed, _) = own_root(&["true"], |spec| {
            let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1000.625"]});
            spec["hooks"] = json!({"createRuntime": [hook]});
        });
        let mut create = killed.slipway(&["create", "c1"]);
        create.stdout(Stdio::null()).stderr(Stdio::null());
        let mut create = create.spawn().unwrap();
        wait_for("the hook", Duration::from_secs(20), || {
            !processes_with("1000.625").is_empty()
        });
        create.kill().unwrap();
        create.wait().unwrap();
        let hierarchy = [
            "/sys/fs/cgroup/cgroup.procs",
            "/sys/fs/cgroup/freezer/cgroup.procs",
        ];
        let hierarchy = hierarchy
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        let cgroup = hierarchy
            .unwrap()
            .with_file_name(format!("{}{below}", killed.id()));
        fs::create_dir_all(&cgroup).unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), other.id().to_string()).unwrap();
        succeed(&mut killed.slipway(&["delete", "-f", "c1"]));
        assert_eq!(other.try_wait().unwrap(), None, "{below:?}");
        other.kill().unwrap();
        other.wait().unwrap();
        fs::remove_dir(&cgroup).unwrap();
        let _ = fs::remove_dir(cgroup.parent().unwrap().join(killed.id()));
        assert_eq!(killed.left(), Vec::<String>::new());
    }
}

/// A runtime that is killed as it writes the state must leave the old one or the new one.
#[test]
fn the_state_is_replaced_as_a_whole() {
    let (bundle, _) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = crate::Deleted(&bundle);
    let mut create = bundle.slipway(&["create", "c1"]);
    create.stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().unwrap().success());
    let state = bundle
        .path()
        .join("state")
        .join(bundle.id())
        .join("state.json");
    let old = File::open(&state).unwrap();
    succeed(&mut bundle.slipway(&["start", "c1"]));
    let new = fs::metadata(&state).unwrap();
    assert_ne!(old.metadata().unwrap().ino(), new.ino());
    assert_eq!(old.metadata().unwrap().nlink(), 0);
}

/// The processes of a container whose state is damaged are found by its cgroup.
#[test]
fn no_process_is_left_of_a_container_whose_state_is_damaged() {
    for (has_processes, file) in [
        (true, "state.json"),
        (false, "state.json"),
        (true, "youki_config.json"),
    ] {
        let (bundle, _) = own_root(&["/bin/sleep", "1000.75"], |spec| {
            let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| has_processes || one["type"] != "pid");
        });
        crate::start(&bundle);
        let state = bundle.path().join("state").join(bundle.id());
        fs::write(state.join("state.json"), "").unwrap();
        fs::write(state.join(file), "").unwrap();
        let refused = run(&mut bundle.slipway(&["delete", "c1"]));
        assert!(
            refused.code == 1 && refused.stderr.contains("its state cannot be read"),
            "{refused:#?}"
        );
        assert_eq!(processes_with("sleep 1000.75").len(), 1);
        succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
        assert_eq!(processes_with("sleep 1000.75"), Vec::<i32>::new());
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}
