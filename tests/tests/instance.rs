//! `front instance`, and `instance://` for exec, run and shell, as an ordinary user.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{
    Killed, Place, as_tester, fixture, open_to_all, program, run, run_with_input, succeed,
    testers_processes, wait_for,
};

const SOON: Duration = Duration::from_secs(5);

/// A busybox whose scripts run their arguments.
fn image(place: &Place) -> String {
    let root = place.file("image");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    let directory = Path::new(&root).join(".singularity.d");
    fs::create_dir_all(&directory).unwrap();
    for name in ["runscript", "startscript"] {
        let path = directory.join(name);
        fs::write(&path, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        open_to_all(&path);
    }
    root
}

/// What an instance's program has written.
fn log(place: &Place, name: &str) -> String {
    let logs = Path::new(&place.file("config")).join("instances/logs");
    let host = fs::read_dir(logs).unwrap().next().unwrap().unwrap().path();
    let user = fs::read_dir(host).unwrap().next().unwrap().unwrap().path();
    fs::read_to_string(user.join(name)).unwrap()
}

/// The tester's processes that belong to instances.
fn left() -> Vec<(u32, String)> {
    let of_ours = |(pid, _): &(u32, String)| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("instance")
    };
    testers_processes().into_iter().filter(of_ours).collect()
}

fn stop_all(place: &Place) {
    run(&mut place.front(&["instance", "stop", "-F", "-a"]));
    wait_for("all have ended", SOON, || left().is_empty());
}

#[test]
fn instances_start_are_joined_and_stop() {
    // One after the other: a user's instances are the same for all who are that user.
    let place = Place::new();
    stop_all(&place);
    drop(place);
    a_life();
    names_are_taken_once();
    an_end_comes_in_time();
    what_is_killed_leaves_nothing();
    signals_and_stops_go_through();
    what_cannot_start_says_so();
    nothing_of_the_host_is_lent_by_accident();
    others_have_their_own();
}

fn a_life() {
    let place = Place::new();
    let image = image(&place);
    for image in [image.as_str(), fixture("bb.sif").to_str().unwrap()] {
        let start = ["instance", "start", "--env", "A=1", image, "web"];
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
        let pid = fs::read_to_string(&pids).unwrap();
        let list = succeed(&mut place.front(&["instance", "list"]));
        let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["web", pid.trim(), image], "{list}");
        let json = succeed(&mut place.front(&["instance", "list", "-j", "w*"]));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json.pointer("/instances/0/img").unwrap(), image, "{json}");
        assert_eq!(
            json.pointer("/instances/0/pid").unwrap().to_string(),
            pid.trim()
        );
        let other = succeed(&mut place.front(&["instance", "list", "x*"]));
        assert_eq!(other.lines().count(), 1, "{other}");

        let exec = |words: &[&str]| {
            let all = [&["exec", "--env", "B=2", "instance://web"], words].concat();
            run(&mut place.front(&all))
        };
        let seen = exec(&[
            "sh",
            "-c",
            "echo $B $APPTAINER_INSTANCE $APPTAINER_NAME; pwd; id -u",
        ]);
        let name = image.rsplit('/').next().unwrap();
        let cwd = place.file("").trim_end_matches('/').to_owned();
        let expected = format!("2 web {name}\n{cwd}\n{}\n", tests::tester());
        assert_eq!((seen.stdout, seen.stderr), (expected, String::new()));
        // Its processes are its own, and the first is ours.
        let first = exec(&["cat", "/proc/1/comm"]);
        assert_eq!(first.stdout, "front: instance\n");
        let status = exec(&["cat", "/proc/self/status"]).stdout;
        assert!(status.contains("CapBnd:\t0000000000000000\n"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
        // What one writes another sees, and both see the same processes.
        let one = exec(&["sh", "-c", "readlink /proc/self/ns/mnt /proc/self/ns/pid"]);
        assert_eq!(
            one.stdout,
            exec(&["sh", "-c", "readlink /proc/self/ns/mnt /proc/self/ns/pid"]).stdout
        );
        assert_eq!(exec(&["sh", "-c", "exit 7"]).code, 7);
        assert_eq!(exec(&["sh", "-c", "kill -TERM $$"]).signal, Some(15));
        assert_eq!(exec(&["nosuch"]).code, 255);
        let shell = run_with_input(
            &mut place.front(&["shell", "instance://web"]),
            b"echo in $0\n",
        );
        assert!(shell.stdout.starts_with("in "), "{shell:?}");
        let again = run(&mut place.front(&start));
        assert_eq!(again.code, 255);
        assert_eq!(again.stderr, "FATAL:   instance web already exists\n");

        if name == "image" {
            let ran = run(&mut place.front(&["run", "instance://web", "echo", "ran"]));
            assert_eq!(ran.stdout, "ran\n", "{ran:?}");
            assert_eq!(log(&place, "web.out"), "1 out\n");
            assert_eq!(log(&place, "web.err"), "err\n");
            let processes = exec(&["ps"]).stdout;
            assert!(processes.contains("sleep 1000"), "{processes}");
        }
        let binds = run(&mut place.front(&["exec", "-B", "/etc:/mnt", "instance://web", "true"]));
        assert!(
            binds
                .stderr
                .contains("WARNING: instance web has its mounts"),
            "{binds:?}"
        );

        let stopped = run(&mut place.front(&["instance", "stop", "web"]));
        assert_eq!(stopped.code, 0, "{stopped:?}");
        assert_eq!(
            stopped.stderr,
            format!(
                "INFO:    Stopping web instance of {image} (PID={})\n",
                pid.trim()
            )
        );
        let gone = exec(&["true"]);
        assert_eq!(gone.code, 255);
        assert!(
            gone.stderr.contains("no instance found with name web"),
            "{gone:?}"
        );
        assert_eq!(run(&mut place.front(&["instance", "stop", "web"])).code, 1);
        wait_for("nothing is left", SOON, || left().is_empty());
    }
}

