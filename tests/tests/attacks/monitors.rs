//! Sessions whose processes are ended from outside, such as the image's server, which the kernel
//! may end when memory is short.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{Killed, fixture, front, run, succeed, testers_processes, wait_for};

/// Returns the image servers of a test.
fn servers(mark: &str) -> Vec<u32> {
    let ours = crate::marked(mark);
    let processes = testers_processes().into_iter();
    processes
        .filter(|(pid, name)| name == "front: image" && ours.contains(pid))
        .map(|(pid, _)| pid)
        .collect()
}

#[test]
fn a_session_whose_server_has_ended_is_not_joined() {
    let image = fixture("bb.sif").display().to_string();
    let (name, value) = crate::mark("server");
    let child = front(["exec", &image, "sleep", "100"])
        .env(name, &value)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _first = Killed(child);
    wait_for("the image's server", Duration::from_secs(20), || {
        !servers(&value).is_empty()
    });
    // The program runs as soon as the session can be joined.
    let outcome = run(&mut front(["exec", &image, "true"]));
    assert_eq!(outcome.code, 0, "{outcome:#?}");
    for server in servers(&value) {
        kill(Pid::from_raw(server.cast_signed()), Signal::SIGKILL).unwrap();
    }
    // The kernel has not asked the server for these files yet.
    let look = [
        "exec",
        &image,
        "sh",
        "-c",
        "ls /etc /usr /bin | wc -l; cat /etc/os-release",
    ];
    for round in 0..30 {
        let outcome = run(&mut front(look));
        assert_eq!(outcome.code, 0, "{round}: {outcome:#?}");
        assert!(
            outcome.stdout.ends_with("NAME=bb\n"),
            "{round}: {outcome:#?}"
        );
    }
}

/// Connects to the user's monitors from a payload, in each way that a program of ours does, and
/// prints what they send.
const CALLER: &str = r#"
import os, socket, struct, sys
for line in open("/proc/net/unix"):
    name = line.split()[7][1:] if len(line.split()) > 7 else ""
    if not name.startswith("front/"):
        continue
    for wish in (b"?", b"+", b"!"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(1)
        try:
            s.connect(b"\0" + name.encode())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            hello, extra, _, _ = s.recvmsg(100, 100)
            monitor = struct.unpack("iii", extra[0][2])[0]
            answer = int.from_bytes(hello[1:9], sys.byteorder)
            for number in (hello[9:].decode(), "0", "5", "6", "7", "8", "9"):
                try:
                    fd = os.open("/proc/%d/fd/%s" % (monitor, number), os.O_RDONLY)
                    print("opened", name, number, os.readlink("/proc/self/fd/%d" % fd))
                except OSError:
                    pass
            s.send(wish + b"tokentok" + b"%d %d" % (answer, 0))
            for _ in range(3):
                data, fds, _, _ = socket.recv_fds(s, 100000, 8)
                if data[:1] not in (b"", b"H") or fds:
                    print("got", name, data[:20], len(fds))
        except (OSError, IndexError):
            pass
print("tried")
"#;

/// If `/proc` hides processes, a monitor cannot inspect its callers. It then uses their user
/// namespace.
#[test]
fn a_contained_payload_gets_nothing_of_monitors_that_it_calls() {
    let image = fixture("py").display().to_string();
    let uid = tests::tester();
    for hidden in ["0", "2"] {
        let text = format!(
            "mount -t proc -o hidepid={hidden} proc /proc; exec setpriv --reuid {uid} --regid {uid} --clear-groups \
             --inh-caps=-all env HOME=/home/{user} sh -c 'cd; F={front}; $F -q instance start {image} called; \
             $F -q exec -c {image} sleep 5 & $F -q exec {image} sleep 5 & sleep 0.5; \
             $F -q exec -c {image} python3 -c \"$0\"; $F -q exec instance://called echo joined; \
             $F -q instance stop called' \"$0\"",
            user = tests::TESTER,
            front = tests::program("front").display(),
        );
        let mut command = Command::new("timeout");
        command.args([
            "-k",
            "5",
            "60",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--propagation",
            "private",
        ]);
        let outcome = run(command
            .args(["sh", "-c", &text, CALLER])
            .stdin(Stdio::null()));
        assert_eq!(
            outcome.stdout, "tried\njoined\n",
            "hidepid={hidden}: {outcome:#?}"
        );
    }
}

/// Callers that connect and send nothing delay nobody.
#[test]
fn silent_callers_keep_nobody_waiting() {
    let image = fixture("bb").display().to_string();
    let name = format!("silent{}", std::process::id());
    assert_eq!(
        run(&mut front(["-q", "instance", "start", &image, &name])).code,
        0
    );
    let silent = "import socket, sys, time\nheld = []\nfor _ in range(40):\n    \
                  s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n    \
                  s.connect(b'\\0' + sys.argv[1].encode())\n    held.append(s)\ntime.sleep(20)";
    let socket = format!("front/instance/{}/{name}", tests::tester());
    let caller = tests::as_tester("python3")
        .args(["-c", silent, &socket])
        .spawn()
        .unwrap();
    let _caller = Killed(caller);
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    let joined = run(&mut front([
        "-q",
        "exec",
        &format!("instance://{name}"),
        "echo",
        "joined",
    ]));
    let listed = run(&mut front(["instance", "list", &name]));
    let stopped = run(&mut front(["-q", "instance", "stop", &name]));
    assert_eq!(joined.stdout, "joined\n", "{joined:#?}");
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:#?}");
    assert_eq!(stopped.code, 0, "{stopped:#?}");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

/// For a user in many groups, `/proc/PID/status` has a long line before the one that shows whether
/// the process is in a container.
#[test]
fn a_user_of_many_groups_finds_their_instances() {
    let image = fixture("bb").display().to_string();
    let groups: Vec<String> = (1_000_000_000..1_000_002_000)
        .map(|id: u64| id.to_string())
        .collect();
    let uid = tests::tester().to_string();
    let name = format!("groups{}", std::process::id());
    let exec = format!("instance://{name}");
    for (args, expected) in [
        (vec!["-q", "instance", "start", &image, &name], ""),
        (vec!["-q", "exec", &exec, "echo", "joined"], "joined\n"),
        (vec!["-q", "instance", "stop", &name], ""),
    ] {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--groups",
            &groups.join(","),
            "--inh-caps=-all",
        ]);
        command
            .args(["env", &format!("HOME=/home/{}", tests::TESTER)])
            .arg(tests::program("front"));
        let outcome = run(command.args(&args).current_dir("/").stdin(Stdio::null()));
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            (expected, 0),
            "{args:?}: {outcome:#?}"
        );
    }
}

