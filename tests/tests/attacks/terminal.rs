//! CVE-2016-7545 and similar attacks: a program in a container types into the terminal that it
//! shares with a shell outside.

use std::process::{Command, Stdio};

use tests::{TESTER, fixture, program, run, succeed, tester};

use crate::{Deleted, own_root, start};

/// Starts a command on a terminal of its own, and prints the command's output.
const ON_A_TERMINAL: &str = r"
import os, pty, sys
pid, master = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
out = b''
try:
    while chunk := os.read(master, 4096):
        out += chunk
except OSError:
    pass
sys.stdout.write(out.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";

/// Tries to type, with the request's number in each form that the kernel accepts.
const TYPE: &str = r"
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
for request in (0x5412, 0x541c, 0x5412 | 1 << 32, 0x5412 | 0xffffffff << 32):
    result = libc.syscall(16, 0, ctypes.c_ulong(request), b'x')
    print('typed' if result == 0 else errno.errorcode[ctypes.get_errno()])
";

#[test]
fn a_contained_program_does_not_type_into_the_terminal() {
    let uid = tester().to_string();
    let image = fixture("py").display().to_string();
    for flags in [&["-c"][..], &["-C"], &["-c", "-p"]] {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
            "--inh-caps=-all",
        ]);
        command.args([
            "env",
            &format!("HOME=/home/{TESTER}"),
            "python3",
            "-c",
            ON_A_TERMINAL,
        ]);
        command
            .arg(program("front"))
            .args(["-q", "exec"])
            .args(flags);
        command
            .args([&image, "python3", "-c", TYPE])
            .current_dir(format!("/home/{TESTER}"));
        let outcome = run(command.stdin(Stdio::null()));
        let lines: Vec<&str> = outcome.stdout.split_whitespace().collect();
        assert_eq!(lines.len(), 4, "{flags:?}: {outcome:#?}");
        assert!(
            lines.iter().all(|line| ["EPERM", "EIO"].contains(line)),
            "{flags:?}: {outcome:#?}"
        );
        assert!(!lines.contains(&"typed"), "{flags:?}");
    }
}

/// Starts a command on a terminal, fills the terminal with input, asks the command to end, and
/// prints its exit code.
const FILLED: &str = r"
import os, pty, signal, sys, time
pid, master = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
os.set_blocking(master, False)
def within(seconds, act):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if act():
                return True
        except BlockingIOError:
            pass
        time.sleep(0.01)
    return False
out = b''
def begins():
    global out
    out += os.read(master, 4096)
    return b'begins' in out
sent = 0
def fill():
    global sent
    sent += os.write(master, b'y' * 4096)
def ends():
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        print(os.waitstatus_to_exitcode(status), sent > 20000)
    else:
        os.read(master, 65536)
    return done
if not within(20, begins):
    print('does not begin', out)
within(1, fill)
os.kill(pid, signal.SIGTERM)
if not within(10, ends):
    print('hangs')
    os.kill(pid, signal.SIGKILL)
";

/// The program of a terminal need not read its input, nor may it hold up the runtime so.
#[test]
fn a_full_terminal_holds_up_no_signal() {
    let script = "stty raw -echo; trap 'exit 7' TERM; echo begins; while :; do sleep 0.1; done";
    let (bundle, _) = own_root(&["/bin/sh", "-c", script], |spec| {
        spec["process"]["terminal"] = true.into();
    });
    assert_eq!(
        on_a_terminal(FILLED, &bundle.slipway(&["run", "c1"])),
        "7 True\n"
    );
    let (bundle, _) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = Deleted(&bundle);
    start(&bundle);
    let exec = bundle.slipway(&["exec", "-t", "c1", "/bin/sh", "-c", script]);
    assert_eq!(on_a_terminal(FILLED, &exec), "7 True\n");
}

#[test]
fn all_output_passes_through_a_terminal() {
    let (bundle, _) = own_root(&["/bin/seq", "20000"], |spec| {
        spec["process"]["terminal"] = true.into();
    });
    let lines: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    let output = on_a_terminal(ON_A_TERMINAL, &bundle.slipway(&["run", "c1"]));
    assert!(output.replace('\r', "") == lines, "{} bytes", output.len());
}

fn on_a_terminal(script: &str, command: &Command) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(command.get_program());
    python.args(command.get_args());
    succeed(python.current_dir(command.get_current_dir().unwrap()))
}