fn names_are_taken_once() {
    let place = Place::new();
    let image = fixture("bb.sif").display().to_string();
    let start = || {
        let mut start = place.front(&["instance", "start", &image, "one"]);
        start
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let all: Vec<_> = (0..8).map(|_| start()).collect();
    let outcomes = all
        .into_iter()
        .map(|child| child.wait_with_output().unwrap());
    let won = outcomes.filter(|outcome| outcome.status.success()).count();
    assert_eq!(won, 1);
    assert_eq!(
        succeed(&mut place.front(&["exec", "instance://one", "echo", "x"])),
        "x\n"
    );
    for name in ["a/b", "a b", "", "x*"] {
        let refused = run(&mut place.front(&["instance", "start", &image, name]));
        assert_eq!(refused.code, 255, "{refused:?}");
        assert!(
            refused.stderr.contains("is not a valid instance name"),
            "{refused:?}"
        );
    }
    for verb in [
        ["build", "x.sif", "instance://one"],
        ["inspect", "-q", "instance://one"],
    ] {
        let words: Vec<&str> = verb.into_iter().filter(|word| *word != "-q").collect();
        let refused = run(&mut place.front(&words));
        assert_eq!(refused.code, 255, "{refused:?}");
        assert!(refused.stderr.contains("is no image"), "{refused:?}");
    }
    stop_all(&place);
}

fn an_end_comes_in_time() {
    let place = Place::new();
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
    // One that listens is heard, whichever signal; what it does last is done.
    let polite = "trap 'echo bye; exit' USR1 INT; echo up; while :; do sleep 0.1; done";
    for (signal, name) in [("SIGINT", "a1"), ("10", "a2")] {
        start(name, &["sh", "-c", polite]);
        let file = format!("{name}.out");
        wait_for("it is up", SOON, || log(&place, &file) == "up\n");
        let stop = ["instance", "stop", "-s", signal, "-t", "2", name];
        succeed(&mut place.front(&stop));
        assert_eq!(log(&place, &file), "up\nbye\n", "{name}");
    }
    // One whose program has ended lives on; all that match end.
    start("b1", &["true"]);
    start("b2", &["sleep", "1000"]);
    start("c1", &[]);
    succeed(&mut place.front(&["exec", "instance://b1", "true"]));
    succeed(&mut place.front(&["instance", "stop", "b*"]));
    let list = succeed(&mut place.front(&["instance", "list"]));
    assert!(!list.contains("b1") && list.contains("c1"), "{list}");
    stop_all(&place);
}

fn what_is_killed_leaves_nothing() {
    let place = Place::new();
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

fn signals_and_stops_go_through() {
    let place = Place::new();
    let image = fixture("bb.sif").display().to_string();
    succeed(&mut place.front(&["instance", "start", &image, "one"]));
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
    // One that stops itself stops who stands in for it, as a shell's job control wants it.
    let child = Killed(member("echo up; kill -STOP $$; echo on; exit 4"));
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.0.id())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    wait_for("it has stopped", SOON, || state() == 'T');
    signal(&child.0, "-CONT");
    let mut child = child;
    assert_eq!(child.0.wait().unwrap().code(), Some(4));
    // Who is killed takes what they stand for along.
    let mut child = member("echo up; exec sleep 4242");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the payload has ended", SOON, || {
        !succeed(&mut place.front(&["exec", "instance://one", "ps"])).contains("sleep 4242")
    });
    stop_all(&place);
}

