//! CVE-2024-21626 and similar attacks: a process that enters a container starts outside of it,
//! through a link to a descriptor that the runtime or its caller has open.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::json;
use tests::{Outcome, run, succeed};

use crate::{Deleted, own_root, start};

/// Runs a command with the host's root open as descriptor 20.
fn with_descriptor(command: &Command) -> Outcome {
    let mut shell = Command::new("bash");
    shell.args(["-c", "exec \"$@\" 20</", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    run(shell
        .current_dir(command.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null()))
}

/// Does the same with all descriptors from 3 to 20.
fn with_descriptors(command: &Command) -> Outcome {
    let mut shell = Command::new("bash");
    let redirections: String = (3..=20).map(|number| format!(" {number}</")).collect();
    shell.args(["-c", &format!("exec \"$@\"{redirections}"), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    run(shell
        .current_dir(command.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null()))
}

#[test]
fn no_working_directory_leads_out() {
    let (bundle, root) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = Deleted(&bundle);
    start(&bundle);
    let look = ["/bin/sh", "-c", "pwd; cat etc/hostname; ls"];
    for number in 3..40 {
        // As the payload would do, without the entering process noticing.
        let link = root.join("work");
        let _ = fs::remove_file(&link);
        symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        let direct = format!("/proc/self/fd/{number}");
        for cwd in ["/work", "/work/..", "/work/../..", &direct] {
            for user in ["0", "4711"] {
                let args = [&["exec", "-u", user, "--cwd", cwd, "c1"], &look[..]].concat();
                let outcome = with_descriptor(&bundle.slipway(&args));
                assert_ne!(outcome.code, 0, "{cwd} {number}: {outcome:#?}");
                assert_eq!(outcome.stdout, "", "{cwd} {number}: {outcome:#?}");
            }
        }
    }
    // The container may see a descriptor that the caller passes on, but a process must not start
    // there.
    let args = [
        &[
            "exec",
            "--preserve-fds",
            "18",
            "--cwd",
            "/proc/self/fd/20",
            "c1",
        ],
        &look[..],
    ]
    .concat();
    // Alone, and beside others.
    for with in [with_descriptor, with_descriptors] {
        let outcome = with(&bundle.slipway(&args));
        assert!(
            outcome.stderr.contains("outside of the container"),
            "{outcome:#?}"
        );
    }
    assert_eq!(
        succeed(&mut bundle.slipway(&["exec", "--cwd", "/tmp", "c1", "pwd"])),
        "/tmp\n"
    );
}

#[test]
fn no_program_of_the_hosts_is_executed() {
    let (bundle, root) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = Deleted(&bundle);
    start(&bundle);
    let evil = bundle.path().join("evil");
    fs::copy(root.join("bin/busybox"), &evil).unwrap();
    for number in 3..40 {
        for up in ["", "/..", "/../..", "/../../..", "/../../../.."] {
            let program = format!("/proc/self/fd/{number}{up}{}", evil.display());
            let outcome = with_descriptor(&bundle.slipway(&["exec", "c1", &program, "true"]));
            assert_ne!(outcome.code, 0, "{program}: {outcome:#?}");
        }
    }
    // An image's shell may be such a link.
    fs::remove_file(root.join("bin/sh")).unwrap();
    symlink(
        format!("/proc/self/fd/20{}", evil.display()),
        root.join("bin/sh"),
    )
    .unwrap();
    let outcome = with_descriptor(&bundle.slipway(&["exec", "c1", "/bin/sh", "-c", "true"]));
    assert_ne!(outcome.code, 0, "{outcome:#?}");
}

#[test]
fn a_container_does_not_begin_outside() {
    for number in 3..40 {
        let cwd = format!("/proc/self/fd/{number}");
        let (bundle, _) = own_root(&["/bin/sh", "-c", "pwd; ls"], |spec| {
            spec["process"]["cwd"] = json!(cwd);
        });
        let outcome = with_descriptor(&bundle.slipway(&["run", "c1"]));
        assert_ne!(outcome.code, 0, "{cwd}: {outcome:#?}");
        assert_eq!(outcome.stdout, "", "{cwd}: {outcome:#?}");
        assert_eq!(bundle.left(), Vec::<String>::new());
    }
}

#[test]
fn nothing_but_what_was_asked_for_is_inherited() {
    let look = "for n in $(seq 3 60); do [ -e /proc/self/fd/$n ] && echo $n; done; true";
    let list = ["/bin/sh", "-c", look];
    let (bundle, _) = own_root(&list, |_| ());
    let first = with_descriptor(&bundle.slipway(&["run", "c1"]));
    let (bundle, _) = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = Deleted(&bundle);
    start(&bundle);
    let entering = with_descriptor(&bundle.slipway(&[&["exec", "c1"], &list[..]].concat()));
    for outcome in [first, entering] {
        assert_eq!(
            (outcome.stdout.as_str(), outcome.code),
            ("", 0),
            "{outcome:#?}"
        );
    }
}

/// The kernel looks up the interpreter of a script while descriptors that are only marked
/// close-on-exec are still open.
#[test]
fn no_interpreter_of_the_hosts_is_executed() {
    let (bundle, root) = own_root(&["/script"], |_| ());
    let evil = bundle.path().join("evil");
    fs::copy(tests::program("audit"), &evil).unwrap();
    let running = own_root(&["/bin/sleep", "100"], |_| ());
    let _deleted = Deleted(&running.0);
    start(&running.0);
    for unified in [false, true] {
        for number in 3..24 {
            for up in ["", "/../../.."] {
                let line = format!("#!/proc/self/fd/{number}{up}{}\n", evil.display());
                for root in [&root, &running.1] {
                    fs::write(root.join("script"), &line).unwrap();
                    tests::open_to_all(&root.join("script"));
                }
                let mut commands = vec![bundle.slipway(&["run", "c1"])];
                if !unified {
                    commands.push(running.0.slipway(&["exec", "c1", "/script"]));
                }
                for command in commands {
                    let outcome = match unified {
                        true => with_descriptor(&on_version_2(&command)),
                        false => with_descriptor(&command),
                    };
                    assert!(
                        !outcome.stdout.contains("TRIED"),
                        "{line} {command:?}: {outcome:#?}"
                    );
                }
            }
        }
    }
}

/// Returns the same command on a host with cgroups of version 2 only.
fn on_version_2(command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    let script = "mount -t cgroup2 none /sys/fs/cgroup; exec \"$@\"";
    unshare.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare.current_dir(command.get_current_dir().unwrap());
    unshare
}
