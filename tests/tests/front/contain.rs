//! The container's own things: `--contain`, `--containall`, `--pid`, `--ipc`, as an ordinary user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{TESTER, fixture, front, run, run_with_input, succeed, testers_processes, wait_for};

const SOON: Duration = Duration::from_secs(5);

fn media() -> [String; 2] {
    ["bb", "bb.sif"].map(|name| fixture(name).display().to_string())
}

#[test]
fn home_and_temporary_directories_are_empty_and_gone_afterwards() {
    let mark = format!("/home/{TESTER}/contain-mark");
    fs::write(&mark, "").unwrap();
    for image in media() {
        for flag in ["-c", "-C", "--contain", "--containall"] {
            let script = "pwd; ls -A ~ /tmp /var/tmp /dev/shm; for d in ~ /tmp /var/tmp /dev/shm; do \
                touch $d/contained && echo $d; done; stat -c %a /tmp ~; id -un";
            let seen = run(&mut front(["exec", flag, &image, "sh", "-c", script]));
            let home = format!("/home/{TESTER}");
            let expected = format!(
                "{home}\n/dev/shm:\n\n/tmp:\n\n/var/tmp:\n\n{home}:\n{home}\n/tmp\n/var/tmp\n/dev/shm\n1777\n755\n{TESTER}\n"
            );
            let sorted = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(
                sorted(&seen.stdout),
                sorted(&expected),
                "{image} {flag}: {seen:?}"
            );
            assert_eq!(seen.stderr, "", "{image} {flag}");
            for path in [&home, "/tmp", "/var/tmp", "/dev/shm"] {
                assert!(!fs::exists(format!("{path}/contained")).unwrap(), "{path}");
            }
        }
        // The user's binds are there nevertheless.
        let bound = succeed(&mut front([
            "exec",
            "-c",
            "-B",
            &format!("{mark}:/tmp/below/mark"),
            &image,
            "ls",
            "/tmp/below",
        ]));
        assert_eq!(bound, "mark\n");
        let devices = succeed(&mut front(["exec", "-c", &image, "ls", "/dev"]));
        let expected =
            "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
        assert_eq!(devices, expected);
        let cwd = run(front(["exec", "-c", &image, "pwd"]).current_dir("/usr/share"));
        assert_eq!(cwd.stdout, format!("/home/{TESTER}\n"), "{cwd:?}");
    }
    fs::remove_file(mark).unwrap();
}

#[test]
fn processes_and_memory_are_its_own() {
    for image in media() {
        for flag in ["-p", "--pid", "-C"] {
            let processes = succeed(&mut front(["exec", flag, &image, "ps", "-o", "pid,comm"]));
            let rows: Vec<Vec<&str>> = processes
                .lines()
                .skip(1)
                .map(|line| line.split_whitespace().collect())
                .collect();
            let comms: Vec<&str> = rows.iter().map(|row| *row.last().unwrap()).collect();
            assert_eq!(comms, ["instance", "ps"], "{image} {flag}: {processes}");
        }
        let host = fs::read_link("/proc/self/ns/ipc")
            .unwrap()
            .display()
            .to_string();
        let ipc = |flags: &[&str]| {
            succeed(&mut front(
                [&["exec"], flags, &[&image, "readlink", "/proc/self/ns/ipc"]].concat(),
            ))
        };
        assert_eq!(ipc(&[]).trim(), host);
        assert_ne!(ipc(&["-i"]).trim(), host);
        assert_ne!(ipc(&["-C"]).trim(), host);
        let environment =
            |flag: &str| succeed(front(["exec", flag, &image, "env"]).env("LEAK", "1"));
        assert!(environment("-c").contains("LEAK=1") && !environment("-C").contains("LEAK"));
        let variable = front(["exec", &image, "sh", "-c", "ls -A ~ | wc -l"])
            .env("SINGULARITY_CONTAIN", "1")
            .output();
        assert_eq!(
            String::from_utf8(variable.unwrap().stdout).unwrap().trim(),
            "0"
        );
    }
}

