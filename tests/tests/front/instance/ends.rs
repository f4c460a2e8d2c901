//! Instances and their members end: by a stop, by a signal, or killed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Killed, TestDirectory, fixture, open_to_all, succeed, testers_processes, wait_for};

use super::{SOON, image, left, log, stop_all};

pub(crate) fn an_end_comes_in_time() {
    let place = TestDirectory::new();
    let image = image(&place);
    let deaf = [
        "sh",
        "-c",
        "trap '' INT TERM; echo up; while :; do sleep 0.1; done",
    ];
    let start = |name: &str, words: &[&str]| {
        let all = [&["instance", "start", &image, name], words].concat();
        succeed(&mut place.front(&all));
    };
    start("deaf", &deaf);
    wait_for("it is up", SOON, || log(&place, "deaf.out") == "up\n");
    let before = Instant::now();
    succeed(&mut place.front(&["instance", "stop", "-t", "1", "deaf"]));
    assert!(before.elapsed() >= Duration::from_secs(1));
    // A program that handles the signal receives it, whichever it is, and can finish its last
    // actions.
    let polite = "trap 'echo bye; exit' USR1 INT; echo up; while :; do sleep 0.1; done";
    for (signal, name) in [("SIGINT", "a1"), ("10", "a2")] {
        start(name, &["sh", "-c", polite]);
        let file = format!("{name}.out");
        wait_for("it is up", SOON, || log(&place, &file) == "up\n");
        let stop = ["instance", "stop", "-s", signal, "-t", "2", name];
        succeed(&mut place.front(&stop));
        assert_eq!(log(&place, &file), "up\nbye\n", "{name}");
    }
    // An instance whose program has ended lives on. All that match are ended.
    start("b1", &["true"]);
    start("b2", &["sleep", "1000"]);
    start("c1", &[]);
    succeed(&mut place.front(&["exec", "instance://b1", "true"]));
    succeed(&mut place.front(&["instance", "stop", "b*"]));
    let list = succeed(&mut place.front(&["instance", "list"]));
    // The rest of a line is a path with random letters.
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["INSTANCE", "c1"], "{list}");
    stop_all(&place);
}

pub(crate) fn what_is_killed_leaves_nothing() {
    let place = TestDirectory::new();
    let image = fixture("bb.sif").display().to_string();
    for victim in ["front: session", "front: instance"] {
        succeed(&mut place.front(&["instance", "start", &image, "prey"]));
        let mut member = place.front(&["exec", "instance://prey", "sleep", "1000"]);
        let mut member = Killed(member.spawn().unwrap());
        wait_for("it is in", SOON, || {
            let all = testers_processes();
            all.iter().any(|(_, name)| name == "sleep")
        });
        let killed = left();
        let (pid, _) = killed.iter().find(|(_, name)| name == victim).unwrap();
        succeed(Command::new("kill").args(["-9", &pid.to_string()]));
        assert!(!member.0.wait().unwrap().success());
        wait_for("nothing is left", SOON, || left().is_empty());
        assert_eq!(
            succeed(&mut place.front(&["instance", "list"]))
                .lines()
                .count(),
            1
        );
    }
}

/// Whoever waits for a start gives up, and the image's scripts run for as long as they like.
pub(crate) fn a_killed_start_leaves_nothing() {
    let place = TestDirectory::new();
    let image = image(&place);
    let scripts = Path::new(&image).join(".singularity.d/env");
    fs::create_dir_all(&scripts).unwrap();
    let script = scripts.join("90-e.sh");
    fs::write(&script, "X=$(sleep 4243)\n").unwrap();
    open_to_all(&scripts);
    let sleeps = || {
        testers_processes().iter().any(|(pid, _)| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command == b"sleep\x004243\0"
        })
    };
    for signal in ["-INT", "-TERM", "-KILL"] {
        let mut start = place.front(&["instance", "start", &image, "long", "true"]);
        let mut start = Killed(start.spawn().unwrap());
        wait_for("its script runs", SOON, sleeps);
        succeed(Command::new("kill").args([signal, &start.0.id().to_string()]));
        assert!(!start.0.wait().unwrap().success());
        wait_for("nothing is left", SOON, || left().is_empty() && !sleeps());
    }
    fs::remove_file(&script).unwrap();
    succeed(&mut place.front(&["instance", "start", &image, "long", "true"]));
    stop_all(&place);
}

pub(crate) fn signals_and_stops_go_through() {
    let place = TestDirectory::new();
    let image = fixture("bb.sif").display().to_string();
    succeed(&mut place.front(&["instance", "start", &image, "one"]));
    // A stopped monitor goes on for the next caller.
    let all = left();
    let (monitor, _) = all
        .iter()
        .find(|(_, name)| name == "front: session")
        .unwrap();
    succeed(Command::new("kill").args(["-STOP", &monitor.to_string()]));
    let is_stopped = || {
        let status = fs::read_to_string(format!("/proc/{monitor}/status")).unwrap();
        status.contains("State:\tT")
    };
    wait_for("it has stopped", SOON, is_stopped);
    succeed(&mut place.front(&["exec", "instance://one", "true"]));
    let member = |script: &str| {
        let mut member = place.front(&["exec", "instance://one", "sh", "-c", script]);
        let mut child = member
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
        child
    };
    let signal = |child: &std::process::Child, name: &str| {
        succeed(Command::new("kill").args([name, &child.id().to_string()]));
    };
    let child = member("trap 'echo heard; exit 3' USR1; echo up; while :; do sleep 0.1; done");
    signal(&child, "-USR1");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(3), &b"heard\n"[..])
    );
    // A payload that stops itself also stops its proxy, as a shell's job control requires.
    let child = Killed(member("echo up; kill -STOP $$; echo on; exit 4"));
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.0.id())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    wait_for("it has stopped", SOON, || state() == 'T');
    signal(&child.0, "-CONT");
    let mut child = child;
    assert_eq!(child.0.wait().unwrap().code(), Some(4));
    // Killing a proxy kills its payload, too.
    let mut child = member("echo up; exec sleep 4242");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the payload has ended", SOON, || {
        !succeed(&mut place.front(&["exec", "instance://one", "ps"])).contains("sleep 4242")
    });
    stop_all(&place);
}

/// A program that joined also gets the signal, without delay, even if it is stopped.
pub(crate) fn all_members_end_at_once(place: &TestDirectory) {
    let mut member = place.front(&["exec", "instance://all", "sleep", "1000"]);
    let mut member = Killed(member.process_group(0).spawn().unwrap());
    wait_for("it is in", SOON, || {
        succeed(&mut place.front(&["exec", "instance://all", "ps"]))
            .matches("sleep 1000")
            .count()
            > 1
    });
    succeed(Command::new("kill").args(["-STOP", &member.0.id().to_string()]));
    let before = Instant::now();
    succeed(&mut place.front(&["instance", "stop", "all"]));
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
    assert!(!member.0.wait().unwrap().success());
}
