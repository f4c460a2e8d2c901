//! The process of a program: its user, signals, streams and children.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{
    Killed, TESTER, fixture, front, program, run, run_with_input, succeed, tester, wait_for,
};

use super::media;

#[test]
fn the_user_is_the_same_inside() {
    let uid = tester();
    for image in media() {
        let id = succeed(&mut front(["exec", &image, "id"]));
        assert!(
            id.starts_with(&format!("uid={uid}({TESTER}) gid={uid}({TESTER})")),
            "{image}: {id}"
        );
        let status = succeed(&mut front(["exec", &image, "cat", "/proc/self/status"]));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(
                status.contains(&format!("{set}:\t0000000000000000")),
                "{image}: {set}: {status}"
            );
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{image}: {status}");
    }
}

#[test]
fn exit_codes_and_signals_are_the_programs_own() {
    for image in media() {
        assert_eq!(
            run(&mut front(["exec", &image, "sh", "-c", "exit 42"])).code,
            42
        );
        let killed = run(&mut front(["exec", &image, "sh", "-c", "kill -TERM $$"]));
        assert_eq!(killed.signal, Some(15), "{killed:?}");
    }
}

#[test]
fn streams_pass_through() {
    for image in media() {
        let input = vec![b'x'; 1 << 20];
        let outcome = run_with_input(&mut front(["exec", &image, "wc", "-c"]), &input);
        assert_eq!(outcome.stdout.trim(), "1048576", "{outcome:?}");
        // A reader that leaves early ends the writer by SIGPIPE, as without a container.
        let piped = format!(
            "{} exec {image} yes | head -n 1; echo ${{PIPESTATUS[0]}}",
            tests::program("front").display()
        );
        let mut shell = tests::as_tester("/bin/bash");
        let outcome = run(shell.args(["-c", &piped]));
        assert_eq!(outcome.stdout, "y\n141\n", "{outcome:?}");
    }
}

#[test]
fn descriptors_and_the_process_itself_are_the_callers() {
    let front = tests::program("front");
    for image in media() {
        // The launcher's child is the program: it has the same pid, and a descriptor that was left
        // open.
        let script = format!(
            "exec 7</etc/hostname; {} exec {image} sh -c 'echo $$ $PPID; cat <&7 >/dev/null && echo read' & echo $!; wait",
            front.display()
        );
        let outcome = run(tests::as_tester("/bin/bash").args(["-c", &script]));
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(lines.len(), 3, "{outcome:?}");
        let started = lines
            .iter()
            .find(|line| !line.contains(' ') && **line != "read")
            .unwrap();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with(&format!("{started} "))),
            "{outcome:?}"
        );
        assert!(lines.contains(&"read"), "{outcome:?}");
    }
}

#[test]
fn a_terminal_works() {
    let image = fixture("bb").display().to_string();
    let command = format!("{} shell {image}", tests::program("front").display());
    let mut script = tests::as_tester("/usr/bin/script");
    let outcome = run_with_input(
        script.args(["-qec", &command, "/dev/null"]),
        b"tty; test -t 0 && echo yes; exit\n",
    );
    assert!(outcome.stdout.contains("yes"), "{outcome:?}");
    assert!(!outcome.stdout.contains("can't access tty"), "{outcome:?}");
}

#[test]
fn background_processes_keep_their_image() {
    let image = fixture("bb.sif").display().to_string();
    let marker = format!("/home/{TESTER}/late-{}", std::process::id());
    let script = format!("(sleep 1.5; cat /etc/os-release >{marker}) >/dev/null 2>&1 </dev/null &");
    succeed(&mut front(["exec", &image, "sh", "-c", &script]));
    wait_for("the background process", Duration::from_secs(5), || {
        std::fs::read_to_string(&marker).is_ok_and(|text| text == "NAME=bb\n")
    });
    std::fs::remove_file(marker).unwrap();
}

#[test]
fn stopping_and_continuing_reach_the_program() {
    let image = fixture("bb.sif").display().to_string();
    let mut child = Killed(
        front(["exec", &image, "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = nix::unistd::Pid::from_raw(child.0.id().cast_signed());
    let name = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    wait_for("the program", Duration::from_secs(5), || name() == "cat\n");
    // Not SIGTSTP: the kernel drops it if the tests themselves have no job control.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_for("the stop", Duration::from_secs(2), || {
        stat().contains(" T ")
    });
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    drop(child.0.stdin.take());
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn root_is_root_inside() {
    for image in media() {
        let mut command = Command::new(program("front"));
        let id = succeed(
            command
                .args(["exec", &image, "id", "-u"])
                .stdin(Stdio::null()),
        );
        assert_eq!(id, "0\n", "{image}");
    }
}

/// A debugger that follows every process would stop the image's server, and then wait for it at the
/// next page of the image.
#[test]
fn strace_follows_the_program_and_not_the_images_server() {
    let log = tests::home();
    tests::open_to_all(log.path());
    for name in ["py.sif", "bb.sif", "bb"] {
        for flag in ["--no-share", "-c", "-C"] {
            let image = fixture(name).display().to_string();
            let trace = log.path().join("trace");
            let _ = fs::remove_file(&trace);
            let mut strace = tests::as_tester("timeout");
            strace.args(["-s", "KILL", "60", "strace", "-f", "-o"]);
            std::fs::set_permissions(
                log.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o777),
            )
            .unwrap();
            strace.arg(&trace).arg(tests::program("front"));
            strace.args(["exec", flag, &image]);
            match name {
                "py.sif" => strace.args(["python3", "-c", "import json; print('ran')"]),
                _ => strace.args(["sh", "-c", "echo ran"]),
            };
            let outcome = run(&mut strace);
            assert_eq!(
                (outcome.stdout.as_str(), outcome.code),
                ("ran\n", 0),
                "{name} {flag}: {outcome:?}"
            );
            assert!(
                fs::read_to_string(&trace)
                    .unwrap()
                    .contains("write(1, \"ran\\n\""),
                "{name} {flag}"
            );
        }
    }
}