#[test]
fn exit_codes_signals_and_streams_are_the_programs_own() {
    for image in media() {
        let contained = |script: &str| run(&mut front(["exec", "-C", &image, "sh", "-c", script]));
        assert_eq!(contained("exit 42").code, 42);
        assert_eq!(contained("kill -TERM $$").signal, Some(15));
        assert_eq!(contained("kill -KILL $$").signal, Some(9));
        let missing = run(&mut front(["exec", "-C", &image, "nosuch"]));
        assert_eq!(
            (missing.code, missing.stderr.lines().count()),
            (255, 1),
            "{missing:?}"
        );
        let input = vec![b'x'; 1 << 20];
        let counted = run_with_input(&mut front(["exec", "-C", &image, "wc", "-c"]), &input);
        assert_eq!(counted.stdout, "1048576\n");
        let ran = run(&mut front(["run", "-p", &image]));
        assert!(ran.code == 0 || ran.stderr.contains("runscript"), "{ran:?}");
    }
}

#[test]
fn what_it_leaves_behind_ends_with_it() {
    let mine = || {
        let all = testers_processes();
        all.into_iter().filter(|(pid, _)| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("31337")
        })
    };
    for image in media() {
        let before = Instant::now();
        let outcome = run(&mut front([
            "exec",
            "-p",
            &image,
            "sh",
            "-c",
            "sleep 31337 >/dev/null 2>&1 & exit 5",
        ]));
        assert_eq!(outcome.code, 5, "{outcome:?}");
        assert!(before.elapsed() < SOON);
        wait_for("background processes end", SOON, || mine().next().is_none());
        // The same after SIGKILL.
        let mut child = front(["exec", "-C", &image, "sleep", "31337"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("it runs", SOON, || mine().any(|(_, name)| name == "sleep"));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("nothing is left", SOON, || mine().next().is_none());
    }
}

#[test]
fn root_has_them_too() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let image = fixture("bb.sif").display().to_string();
    let mut command = Command::new(tests::program("front"));
    command.args([
        "exec",
        "-C",
        &image,
        "sh",
        "-c",
        "id -u; ps -o comm; ls -A ~ | wc -l; exit 6",
    ]);
    let outcome = run(command.env("HOME", dir.path()));
    assert_eq!(outcome.code, 6, "{outcome:?}");
    assert!(
        outcome.stdout.starts_with("0\n") && outcome.stdout.contains("\nps\n"),
        "{outcome:?}"
    );
}

#[test]
fn the_hosts_system_v_memory_is_not_seen() {
    let look = "import ctypes, sys\nlibc = ctypes.CDLL(None)\nlibc.shmat.restype = ctypes.c_void_p\n\
                print(ctypes.c_long(libc.shmat(int(sys.argv[1]), None, 0) or 0).value)";
    let made = tests::succeed(tests::as_tester("ipcmk").args(["-M", "4096", "-p", "0600"]));
    let number = made.split_whitespace().last().unwrap().to_owned();
    let image = tests::fixture("py").display().to_string();
    let attached = |flags: &[&str]| {
        let words = [
            &["exec"],
            flags,
            &[image.as_str(), "python3", "-c", look, &number],
        ]
        .concat();
        tests::succeed(&mut tests::front(words)).trim() != "-1"
    };
    let seen = [&[][..], &["-c"], &["-C"], &["--ipc"]].map(attached);
    tests::succeed(tests::as_tester("ipcrm").args(["-m", &number]));
    assert_eq!(seen, [true, false, false, false]);
}

/// An image may be another user's directory, with devices that root of another machine made.
#[test]
fn an_images_devices_cannot_be_opened() {
    let place = tests::home();
    let root = place.path().join("root");
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    let node = root.join("zero");
    succeed(
        Command::new("mknod")
            .args(["-m", "666"])
            .arg(&node)
            .args(["c", "1", "5"]),
    );
    let image = root.display().to_string();
    for flags in [&["-C"][..], &["-C", "--fakeroot"], &["-w"]] {
        let words = [&["exec"], flags, &[&image, "head", "-c", "1", "/zero"]].concat();
        let mut as_root = Command::new(tests::program("front"));
        as_root.args(&words);
        for mut command in [front(&words), as_root] {
            let seen = run(&mut command);
            assert!(
                seen.stderr.contains("Permission denied"),
                "{command:?} {seen:?}"
            );
        }
    }
}
