//! The life of one instance, from its start to its stop.

use std::fs;

use tests::{Outcome, TestDirectory, fixture, run, run_with_input, succeed, wait_for};

use super::{SOON, image, left, log};

pub(crate) fn a_life() {
    let place = TestDirectory::new();
    let image = image(&place);
    for image in [image.as_str(), fixture("bb.sif").to_str().unwrap()] {
        let pid = web_starts(&place, image);
        web_is_listed(&place, image, pid.trim());
        members_share_it(&place, image);
        web_is_there_once(&place, image);
        if image.ends_with("/image") {
            its_script_runs(&place);
        }
        web_is_not_changed(&place);
        web_stops(&place, image, pid.trim());
    }
}

/// Runs a command in the instance web.
fn web(place: &TestDirectory, words: &[&str]) -> Outcome {
    let all = [&["exec", "--env", "B=2", "instance://web"], words].concat();
    run(&mut place.front(&all))
}

/// Starts the instance and returns the content of its file with the process's number.
fn web_starts(place: &TestDirectory, image: &str) -> String {
    let pids = place.file("pid");
    let words = [
        "instance",
        "start",
        "--env",
        "A=1",
        "--pid-file",
        &pids,
        image,
        "web",
    ];
    let busy = ["sh", "-c", "echo $A out; echo err >&2; exec sleep 1000"];
    let started = run(&mut place.front(&[&words, &busy[..]].concat()));
    assert_eq!(started.code, 0, "{started:?}");
    assert!(
        started
            .stderr
            .contains("INFO:    instance started successfully"),
        "{started:?}"
    );
    fs::read_to_string(&pids).unwrap()
}

fn web_is_listed(place: &TestDirectory, image: &str, pid: &str) {
    let list = succeed(&mut place.front(&["instance", "list"]));
    let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["web", pid, image], "{list}");
    let json = succeed(&mut place.front(&["instance", "list", "-j", "w*"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.pointer("/instances/0/img").unwrap(), image, "{json}");
    assert_eq!(json.pointer("/instances/0/pid").unwrap().to_string(), pid);
    let other = succeed(&mut place.front(&["instance", "list", "x*"]));
    assert_eq!(other.lines().count(), 1, "{other}");
}

fn members_share_it(place: &TestDirectory, image: &str) {
    let exec = |words: &[&str]| web(place, words);
    let seen = exec(&[
        "sh",
        "-c",
        "echo $B $APPTAINER_INSTANCE $APPTAINER_NAME; pwd; id -u",
    ]);
    let name = image.rsplit('/').next().unwrap();
    let cwd = place.file("").trim_end_matches('/').to_owned();
    let expected = format!("2 web {name}\n{cwd}\n{}\n", tests::tester());
    assert_eq!((seen.stdout, seen.stderr), (expected, String::new()));
    // The instance has its own processes, and the first is ours.
    let first = exec(&["cat", "/proc/1/comm"]);
    assert_eq!(first.stdout, "front: instance\n");
    let status = exec(&["cat", "/proc/self/status"]).stdout;
    assert!(status.contains("CapBnd:\t0000000000000000\n"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    // All members share their files and see the same processes.
    let one = exec(&["sh", "-c", "readlink /proc/self/ns/mnt /proc/self/ns/pid"]);
    assert_eq!(
        one.stdout,
        exec(&["sh", "-c", "readlink /proc/self/ns/mnt /proc/self/ns/pid"]).stdout
    );
    assert_eq!(exec(&["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(exec(&["sh", "-c", "kill -TERM $$"]).signal, Some(15));
    assert_eq!(exec(&["nosuch"]).code, 255);
}

fn web_is_there_once(place: &TestDirectory, image: &str) {
    let shell = run_with_input(
        &mut place.front(&["shell", "instance://web"]),
        b"echo in $0\n",
    );
    assert!(shell.stdout.starts_with("in "), "{shell:?}");
    let again = run(&mut place.front(&["instance", "start", "--env", "A=1", image, "web"]));
    assert_eq!(again.code, 255);
    assert_eq!(again.stderr, "FATAL:   instance web already exists\n");
}

fn its_script_runs(place: &TestDirectory) {
    let ran = run(&mut place.front(&["run", "instance://web", "echo", "ran"]));
    assert_eq!(ran.stdout, "ran\n", "{ran:?}");
    assert_eq!(log(place, "web.out"), "1 out\n");
    assert_eq!(log(place, "web.err"), "err\n");
    let processes = web(place, &["ps"]).stdout;
    assert!(processes.contains("sleep 1000"), "{processes}");
}

fn web_is_not_changed(place: &TestDirectory) {
    let binds = run(&mut place.front(&["exec", "-B", "/etc:/mnt", "instance://web", "true"]));
    assert!(
        binds
            .stderr
            .contains("WARNING: instance web is already running"),
        "{binds:?}"
    );
    // Neither by flags that keep a new container apart, of which it has some: its own processes.
    let apart = [
        "exec",
        "-c",
        "--pid",
        "--net",
        "--no-mount",
        "tmp",
        "instance://web",
        "true",
    ];
    let apart = run(&mut place.front(&apart));
    assert_eq!(apart.code, 0, "{apart:?}");
    assert_eq!(
        apart.stderr,
        "WARNING: instance web is already running: --contain, --net and --no-mount have no effect\n"
    );
    // A variable is meant for every command.
    let usual = run(place
        .front(&["exec", "--pid", "instance://web", "true"])
        .env("APPTAINER_CONTAIN", "1"));
    assert_eq!((usual.code, usual.stderr.as_str()), (0, ""), "{usual:?}");
    for flag in ["--memory=1G", "--pids-limit=5"] {
        let limited = run(&mut place.front(&["exec", flag, "instance://web", "true"]));
        assert_eq!(limited.code, 255, "{limited:?}");
        assert!(
            limited.stderr.contains("already running"),
            "{flag}: {limited:?}"
        );
    }
}

fn web_stops(place: &TestDirectory, image: &str, pid: &str) {
    let stopped = run(&mut place.front(&["instance", "stop", "web"]));
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(
        stopped.stderr,
        format!("INFO:    Stopping web instance of {image} (PID={pid})\n")
    );
    let gone = web(place, &["true"]);
    assert_eq!(gone.code, 255);
    assert!(
        gone.stderr.contains("no instance found with name web"),
        "{gone:?}"
    );
    assert_eq!(run(&mut place.front(&["instance", "stop", "web"])).code, 1);
    wait_for("nothing is left", SOON, || left().is_empty());
}
