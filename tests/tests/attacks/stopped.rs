//! A payload that stops processes of ours: SIGSTOP cannot be blocked, and without a pid namespace
//! the payload may signal the processes of its user.

use std::process::Command;

use tests::{TestDirectory, fixture, program, run, tester};

/// Stops each process of a name that it sees, for a number of seconds, and prints which. If `/proc`
/// hides processes, it stops the youngest session leader that existed before it: an image's server.
const STOPPER: &str = r#"
import os, signal, sys, time
name, end, stopped = sys.argv[1], time.time() + float(sys.argv[2]), set()
print("begins", flush=True)
def leads(pid):
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False
if not os.path.exists("/proc/1"):
    pid = next(filter(leads, range(os.getpid() - 1, 1, -1)))
    os.kill(pid, signal.SIGSTOP)
    print("stopped", pid, flush=True)
while time.time() < end:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if pid not in stopped and open("/proc/%s/comm" % pid).read().strip() == name:
                os.kill(int(pid), signal.SIGSTOP)
                stopped.add(pid)
                print("stopped", pid, flush=True)
        except OSError:
            pass
"#;

/// Runs a script of an ordinary user who is alone with the stopper on a machine: it would also stop
/// processes of other tests. `hidden` is the way in which `/proc` is mounted. In the script, `stop
/// NAME SECONDS` starts the stopper, `ends WORDS` runs words that must end within 30 seconds (each
/// of three ranks in turn may wait for a builder that is stopped and ended, about three seconds), and
/// `none NAME` waits until no process has the name. Returns the script's output.
fn alone(hidden: &str, script: &str) -> String {
    let place = TestDirectory::new();
    let functions = format!(
        r#"
        cd {directory}
        stop() {{ $F exec -c {py} python3 -c "$0" "$@" >stopped &
            stopper=$!; until grep -qs begins stopped; do sleep 0.01; done; }}
        ends() {{ timeout -s KILL 30 "$@" 2>&1 || echo "status $?"; }}
        none() {{ for i in $(seq 100); do grep -qsx "$1" /proc/[0-9]*/comm || return 0; sleep 0.1; done; echo "left: $1"; }}
        "#,
        directory = place.path().display(),
        py = fixture("py").display(),
    );
    let uid = tester().to_string();
    let mut command = Command::new("timeout");
    command.args([
        "-k",
        "5",
        "90",
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    let start = format!(
        "mount -t proc -o hidepid={hidden} proc /proc; exec setpriv --clear-groups --reuid {uid} --regid {uid} \
         --inh-caps=-all env HOME=/home/{user} F={front} I={image} sh -c \"$1\" \"$0\"",
        user = tests::TESTER,
        front = program("front").display(),
        image = fixture("bb.sif").display(),
    );
    command.args(["--mount", "sh", "-c", &start, STOPPER]);
    command.arg(format!("{functions}{script}"));
    let outcome = run(&mut command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout
}

/// Whether a launch ran, or said in one line why it did not.
fn is_good(line: &str) -> bool {
    line == "hi" || line.contains("was stopped (SIGSTOP)") || line == "status 255"
}

#[test]
fn a_builder_that_is_stopped_keeps_nobody_waiting() {
    let printed = alone(
        "0",
        r#"
        stop "front: builder" 12
        for i in 1 2; do ends $F exec -e $I echo hi; done
        export SLURM_JOB_ID=1 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=3 SLURM_STEP_TASKS_PER_NODE=3 SLURM_NODEID=0
        for rank in 0 1 2; do
            SLURM_PROCID=$rank SLURM_LOCALID=$rank ends $F exec $I echo hi >rank-$rank & ranks="$ranks $!"
        done
        wait $ranks
        cat rank-*
        wait $stopper
        none "front: builder"
        grep -c stopped stopped"#,
    );
    let lines: Vec<&str> = printed.lines().collect();
    let (count, lines) = lines.split_last().unwrap();
    assert!(lines.iter().all(|line| is_good(line)), "{printed}");
    // The message of one rank is valid for the others.
    let answered = lines.iter().filter(|line| **line != "status 255").count();
    assert!((3..=5).contains(&answered), "{printed}");
    assert!(count.parse::<u32>().unwrap() > 0, "{printed}");
}

/// The commands that run the image: preparations, and the command itself.
const SERVED: [(&str, &str); 4] = [
    ("", "exec $I"),
    ("", "exec -c $I"),
    ("", "exec -C $I"),
    ("$F -q instance start $I one; ", "exec instance://one"),
];

#[test]
fn a_server_that_is_stopped_goes_on() {
    for hidden in ["0", "2"] {
        // If there is an instance, the youngest session leader is its first process.
        let hidden_too = |before: &str| hidden == "0" || before.is_empty();
        for (before, exec) in SERVED.into_iter().filter(|(before, _)| hidden_too(before)) {
            // The kernel has not asked the server for the listed names before.
            let script = format!(
                r#"
                {before}
                $F -q {exec} sh -c 'echo begins; sleep 2; ls /etc /usr /bin | wc -l >/dev/null; echo hi' >first & first=$!
                until grep -qs begins first; do sleep 0.01; done
                stop "front: image" 1
                wait $stopper
                for i in 1 2; do ends $F -q {exec} sh -c 'ls /etc /usr /bin /root | wc -l >/dev/null; echo hi'; done
                wait $first
                tail -n 1 first
                [ -z "{before}" ] || ends $F -q instance stop one
                none "front: image"
                none "front: session"
                grep -q stopped stopped || echo nothing was stopped"#
            );
            assert_eq!(
                alone(hidden, &script),
                "hi\nhi\nhi\n",
                "{exec} hidepid={hidden}"
            );
        }
    }
}

/// A payload may set the limits of its user's processes. A process without descriptors cannot
/// observe anything any more.
#[test]
fn a_monitor_that_may_have_no_descriptors_ends() {
    let take = "import os, resource\n\
        for pid in filter(str.isdigit, os.listdir(\\\"/proc\\\")):\n\
        \x20   if open(\\\"/proc/%s/comm\\\" % pid).read().strip() == \\\"front: session\\\":\n\
        \x20       resource.prlimit(int(pid), resource.RLIMIT_NOFILE, (0, 0)); print(\\\"taken\\\", pid)";
    let printed = alone(
        "0",
        &format!(
            r#"
            $F -q instance start $I one
            $F exec $I sleep 1 & $F exec -C $I sleep 1 &
            sleep 0.5
            $F exec -c {py} python3 -c "{take}" >taken
            grep -c taken taken
            ends $F exec $I echo hi
            wait
            # Its monitor learns of this, and of nothing more: it ends, and the instance with it.
            ends $F -q instance stop one >stopped
            none "front: session"
            none "front: image"
            none "front: instance""#,
            py = fixture("py").display(),
        ),
    );
    let count = printed.lines().next().unwrap().parse::<u32>().unwrap();
    assert!(count >= 3, "{printed}");
    assert_eq!(
        printed.lines().skip(1).collect::<Vec<_>>(),
        ["hi"],
        "{printed}"
    );
}

/// The server is stopped as soon as it exists: at some moment between building the session and
/// entering it.
#[test]
fn launches_whose_servers_are_stopped_at_any_moment_end() {
    let printed = alone(
        "0",
        r#"
        stop "front: image" 8
        for i in 1 2 3 4 5 6; do
            ends $F exec -e $I sh -c 'ls /etc | wc -l >/dev/null; echo hi'
            ends $F exec -C $I sh -c 'ls /etc | wc -l >/dev/null; echo hi'
        done
        wait $stopper
        none "front: image"
        none "front: session"
        grep -c stopped stopped"#,
    );
    let lines: Vec<&str> = printed.lines().collect();
    let (count, lines) = lines.split_last().unwrap();
    assert!(lines.iter().all(|line| is_good(line)), "{printed}");
    let answered = lines.iter().filter(|line| **line != "status 255").count();
    assert_eq!(answered, 12, "{printed}");
    assert!(count.parse::<u32>().unwrap() > 0, "{printed}");
}
