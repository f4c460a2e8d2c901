//! Limits of instances: names, starts that fail, the host, and other users.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Killed, TestDirectory, as_tester, fixture, program, run, succeed, wait_for};

use super::ends::all_members_end_at_once;
use super::{SOON, image, left, log, stop_all};

pub(crate) fn names_are_taken_once() {
    let place = TestDirectory::new();
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
        assert!(refused.stderr.contains("is not an image"), "{refused:?}");
    }
    stop_all(&place);
}

pub(crate) fn what_cannot_start_says_so() {
    let place = TestDirectory::new();
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
        // A script that does not find its command is started, and reports this itself.
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
    wishes_that_fail_do_not_hinder(&place, &image);
    all_members_end_at_once(&place);
    for wrong in [["-s", "RTMIN+3"], ["-s", "0"], ["-t", "99999999999"]] {
        let refused =
            run(&mut place.front(&[&["instance", "stop"], &wrong[..], &["all"]].concat()));
        assert!(
            refused.code != 0 && refused.stderr.lines().count() == 1,
            "{refused:?}"
        );
    }
}

/// Additional wishes of the starter are no reason to fail.
fn wishes_that_fail_do_not_hinder(place: &TestDirectory, image: &str) {
    let started = run(&mut place.front(&[
        "instance",
        "start",
        "--pid-file",
        "/nonexistent/pid",
        "-B",
        "/etc/hosts:/proc/cpuinfo",
        image,
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
}

pub(crate) fn nothing_of_the_host_is_lent_by_accident() {
    let place = TestDirectory::new();
    let image = image(&place);
    let mut start = place.front(&["instance", "start", "-e", &image, "one", "sleep", "1000"]);
    succeed(start.env("SECRET", "hunter2"));
    let inside =
        |script: &str| run(&mut place.front(&["exec", "instance://one", "sh", "-c", script]));
    // The first process has the starter's files and memory, which must not be accessible from the
    // container.
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
    // A caller that ignores its children still learns how this one ended.
    let script = "trap '' CHLD; exec \"$0\" exec instance://one sh -c 'exit 3'";
    let mut ignoring = as_tester("timeout");
    ignoring
        .args(["10", "sh", "-c", script])
        .arg(program("front"));
    assert_eq!(run(&mut ignoring).code, 3);
    // A reader sees the end as soon as the payload has closed its end.
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

/// Another user who holds a name of ours and never answers causes little delay.
fn another_user_holds_a_name(place: &TestDirectory, image: &str) {
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

pub(crate) fn others_have_their_own() {
    let place = TestDirectory::new();
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
