//! A payload that tries everything it can reach (`tests/src/bin/audit`), in each kind of
//! container, while other programs of its user run. It must get nothing from them, or from the
//! caller.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::{
    Killed, Outcome, TESTER, fixture, front, program, run, succeed, tester, testers_processes,
    wait_for,
};

use crate::{Deleted, own_root, start};

/// Things that no payload gets from a process outside, or from anything that is not its own.
const NEVER: [&str; 23] = [
    "answer",
    "auxv",
    "cwd",
    "environ",
    "exe",
    "fd",
    "fdinfo",
    "io",
    "map_files",
    "maps",
    "mem",
    "mknod",
    "mount",
    "new-privileges",
    "outer-directory",
    "pagemap",
    "pidfd_getfd",
    "process_vm_readv",
    "ptrace",
    "root",
    "stack",
    "syscall",
    "task",
];

/// Returns the lines that must not be printed. Things of the audit's own process, and of its proxy,
/// are its own.
fn had(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stdout.lines();
    assert!(
        outcome.stdout.contains("\nTRIED "),
        "the audit ended early: {outcome:#?}"
    );
    let lines = lines.filter_map(|line| line.strip_prefix("GOT "));
    let found = lines.filter(|line| {
        // In a user namespace of its own, it may mount, as everybody may.
        let is_nested = line.starts_with("nested:");
        let line = line.trim_start_matches("nested:");
        let what = line.split(' ').next().unwrap_or_default();
        let is_namespace = what.starts_with("ns/");
        let is_secret = line.contains("of-the-caller") || line.contains("in-the-environment");
        let is_denied = is_namespace || NEVER.contains(&what);
        is_secret
            || is_denied && !(is_nested && ["mount", "mknod", "new-privileges"].contains(&what))
    });
    found.map(str::to_owned).collect()
}

/// Runs `front` as a caller with a keyring, and with a secret in its environment.
fn audited(args: &[&str]) -> Outcome {
    let uid = tester().to_string();
    let mut command = Command::new("keyctl");
    command.args([
        "session",
        "of-the-caller",
        "setpriv",
        "--reuid",
        &uid,
        "--regid",
        &uid,
    ]);
    command.args([
        "--clear-groups",
        "--inh-caps=-all",
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
    ]);
    command.args(["SECRET=in-the-environment", &format!("HOME=/home/{TESTER}")]);
    command
        .arg(program("front"))
        .args(args)
        .current_dir(format!("/home/{TESTER}"));
    run(command.stdin(Stdio::null()))
}

/// Starts other programs of the same user: a plain session, a contained one, ranks of a job, an
/// instance.
fn others() -> (Vec<Killed>, Instance) {
    let sif = fixture("bb.sif").display().to_string();
    let mut started = Vec::new();
    for flags in [&["-e"][..], &["-c"], &["-C"], &["-c", "-p"]] {
        let args = [&["-q", "exec"], flags, &[sif.as_str(), "sleep", "100"]].concat();
        let mut command = front(&args);
        command.env("SECRET", "in-the-environment");
        started.push(Killed(command.spawn().unwrap()));
    }
    succeed(&mut front(["instance", "start", &sif, "audited"]));
    let sleeping = || {
        testers_processes()
            .iter()
            .filter(|(_, name)| name == "sleep")
            .count()
    };
    wait_for("the others", Duration::from_secs(20), || {
        sleeping() >= started.len()
    });
    (started, Instance)
}

struct Instance;

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = run(&mut front(["instance", "stop", "-F", "audited"]));
    }
}

#[test]
fn a_payload_of_fronts_gets_nothing_of_others() {
    let _others = others();
    let bind = format!("{}:/audit", program("audit").display());
    for image in ["bb", "bb.sif"] {
        let image = fixture(image).display().to_string();
        for flags in [
            &["-e"][..],
            &["-c", "-e"],
            &["-C"],
            &["-c", "-e", "-p"],
            &["-c", "-e", "--no-share"],
        ] {
            let args = [
                &["-q", "exec", "-B", &bind],
                flags,
                &[image.as_str(), "/audit"],
            ]
            .concat();
            let outcome = audited(&args);
            let found = had(&outcome);
            let is_contained = flags.iter().any(|flag| ["-c", "-C"].contains(flag));
            let found: Vec<&String> = found
                .iter()
                // A plain container shares the session keyring on purpose, because it contains the
                // site's logins.
                .filter(|line| is_contained || !line.contains("of-the-caller"))
                .collect();
            assert_eq!(found, Vec::<&String>::new(), "{flags:?} {image}");
        }
    }
    let outcome = audited(&["-q", "exec", "-e", "instance://audited", "/bin/true"]);
    assert_eq!(outcome.code, 0, "{outcome:#?}");
}

#[test]
fn a_payload_in_an_instance_gets_nothing_of_others() {
    let _others = others();
    let bind = format!("{}:/audit", program("audit").display());
    let image = fixture("bb.sif").display().to_string();
    succeed(&mut front([
        "instance", "start", "-C", "-B", &bind, &image, "auditing",
    ]));
    let outcome = audited(&["-q", "exec", "-e", "instance://auditing", "/audit"]);
    let stopped = run(&mut front(["instance", "stop", "-F", "auditing"]));
    assert_eq!(had(&outcome), Vec::<String>::new());
    assert_eq!(stopped.code, 0, "{stopped:#?}");
}

