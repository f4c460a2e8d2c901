//! A payload that stops processes of ours: SIGSTOP cannot be blocked, and without a process namespace it may signal those
//! of its user.

use std::process::Command;

use tests::{Place, fixture, program, run, tester};

/// Stops each process of a name that it sees, for so many seconds, and prints which.
const STOPPER: &str = r#"
import os, signal, sys, time
name, end, stopped = sys.argv[1], time.time() + float(sys.argv[2]), set()
print("begins", flush=True)
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

/// Runs a script of an ordinary user who is alone with the stopper on a machine: it would stop what belongs to other
/// tests. `stop NAME SECONDS` starts it, `ends WORDS` runs words that must end within ten seconds, and `none NAME` waits
/// until no process has the name. Returns what it printed.
fn alone(script: &str) -> String {
    let place = Place::new();
    let functions = format!(
        r#"
        cd {directory}
        stop() {{ $F exec -c {py} python3 -c "$0" "$@" >stopped &
            stopper=$!; until grep -qs begins stopped; do sleep 0.01; done; }}
        ends() {{ timeout -s KILL 10 "$@" 2>&1 || echo "status $?"; }}
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
    command.args(["--mount", "--mount-proc", "setpriv", "--clear-groups"]);
    command.args(["--reuid", &uid, "--regid", &uid, "--inh-caps=-all", "env"]);
    command.arg(format!("HOME=/home/{}", tests::TESTER));
    command.arg(format!("F={}", program("front").display()));
    command.arg(format!("I={}", fixture("bb.sif").display()));
    command.args(["sh", "-c", &format!("{functions}{script}"), STOPPER]);
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
    let answered = lines.iter().filter(|line| **line != "status 255").count();
    assert_eq!(answered, 5, "{printed}");
    assert!(count.parse::<u32>().unwrap() > 0, "{printed}");
}

#[test]
fn a_server_that_is_stopped_keeps_nobody_waiting() {
    // The kernel has not asked the server for the names that are listed.
    let printed = alone(
        r#"
        $F exec $I sh -c 'echo begins; exec sleep 30' >first & first=$!
        until grep -qs begins first; do sleep 0.01; done
        stop "front: image" 1
        wait $stopper
        for i in 1 2 3; do ends $F exec $I sh -c 'ls /etc /usr /bin | wc -l >/dev/null; echo hi'; done
        kill $first
        none "front: image"
        grep -c stopped stopped"#,
    );
    assert_eq!(printed, "hi\nhi\nhi\n1\n");
}
