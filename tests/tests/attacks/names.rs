//! Names of sockets that others have taken: a payload in a container, which has its user's id, and
//! other users.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Killed, fixture, front, run, tester, wait_for};

/// Answers each caller of a name with the namespaces of its own process, as a monitor does, and
/// shows a secret like one. If it `nests`, it does so from a user namespace of its own, where it
/// has every capability. If it `hangs`, it does not answer.
const SQUATTER: &str = r#"
import os, socket, sys
kind, name, about, how = sys.argv[1:5]
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(b"\0" + name.encode())
s.listen(64)
fds = [os.open("/proc/self/ns/" + n, os.O_RDONLY) for n in ("user", "mnt")]
os.dup2(os.memfd_create("front-12345"), 200)
if how == "nests":
    os.unshare(os.CLONE_NEWUSER)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    try:
        c.settimeout(1)
        said = c.recv(100)
        print("called", said[:1].decode(), b"12345 " in said, flush=True)
        if how == "hangs":
            c.close()
            continue
        first = b"%d\n" % os.getpid() if kind == "instance" else b""
        c.send(b"R" + said[1:9] + b"%d %d\n" % tuple(fds) + first + about.encode())
    except OSError:
        pass
    keep = c
"#;

/// The description of a session; a later version may have more fields.
const ABOUT: &str = r#"{"image":["/x","x"],"libraries":false,"contained":false,"own_processes":false,"program":"cat","env":[],"home":"/","logs":{"out":"/x","err":"/x"}}"#;

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

/// Returns the names of the ordinary user's sessions with this beginning.
fn names(beginning: &str) -> Vec<String> {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let names = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7)?.strip_prefix('@'));
    names
        .filter(|name| name.starts_with(beginning))
        .map(str::to_owned)
        .collect()
}

/// Returns `front` as the first of a job's two ranks.
fn rank(job: &str) -> Command {
    let mut rank = front::<&str>([]);
    rank.env("SLURM_JOB_ID", job);
    for (name, value) in [
        ("SLURM_STEP_ID", "0"),
        ("SLURM_PROCID", "0"),
        ("SLURM_NTASKS", "2"),
        ("SLURM_LOCALID", "0"),
        ("SLURM_STEP_TASKS_PER_NODE", "2"),
        ("SLURM_NODEID", "0"),
    ] {
        rank.env(name, value);
    }
    rank
}

/// Starts the squatter in a container, and waits until it has the name.
fn squat(flags: &[&str], what: [&str; 3], log: &std::path::Path) -> Killed {
    let [kind, name, how] = what;
    let image = path("py");
    let mut args = vec!["-q", "exec"];
    args.extend(flags);
    args.extend([
        image.as_str(),
        "python3",
        "-c",
        SQUATTER,
        kind,
        name,
        ABOUT,
        how,
    ]);
    let child: Child = front(&args)
        .stdout(fs::File::create(log).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let child = Killed(child);
    wait_for("the squatter", Duration::from_secs(20), || {
        fs::read_to_string(log).unwrap().contains("ready")
    });
    child
}

#[test]
fn a_contained_payload_does_not_stand_in_for_a_session() {
    let image = path("bb");
    // A name that no other test's sessions have.
    let number = std::process::id().to_string();
    let victim = || run(rank(&number).args(["exec", &image, "cat", "/etc/os-release"]));
    assert_eq!(victim().stdout, "NAME=bb\n");
    let prefix = format!("front/session/{}/", tester());
    let of_the_job = || {
        names(&prefix)
            .into_iter()
            .find(|name| name.contains(&number))
    };
    let name = of_the_job().expect("a session waits for the next program");
    wait_for("the session to end", Duration::from_secs(20), || {
        of_the_job().is_none()
    });
    let home = tests::home();
    for (flags, how) in [
        (&["-c"][..], "answers"),
        (&["-C"], "answers"),
        (&["-c", "-e", "-i"], "answers"),
        (&["-c"], "nests"),
        (&["-c"], "hangs"),
        (&["-C"], "hangs"),
    ] {
        let log = home.path().join("log");
        let _squatter = squat(flags, ["session", &name, how], &log);
        let begin = Instant::now();
        let outcome = victim();
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            ("NAME=bb\n", 0),
            "{flags:?}: {outcome:#?}"
        );
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        // The test proves nothing unless the squatter was called.
        wait_for("the call", Duration::from_secs(5), || {
            fs::read_to_string(&log).unwrap().contains("called + True")
        });
        let listed = run(&mut front(["ps"]));
        assert!(!listed.stdout.contains(&number), "{listed:#?}");
    }
}