/// Connects to a name again and again, and never answers.
const FLOOD: &str = r#"
import socket, sys, time
end = time.time() + 25
held = []
while time.time() < end:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.setblocking(False)
    try:
        s.connect(b"\0" + sys.argv[1].encode())
        held.append(s)
    except BlockingIOError:
        time.sleep(0.0005)
    except OSError:
        time.sleep(0.01)
    if len(held) > 400:
        held = held[100:]
"#;

/// A contained payload gets no preference from a monitor: callers are accepted in turn.
#[test]
fn calls_without_end_keep_nobody_waiting() {
    let (bb, py) = (
        fixture("bb").display().to_string(),
        fixture("py").display().to_string(),
    );
    let name = format!("flooded{}", std::process::id());
    succeed(&mut front(["-q", "instance", "start", &bb, &name]));
    let _stopped = Stopped(&name);
    let socket = format!("front/instance/{}/{name}", tests::tester());
    let flood = || {
        let mut command = front(["-q", "exec", "-C", &py, "python3", "-c", FLOOD, &socket]);
        Killed(command.spawn().unwrap())
    };
    let _floods = [flood(), flood(), flood()];
    std::thread::sleep(Duration::from_secs(1));
    let exec = format!("instance://{name}");
    for round in 0..10 {
        let begin = Instant::now();
        let joined = run(&mut front(["-q", "exec", &exec, "echo", "joined"]));
        assert_eq!(joined.stdout, "joined\n", "{round}: {joined:#?}");
        // A list leaves out whoever does not answer soon, as may happen on a machine that is busy
        // with other tests, too.
        wait_for("the list", Duration::from_secs(10), || {
            let listed = run(&mut front(["instance", "list", &name]));
            listed.stdout.lines().count() == 2
        });
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{round}: {:?}",
            begin.elapsed()
        );
    }
}

/// Stops an instance when dropped, even if the test has failed.
struct Stopped<'a>(&'a str);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let stopped = run(&mut front(["-q", "instance", "stop", "-F", self.0]));
        assert!(std::thread::panicking() || stopped.code == 0, "{stopped:?}");
    }
}

/// Has as many descriptors in flight as the kernel allows the user.
const UNDER_WAY: &str = r#"
import os, resource, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
keep, null = [], os.open("/dev/null", os.O_RDONLY)
try:
    while len(keep) < 400:
        keep.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        keep[-1][0].setblocking(False)
        try:
            while True:
                socket.send_fds(keep[-1][0], [b"x"], [null] * 253)
        except BlockingIOError:
            pass
except OSError:
    pass
print("under way", flush=True)
time.sleep(30)
"#;

#[test]
fn descriptors_under_way_stand_in_nobodys_way() {
    let (sif, py) = (
        fixture("bb.sif").display().to_string(),
        fixture("py").display().to_string(),
    );
    let name = format!("way{}", std::process::id());
    let home = tests::home();
    let log = home.path().join("log");
    let payload = front(["-q", "exec", "-C", &py, "python3", "-c", UNDER_WAY])
        .stdout(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _payload = Killed(payload);
    wait_for("the descriptors", Duration::from_secs(20), || {
        std::fs::read_to_string(&log).unwrap().contains("under way")
    });
    let job = format!("way-{}", std::process::id() ^ 1);
    let exec = format!("instance://{name}");
    let rank = |rank: &str| {
        let mut command = front([
            "exec",
            &sif,
            "sh",
            "-c",
            "sleep 1; readlink /proc/self/ns/user",
        ]);
        for (name, value) in [
            ("JOB_ID", job.as_str()),
            ("STEP_ID", "0"),
            ("PROCID", rank),
            ("LOCALID", rank),
            ("STEP_NUM_TASKS", "2"),
            ("STEP_TASKS_PER_NODE", "2"),
            ("NODEID", "0"),
        ] {
            command.env(format!("SLURM_{name}"), value);
        }
        std::thread::spawn(move || succeed(&mut command))
    };
    let ranks = [rank("0"), rank("1")].map(|rank| rank.join().unwrap());
    assert_eq!(ranks[0], ranks[1]);
    assert_eq!(
        succeed(&mut front(["exec", &sif, "echo", "alone"])),
        "alone\n"
    );
    succeed(&mut front(["-q", "instance", "start", &sif, &name]));
    assert_eq!(
        succeed(&mut front(["-q", "exec", &exec, "echo", "joined"])),
        "joined\n"
    );
    succeed(&mut front(["-q", "instance", "stop", &name]));
}
