//! Hosts that lack something: `doctor` and `exec` name the cause and the cure, or work all the same.

use std::process::Command;

use tests::{Daemon, Outcome, archive, fixture, home, program, run, succeed, tester};

/// The effect of a host on a launch.
enum Effect {
    /// It works.
    None,
    /// It works, and `doctor` says what is slow.
    Slow(&'static str, &'static str),
    /// It does not. Both commands say why, and what to do.
    Fails(&'static str, &'static str),
}

/// Runs `front` as the ordinary user on a host that a shell has prepared. `$@` is the command.
fn on(host: &str, args: &[&str]) -> Outcome {
    let user = tester().to_string();
    let mut command = Command::new("timeout");
    command.args([
        "60",
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-euc",
        host,
        "sh",
    ]);
    command.args([
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
        "--inh-caps=-all",
    ]);
    command.args([
        "env",
        "-i",
        "HOME=/home/slipway-tester",
        "PATH=/usr/bin:/bin",
    ]);
    // The shell puts what is to be around the program here.
    command.arg("AROUND").arg(program("front")).args(args);
    run(&mut command)
}

/// Starts the command with `$1` around the program.
fn around(words: &str) -> String {
    format!(
        "for word; do shift; if [ \"$word\" = AROUND ]; then set -- \"$@\" {words}; else set -- \"$@\" \"$word\"; fi; done; exec \"$@\""
    )
}

/// A host whose kernel lacks a call, and says an old version.
const OLD_KERNEL: &str = "setarch --uname-2.6 strace -f -qq -o /dev/null -e trace=mount_setattr \
    -e inject=mount_setattr:error=ENOSYS";

/// As AppArmor's restriction on Ubuntu 24.04: a namespace can be made, and its maps cannot be written.
const NO_MAPS: &str = "mount --rbind /proc /proc; mount -o remount,bind,ro /proc; ";

fn hosts() -> Vec<(&'static str, String, Effect)> {
    let sysctl = |file: &str, value: &str| {
        format!("mount -t tmpfs none /proc/sys/kernel; echo {value} > /proc/sys/kernel/{file}; ")
    };
    let plain = around("");
    vec![
        ("a host that lacks nothing", plain.clone(), Effect::None),
        (
            "no user namespaces",
            // A limit of 0 belongs to the user namespace in which it is written.
            "exec unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_user_namespaces; \
             while [ \"$1\" != AROUND ]; do shift; done; shift; exec \"$@\"' sh \"$@\""
                .to_owned(),
            Effect::Fails(
                "create a user namespace: no space left on device",
                "sysctl user.max_user_namespaces=15000",
            ),
        ),
        (
            "AppArmor's restriction",
            sysctl("apparmor_restrict_unprivileged_userns", "1") + NO_MAPS + &plain,
            Effect::Fails(
                "map user and group ids in /proc/self/setgroups: read-only file system",
                "AppArmor forbids it: the administrator can load the profile",
            ),
        ),
        (
            "an old kernel",
            around(OLD_KERNEL),
            Effect::Fails("lacks mount_setattr(2)", "5.12 or later is needed"),
        ),
        (
            "no /dev/fuse",
            "mkdir -p /tmp/.front-dev; mount -t tmpfs none /tmp/.front-dev; \
             for n in null zero full random urandom tty; do touch /tmp/.front-dev/$n; mount --bind /dev/$n /tmp/.front-dev/$n; done; \
             mkdir /tmp/.front-dev/shm /tmp/.front-dev/pts; chmod 1777 /tmp/.front-dev/shm; mount --rbind /tmp/.front-dev /dev; "
                .to_owned()
                + &plain,
            Effect::Slow("/dev/fuse: no such file or directory", "modprobe fuse"),
        ),
        (
            "/dev/fuse without permission",
            "touch /tmp/.no-fuse; chmod 600 /tmp/.no-fuse; mount --bind /tmp/.no-fuse /dev/fuse; ".to_owned()
                + &plain,
            Effect::Slow("/dev/fuse: permission denied", "chmod 666 /dev/fuse"),
        ),
        (
            "homes with nosuid and nodev",
            "mount --bind /home /home; mount -o remount,bind,nosuid,nodev /home; ".to_owned() + &plain,
            Effect::None,
        ),
        (
            "hidden processes",
            "mount -t proc -o hidepid=2 proc /proc; ".to_owned() + &plain,
            Effect::None,
        ),
        (
            "a /tmp where nothing is executed",
            "mount -t tmpfs -o mode=1777,noexec none /tmp; ".to_owned() + &plain,
            Effect::None,
        ),
    ]
}

#[test]
fn prepared_hosts_are_named() {
    let sif = fixture("bb.sif").display().to_string();
    for (name, host, effect) in hosts() {
        let doctor = on(&host, &["doctor", &sif, "true"]);
        let exec = on(&host, &["exec", &sif, "echo", "it runs"]);
        match effect {
            Effect::None => {
                assert!(!doctor.stdout.contains("fails"), "{name}: {doctor:?}");
                assert_eq!(exec.stdout, "it runs\n", "{name}: {exec:?}");
            }
            Effect::Slow(cause, cure) => {
                let is_said = doctor.stdout.contains(cause) && doctor.stdout.contains(cure);
                assert!(is_said, "{name}: {doctor:?}");
                assert_eq!(exec.stdout, "it runs\n", "{name}: {exec:?}");
            }
            Effect::Fails(cause, cure) => {
                let is_said = |text: &str| text.contains(cause) && text.contains(cure);
                assert!(is_said(&doctor.stdout), "{name}: {doctor:?}");
                assert_eq!(exec.code, 255, "{name}: {exec:?}");
                assert!(is_said(&exec.stderr), "{name}: {exec:?}");
                assert_eq!(exec.stderr.lines().count(), 1, "{name}: {exec:?}");
            }
        }
    }
}

/// A cache on a full disk.
#[test]
fn a_full_disk_is_named() {
    let host = "mount -t tmpfs -o size=64k,mode=1777 none /var/cache; ".to_owned() + &around("");
    let image = fixture("bb").display().to_string();
    let made = on(&host, &["-q", "build", "/var/cache/bb.sif", &image]);
    assert_eq!(made.code, 255, "{made:?}");
    assert!(
        made.stderr.contains("/var/cache")
            && made
                .stderr
                .to_lowercase()
                .contains("no space left on device"),
        "{made:?}"
    );
}

/// Docker's default profile around an ordinary user's launch.
#[test]
fn a_filter_around_the_program_is_named() {
    let place = home();
    let runtimes = serde_json::json!({"slipway": {"path": program("slipway")}});
    let daemon = Daemon::docker(place.path(), &runtimes);
    let archive = archive(place.path()).display().to_string();
    succeed(&mut daemon.client(&["import", &archive, "bb"]));
    let volume = format!("{}:/usr/bin/front:ro", program("front").display());
    for (command, code) in [("doctor", 1), ("run", 255)] {
        let mut args = vec![
            "run",
            "--rm",
            "--runtime=slipway",
            "--network=none",
            "--user=4711",
        ];
        args.extend(["-v", &volume, "bb", "/usr/bin/front", command]);
        let outcome = run(&mut daemon.client(&args));
        assert_eq!(outcome.code, code, "{outcome:?}");
        let said = outcome.stdout + &outcome.stderr;
        assert!(
            said.contains("create a user namespace: operation not permitted")
                && said.contains("--security-opt seccomp=unconfined"),
            "{said}"
        );
    }
}