fn what_cannot_start_says_so() {
    let place = Place::new();
    let image = image(&place);
    let rows: [(&[&str], &[&str], &str); 3] = [
        (&[], &["nosuch"], "not found"),
        (
            &["--cwd", "/nonexistent"],
            &["true"],
            "failed to set working directory",
        ),
        (
            &["-B", "/etc/nosuch:/mnt"],
            &["true"],
            "no such file or directory",
        ),
    ];
    for (flags, command, words) in rows {
        let all = [&["instance", "start"], flags, &[&image, "none"], command].concat();
        let outcome = run(&mut place.front(&all));
        // A script that does not find its command is started, and says so itself.
        if words == "not found" {
            assert_eq!(outcome.code, 0, "{outcome:?}");
            wait_for("it says so", SOON, || {
                log(&place, "none.err").contains(words)
            });
            stop_all(&place);
            continue;
        }
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (255, 1),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(words), "{outcome:?}");
        assert_eq!(
            succeed(&mut place.front(&["instance", "list"]))
                .lines()
                .count(),
            1
        );
        wait_for("nothing is left", SOON, || left().is_empty());
    }
    // What the starter wants besides is no reason to fail.
    let started = run(&mut place.front(&[
        "instance",
        "start",
        "--pid-file",
        "/nonexistent/pid",
        "-B",
        "/etc/hosts:/proc/cpuinfo",
        &image,
        "all",
        "sleep",
        "1000",
    ]));
    assert_eq!(started.code, 0, "{started:?}");
    assert!(
        started.stderr.contains("WARNING: write /nonexistent/pid"),
        "{started:?}"
    );
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    let bound = succeed(&mut place.front(&["exec", "instance://all", "cat", "/proc/cpuinfo"]));
    assert_eq!(bound, hosts);
    // Who joined is told to end as well, and without delay, even if stopped.
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
    for wrong in [["-s", "RTMIN+3"], ["-s", "0"], ["-t", "99999999999"]] {
        let refused =
            run(&mut place.front(&[&["instance", "stop"], &wrong[..], &["all"]].concat()));
        assert!(
            refused.code != 0 && refused.stderr.lines().count() == 1,
            "{refused:?}"
        );
    }
}

fn nothing_of_the_host_is_lent_by_accident() {
    let place = Place::new();
    let image = image(&place);
    let mut start = place.front(&["instance", "start", "-e", &image, "one", "sleep", "1000"]);
    succeed(start.env("SECRET", "hunter2"));
    let inside =
        |script: &str| run(&mut place.front(&["exec", "instance://one", "sh", "-c", script]));
    // The first process has the starter's files and memory; neither is the container's.
    for script in [
        "ls /proc/1/fd/",
        "cat /proc/1/environ",
        "ls /proc/1/root/",
        "ls /proc/1/cwd/",
    ] {
        let refused = inside(script);
        assert!(
            refused.code != 0 && refused.stdout.is_empty(),
            "{script}: {refused:?}"
        );
    }
    let logs = Path::new(&place.file("config")).join("instances/logs");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(&logs).unwrap().mode() & 0o777, 0o700);
    // A caller that ignores its children hears of this one.
    let script = "trap '' CHLD; exec \"$0\" exec instance://one sh -c 'exit 3'";
    let mut ignoring = as_tester("timeout");
    ignoring
        .args(["10", "sh", "-c", script])
        .arg(program("front"));
    assert_eq!(run(&mut ignoring).code, 3);
    // A reader sees the end when the payload has closed its end.
    let before = Instant::now();
    let mut closing = place.front(&[
        "exec",
        "instance://one",
        "sh",
        "-c",
        "echo a; exec >&- 2>&-; sleep 4",
    ]);
    let mut child = closing
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut all = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut all).unwrap();
    assert!(
        all == "a\n" && before.elapsed() < Duration::from_secs(3),
        "{:?}",
        before.elapsed()
    );
    let _ = Killed(child);
    stop_all(&place);
    another_user_holds_a_name(&place, &image);
}

/// Somebody who has a name of ours, and answers nobody, delays little.
fn another_user_holds_a_name(place: &Place, image: &str) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
    let name = format!("front/instance/{}/held", tests::tester());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    let new = || socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    let (listener, waiting) = (new(), new());
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    connect(&waiting, &address).unwrap();
    let before = Instant::now();
    let list = succeed(&mut place.front(&["instance", "list"]));
    assert_eq!(list.lines().count(), 1);
    let refused = run(&mut place.front(&["instance", "start", image, "held"]));
    assert!(
        refused
            .stderr
            .contains("the name held is held by a process of another user"),
        "{refused:?}"
    );
    assert!(
        before.elapsed() < Duration::from_secs(20),
        "{:?}",
        before.elapsed()
    );
}

fn others_have_their_own() {
    let place = Place::new();
    let image = fixture("bb.sif").display().to_string();
    let root = |words: &[&str]| {
        let mut command = Command::new(program("front"));
        command
            .args(words)
            .env("FRONT_CONFIGDIR", place.file("root"));
        run(&mut command)
    };
    succeed(&mut place.front(&["instance", "start", &image, "mine"]));
    assert_eq!(root(&["exec", "instance://mine", "true"]).code, 255);
    let started = root(&["instance", "start", &image, "mine"]);
    assert_eq!(started.code, 0, "{started:?}");
    let inside = root(&[
        "exec",
        "instance://mine",
        "sh",
        "-c",
        "id -u; cat /proc/1/comm",
    ]);
    assert_eq!(inside.stdout, "0\nfront: instance\n", "{inside:?}");
    let stopped = root(&["instance", "stop", "mine"]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    succeed(&mut place.front(&["exec", "instance://mine", "true"]));
    stop_all(&place);
}