/// The first line of a shell script is a program of the image, which could read things that the
/// script before it could not.
#[test]
fn an_environment_script_gets_nothing_of_the_process_that_runs_it() {
    let home = tests::home();
    let root = home.path().join("image");
    crate::copy_bb(&root);
    std::fs::create_dir_all(root.join(".singularity.d/env")).unwrap();
    let script = "for f in environ cmdline fd/3 root cwd maps; do cat /proc/$PPID/$f 2>/dev/null | grep -a secret; \
                  ls /proc/$PPID/$f/ 2>/dev/null && echo open $f >&2; done\n[ -n \"$(ls /)\" ]\n";
    std::fs::write(root.join(".singularity.d/env/90-environment.sh"), script).unwrap();
    let image = root.display().to_string();
    for flags in [&["-c", "-e"][..], &["-C"]] {
        let mut command = front([&["-q", "exec"], flags, &[image.as_str(), "true"]].concat());
        let outcome = run(command.env("TOKEN", "secret"));
        assert_eq!(
            (
                outcome.stdout.as_str(),
                outcome.stderr.as_str(),
                outcome.code
            ),
            ("", "", 0),
            "{flags:?}"
        );
    }
}

/// A link in an image that is a directory could lead to the directory itself, and so to the host's
/// files, while it is open.
#[test]
fn a_link_of_an_image_does_not_lead_to_where_it_lies() {
    let home = tests::home();
    let root = home.path().join("image");
    crate::copy_bb(&root);
    std::fs::write(home.path().join("secret.txt"), "secret").unwrap();
    std::fs::copy(root.join("bin/busybox"), home.path().join("evil")).unwrap();
    let image = root.display().to_string();
    for number in 3..30 {
        for (name, target) in [
            ("data", format!("/proc/self/fd/{number}")),
            ("up", format!("/proc/self/fd/{number}/..")),
        ] {
            let link = root.join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(target, link).unwrap();
        }
        let script = root.join("script");
        std::fs::write(&script, format!("#!/proc/self/fd/{number}/../evil echo\n")).unwrap();
        tests::open_to_all(&script);
        for args in [
            vec![
                "-q",
                "exec",
                "-C",
                "--pwd",
                "/data",
                &image,
                "cat",
                "../secret.txt",
            ],
            vec![
                "-q",
                "exec",
                "-C",
                "--pwd",
                "/up",
                &image,
                "cat",
                "secret.txt",
            ],
            vec!["-q", "exec", "-C", &image, "/script", "secret"],
        ] {
            let outcome = run(&mut front(&args));
            assert_ne!(outcome.code, 0, "{number} {args:?}: {outcome:#?}");
            assert!(!outcome.stdout.contains("secret"), "{number}: {outcome:#?}");
        }
    }
}

#[test]
fn a_payload_of_slipways_gets_nothing() {
    let plant = |root: &std::path::Path| {
        std::fs::copy(program("audit"), root.join("audit")).unwrap();
    };
    let with_keyring = |command: &Command| {
        let mut keyctl = Command::new("keyctl");
        keyctl
            .args(["session", "of-the-caller"])
            .arg(command.get_program())
            .args(command.get_args());
        keyctl
            .env("SECRET", "in-the-environment")
            .stdin(Stdio::null());
        run(keyctl.current_dir(command.get_current_dir().unwrap()))
    };
    let change = |spec: &mut serde_json::Value| {
        spec["process"]["noNewPrivileges"] = json!(true);
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!([]);
        }
    };
    let (bundle, root) = own_root(&["/audit"], change);
    plant(&root);
    assert_eq!(
        had(&with_keyring(&bundle.slipway(&["run", "c1"]))),
        Vec::<String>::new()
    );
    let (bundle, root) = own_root(&["/bin/sleep", "100"], change);
    plant(&root);
    let _deleted = Deleted(&bundle);
    start(&bundle);
    let outcome = with_keyring(&bundle.slipway(&["exec", "c1", "/audit"]));
    // The payload may see the container's own first process.
    let found: Vec<String> = had(&outcome)
        .into_iter()
        .filter(|line| !line.contains(" 1 (sleep)"))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// Keys belong to the user's id, which is the same inside. Cgroups that were delegated to the user
/// are in `/sys`.
#[test]
fn a_contained_payload_has_neither_keys_nor_cgroups() {
    let image = fixture("py").display().to_string();
    let look = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
                for call in ((250, 8, -4, -3), (250, 11, -4, 0), (248, b'user', b'x', b'y', 1, -3), (249, b'user', b'x', 0, 0)):\n    \
                print(libc.syscall(*call), ctypes.get_errno())\n\
                print(sum('rw' in l.split()[3].split(',') for l in open('/proc/mounts') if l.split()[1].startswith('/sys')))";
    for flags in [&["-c"][..], &["-C"], &["-c", "-p"]] {
        let args = [
            &["-q", "exec"],
            flags,
            &[image.as_str(), "python3", "-c", look],
        ]
        .concat();
        let printed = succeed(&mut front(&args));
        assert_eq!(printed, "-1 1\n-1 1\n-1 1\n-1 1\n0\n", "{flags:?}");
    }
}
