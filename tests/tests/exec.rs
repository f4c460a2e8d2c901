//! `front exec`, `run` and `shell` on a directory, a SIF and a squashfs, as an ordinary user.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{
    Killed, TESTER, fixture, front, program, run, run_with_input, succeed, tester, wait_for,
};

/// The same image on every medium.
fn media() -> Vec<String> {
    ["bb", "bb.sif"]
        .iter()
        .map(|name| fixture(name).display().to_string())
        .collect()
}

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
fn a_command_that_cannot_be_started_says_why() {
    let rows = [
        (
            vec!["nosuch"],
            "\"nosuch\": executable file not found in $PATH",
        ),
        (
            vec!["/bin/nosuch"],
            "/bin/nosuch: no such file or directory",
        ),
        (vec!["/etc"], "is a directory"),
        (vec!["/etc/passwd"], "permission denied"),
    ];
    for image in media() {
        for (command, words) in &rows {
            let mut all = vec!["exec", &image];
            all.extend(command);
            let outcome = run(&mut front(all));
            assert_eq!(outcome.code, 255, "{outcome:?}");
            assert!(outcome.stderr.starts_with("FATAL:   "), "{outcome:?}");
            assert!(outcome.stderr.contains(words), "{outcome:?}");
            assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        }
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
        // The launcher's child is the program: one pid, and a descriptor that was left open.
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
fn the_working_directory_goes_along() {
    for image in media() {
        assert_eq!(
            succeed(&mut front(["exec", &image, "pwd"])),
            format!("/home/{TESTER}\n")
        );
        assert_eq!(
            succeed(&mut front(["exec", "--pwd", "/etc", &image, "pwd"])),
            "/etc\n"
        );
        let outcome = run(&mut front(["exec", "--pwd", "/nope", &image, "pwd"]));
        assert_eq!(outcome.code, 255);
        assert!(
            outcome.stderr.contains("failed to set working directory"),
            "{outcome:?}"
        );
        // A directory that the image lacks.
        let outcome = run(front(["exec", &image, "pwd"]).current_dir("/var/lib/dpkg"));
        assert_eq!(outcome.stdout, "/var/lib/dpkg\n", "{outcome:?}");
    }
}

#[test]
fn the_image_is_read_only_and_the_rest_is_not() {
    for image in media() {
        let outcome = run(&mut front(["exec", &image, "touch", "/etc/new"]));
        assert!(
            outcome.stderr.contains("Read-only file system"),
            "{outcome:?}"
        );
        succeed(&mut front([
            "exec",
            &image,
            "sh",
            "-c",
            "touch ~/mine /tmp/mine-$$ && rm ~/mine /tmp/mine-$$",
        ]));
        let devices = succeed(&mut front([
            "exec",
            &image,
            "sh",
            "-c",
            "echo x >/dev/null; head -c 3 /dev/zero | wc -c; ls /dev/pts/ptmx",
        ]));
        assert_eq!(devices, "3\n/dev/pts/ptmx\n");
    }
}

#[test]
fn the_environment_follows_apptainers_rules() {
    let image = fixture("bb.sif").display().to_string();
    let env = |command: &mut Command| {
        let text = succeed(command);
        text.lines()
            .map(|line| {
                line.split_once('=')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .unwrap_or_default()
            })
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let plain = env(front(["exec", &image, "env"])
        .env("FOO", "bar")
        .env("LD_LIBRARY_PATH", "/x"));
    assert_eq!(plain["FOO"], "bar");
    assert_eq!(
        plain["PATH"],
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    assert_eq!(plain["LD_LIBRARY_PATH"], "/.singularity.d/libs");
    assert_eq!(plain["SINGULARITY_NAME"], "bb.sif");
    assert!(plain["USER_PATH"].starts_with("/usr/local/bin:/usr/bin:/bin:"));
    let clean = env(front(["exec", "-e", &image, "env"]).env("FOO", "bar"));
    assert!(
        !clean.contains_key("FOO") && !clean.contains_key("USER"),
        "{clean:?}"
    );
    assert_eq!(clean["LANG"], "C");
    let set = env(front(["exec", "--env", "A=1,B=x y", &image, "env"])
        .env("APPTAINERENV_A", "2")
        .env("SINGULARITYENV_C", "${HOME}/$(echo sub)")
        .env("APPTAINERENV_PREPEND_PATH", "/mine"));
    assert_eq!((set["A"].as_str(), set["B"].as_str()), ("1", "x y"));
    assert_eq!(set["C"], format!("/home/{TESTER}/sub"));
    assert!(set["PATH"].starts_with("/mine:"));
    assert!(!set.contains_key("APPTAINERENV_A"));
}

#[test]
fn run_and_shell() {
    let image = fixture("bb.sif").display().to_string();
    let outcome = run(&mut front(["run", &image]));
    assert!(
        outcome.stdout.contains("no runscript defined"),
        "{outcome:?}"
    );
    let outcome = run_with_input(
        &mut front(["shell", &image]),
        b"echo $0 in $SINGULARITY_NAME\n",
    );
    assert_eq!(outcome.stdout, "/bin/sh in bb.sif\n", "{outcome:?}");
    let directory = fixture("bb").display().to_string();
    let outcome = run_with_input(
        &mut front(["run", &directory, "-c", "echo $0 $1", "a", "b"]),
        b"",
    );
    assert_eq!(outcome.stdout, "a b\n", "{outcome:?}");
    assert!(outcome.stderr.contains("No runscript found"), "{outcome:?}");
}

#[test]
fn the_built_in_image_runs() {
    let outcome = run(&mut front(["run"]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains(&format!("user       {}", tester())),
        "{outcome:?}"
    );
}

#[test]
fn dry_run_prints_a_bundle() {
    let image = fixture("bb.sif").display().to_string();
    let text = succeed(&mut front([
        "exec",
        "--dry-run",
        "-B",
        "/usr/share:/lus",
        &image,
        "id",
    ]));
    let spec: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(spec["process"]["args"], serde_json::json!(["id"]));
    assert_eq!(spec["root"]["readonly"], true);
    let mounts = spec["mounts"].as_array().unwrap();
    assert!(
        mounts
            .iter()
            .any(|mount| mount["destination"] == "/lus" && mount["source"] == "/usr/share")
    );
}

#[test]
fn usage_errors_are_one_line_and_exit_1() {
    for args in [
        vec!["exec", "--nosuch", "x", "y"],
        vec!["exec", "x"],
        vec!["frobnicate"],
    ] {
        let outcome = run(&mut front(&args));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn python_works_from_a_sif() {
    let image = fixture("py.sif").display().to_string();
    let script = "import numpy, sys; print(int(numpy.arange(10).sum()), sys.version_info[0])";
    assert_eq!(
        succeed(&mut front(["exec", &image, "python3", "-c", script])),
        "45 3\n"
    );
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
fn without_fuse_the_image_is_extracted() {
    // A user for whom /dev/fuse is closed: in a mount namespace of the test's, where it is gone.
    let image = fixture("bb.sif").display().to_string();
    let cache = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(cache.path(), Some(tester()), Some(tester())).unwrap();
    let front = tests::program("front");
    let script = format!(
        "mount -t tmpfs tmpfs /mnt && touch /mnt/none && chmod 0 /mnt/none && mount --bind /mnt/none /dev/fuse && \
         exec setpriv --reuid {TESTER} --regid {TESTER} --clear-groups {} exec {image} cat /etc/os-release",
        front.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env("SINGULARITY_CACHEDIR", cache.path())
        .current_dir("/");
    let first = run(&mut command);
    assert_eq!(
        (first.stdout.as_str(), first.code),
        ("NAME=bb\n", 0),
        "{first:?}"
    );
    assert!(first.stderr.contains("extracting it to"), "{first:?}");
    let second = run(&mut command);
    assert_eq!(
        (second.stdout.as_str(), second.stderr.as_str()),
        ("NAME=bb\n", ""),
        "{second:?}"
    );
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
    // Not SIGTSTP: the kernel drops it where the tests themselves have no job control.
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

/// An empty variable is not one that is missing (Tiberius#105): `CUDA_VISIBLE_DEVICES=` is no GPU.
#[test]
fn tiberius_105_an_empty_variable_stays() {
    let image = fixture("bb").display().to_string();
    let print = "echo \"${CUDA_VISIBLE_DEVICES-unset}|${OTHER-unset}|${THIRD-unset}\"";
    let mut command = front(["-q", "exec", "--env", "THIRD=", &image, "sh", "-c", print]);
    let printed = succeed(command.env("CUDA_VISIBLE_DEVICES", ""));
    assert_eq!(printed, "|unset|\n");
    let mut clean = front([
        "-q", "exec", "-e", "--env", "THIRD=", &image, "sh", "-c", print,
    ]);
    assert_eq!(
        succeed(clean.env("CUDA_VISIBLE_DEVICES", "")),
        "unset|unset|\n"
    );
    let mut own = front(["-q", "exec", &image, "sh", "-c", print]);
    let printed = succeed(own.env("SINGULARITYENV_OTHER", "").env("THIRD", ""));
    assert_eq!(printed, "unset||\n");
}

/// A debugger that follows every process would stop the image's server, and wait for it at the next page of the image.
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

/// A home that the account names by a link: what counts is the way by which the caller came.
#[test]
fn singularity_5069_the_working_directory_is_where_the_shell_says() {
    // Where every container sees nothing of the host's.
    let place = tempfile::tempdir_in("/var/lib").unwrap();
    tests::open_to_all(place.path());
    let (real, link) = (place.path().join("real"), place.path().join("link"));
    fs::create_dir_all(real.join("work")).unwrap();
    fs::write(real.join("f"), "found\n").unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    succeed(Command::new("chown").args(["-R", "4711:4711"]).arg(&real));
    let image = fixture("bb").display().to_string();
    let (through, physical) = (link.join("work"), real.join("work"));
    let odd = link.join("work/../work");
    for (pwd, expected, parent) in [
        (Some(through.as_path()), &through, "found\n"),
        (Some(physical.as_path()), &physical, ""),
        // A path that is not there, or goes up, is not believed.
        (Some(std::path::Path::new("/nonexistent")), &physical, ""),
        (Some(odd.as_path()), &physical, ""),
        (None, &physical, ""),
    ] {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "4711",
            "--regid",
            "4711",
            "--clear-groups",
            "env",
            "-i",
        ]);
        command
            .arg(format!("HOME={}", link.display()))
            .arg("PATH=/usr/bin:/bin");
        command.args(pwd.map(|pwd| format!("PWD={}", pwd.display())));
        command.arg(program("front"));
        command.args([
            "exec",
            "--no-share",
            &image,
            "sh",
            "-c",
            "pwd; cat ../f 2>/dev/null",
        ]);
        let outcome = run(command.current_dir(&through));
        let expected = format!("{}\n{parent}", expected.display());
        assert_eq!(outcome.stdout, expected, "{pwd:?}: {outcome:?}");
    }
}

#[test]
fn apptainer_2537_what_is_preloaded_and_not_there_is_left_out() {
    let image = fixture("py").display().to_string();
    let show = "import os; print(os.environ.get('LD_PRELOAD'))";
    let exec = |value: &str, flags: &[&str]| {
        let words = [&["exec"], flags, &[image.as_str(), "python3", "-c", show]].concat();
        run(front(words).env("LD_PRELOAD", value))
    };
    let there = "/lib/x86_64-linux-gnu/libm.so.6";
    // The host's loader has its own words for what is not there on the host.
    for (value, flags, kept, lost) in [
        (there, &[][..], there, ""),
        (
            "/opt/xalt/libxalt.so",
            &[],
            "None",
            "/opt/xalt/libxalt.so is not in the container",
        ),
        (
            "/opt/a.so:/lib/x86_64-linux-gnu/libm.so.6 /opt/b.so",
            &[],
            there,
            "/opt/a.so, /opt/b.so is not",
        ),
        ("libm.so.6", &[], "libm.so.6", ""),
        // A value for the container is the user's.
        ("", &["--env", "LD_PRELOAD=libm.so.6"], "libm.so.6", ""),
    ] {
        let outcome = exec(value, flags);
        assert_eq!(outcome.stdout, format!("{kept}\n"), "{value}: {outcome:?}");
        let said: Vec<&str> = { outcome.stderr.lines() }
            .filter(|line| line.starts_with("WARNING"))
            .collect();
        assert_eq!(said.len(), usize::from(!lost.is_empty()), "{outcome:?}");
        assert!(outcome.stderr.contains(lost), "{outcome:?}");
    }
}

#[test]
fn singularity_3884_a_variable_that_asks_for_what_is_not_given_is_refused() {
    let image = fixture("bb.sif").display().to_string();
    for (name, value) in [
        ("SINGULARITY_NO_HOME", "1"),
        ("APPTAINER_NETWORK", "none"),
        ("SINGULARITY_WRITABLE_TMPFS", "true"),
        ("APPTAINER_OVERLAY", "/tmp/x.img"),
    ] {
        let outcome = run(front(["exec", &image, "true"]).env(name, value));
        assert_eq!(outcome.code, 255, "{outcome:?}");
        assert!(
            outcome
                .stderr
                .starts_with(&format!("FATAL:   {name}: front has no --")),
            "{outcome:?}"
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        let outcome = run(front(["exec", &image, "true"]).env(name, ""));
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (0, ""),
            "{outcome:?}"
        );
    }
}