#[test]
fn a_contained_payload_does_not_stand_in_for_an_instance() {
    let name = format!("front/instance/{}/trusted", tester());
    let home = tests::home();
    let log = home.path().join("log");
    let _squatter = squat(&["-C"], ["instance", &name, "answers"], &log);
    let outcome = run(&mut front([
        "exec",
        "instance://trusted",
        "cat",
        "/etc/os-release",
    ]));
    assert_ne!(outcome.code, 0, "{outcome:#?}");
    assert!(outcome.stderr.contains("no instance found"), "{outcome:#?}");
    wait_for("the call", Duration::from_secs(5), || {
        fs::read_to_string(&log).unwrap().contains("called")
    });
    assert_eq!(
        run(&mut front(["instance", "list", "trusted"]))
            .stdout
            .lines()
            .count(),
        1
    );
    // The instance cannot be made either; if it was, nothing of it is left.
    let outcome = run(&mut front(["instance", "start", &path("bb"), "trusted"]));
    let _ = run(&mut front(["instance", "stop", "-F", "trusted"]));
    assert!(outcome.stderr.contains("is held by"), "{outcome:#?}");
}

/// Takes names as an unrelated user. Half of them listen and never answer, the other half are only
/// held.
const HOLDER: &str = r#"
import os, socket, sys, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
os.setgid(65534); os.setuid(65534)
held = []
for beginning in sys.argv[2:]:
    for number in range(int(sys.argv[1])):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.bind(b"\0" + beginning.encode() + b"%032x" % number)
        if number % 2:
            s.listen(0)
            c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            c.connect(s.getsockname())
            held.append(c)
        held.append(s)
print("ready", flush=True)
sys.stdin.read()
"#;

#[test]
fn names_that_other_users_have_taken_cost_no_time() {
    let uid = tester();
    let job = "4711.0";
    let mut holder = Command::new("python3");
    holder.args(["-c", HOLDER, "500"]);
    holder.arg(format!("front/session/{uid}/-/"));
    holder.arg(format!("front/session/{uid}/slurm-{job}/"));
    holder.arg(format!("front/session/{uid}/{job}/"));
    holder.arg(format!("front/instance/{uid}/"));
    let log = tempfile::NamedTempFile::new().unwrap();
    let child = holder
        .stdin(Stdio::piped())
        .stdout(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let _holder = Killed(child);
    wait_for("the names", Duration::from_secs(20), || {
        fs::read_to_string(log.path()).unwrap().contains("ready")
    });
    let image = path("bb");
    let commands = [
        vec!["ps"],
        vec!["instance", "list"],
        vec!["instance", "stop", "nosuch*"],
        vec!["exec", &image, "true"],
        vec!["exec", "instance://nosuch", "true"],
    ];
    for args in commands {
        let begin = Instant::now();
        let outcome = run(&mut front(&args));
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{args:?}: {:?}",
            begin.elapsed()
        );
        assert!(outcome.code < 126 || outcome.code == 255, "{outcome:#?}");
    }
    // A rank looks for other ranks of its job.
    let begin = Instant::now();
    let outcome = run(rank("4711").args(["exec", &image, "true"]));
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
}

/// Takes names of instances, and never answers.
const HIDER: &str = r#"
import os, socket, sys, time
held = []
for number in range(200):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind(b"\0" + sys.argv[1].encode() + b"0%04d" % number)
    s.listen(8)
    held.append(s)
print("ready", flush=True)
time.sleep(60)
"#;

#[test]
fn names_that_a_contained_payload_has_taken_hide_nothing() {
    let (image, name) = (path("bb"), format!("seen{}", std::process::id()));
    let home = tests::home();
    let log = home.path().join("log");
    tests::succeed(&mut front(["-q", "instance", "start", &image, &name]));
    let session = Killed(front(["exec", &image, "sleep", "60"]).spawn().unwrap());
    let hiders = ["instance", "session"].map(|kind| {
        let beginning = format!(
            "front/{kind}/{}/{}",
            tester(),
            if kind == "session" { "-/" } else { "" }
        );
        let py = path("py");
        let args = ["-q", "exec", "-C", &py, "python3", "-c", HIDER, &beginning];
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        Killed(front(args).stdout(log).spawn().unwrap())
    });
    wait_for("the names", Duration::from_secs(20), || {
        fs::read_to_string(&log).unwrap().matches("ready").count() == 2
    });
    let listed = run(&mut front(["instance", "list", &name]));
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:#?}");
    let listed = run(&mut front(["ps"]));
    assert!(listed.stdout.contains("/bb"), "{listed:#?}");
    let stopped = run(&mut front(["-q", "instance", "stop", "seen*"]));
    assert_eq!(stopped.code, 0, "{stopped:#?}");
    drop((hiders, session));
}
