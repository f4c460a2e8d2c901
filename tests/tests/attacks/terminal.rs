//! CVE-2016-7545 and its like: a program in a container types into the terminal that it shares with a shell outside.

use std::process::{Command, Stdio};

use tests::{TESTER, fixture, program, run, tester};

/// Starts a command on a terminal of its own, and prints what it printed.
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

/// Tries to type, with the request's number in each shape that the kernel takes for it.
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
