//! The real podman on `slipway`, as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use tests::{archive, program, run, run_with_input, succeed};

/// A podman with storage and configuration of its own.
struct Podman {
    home: tempfile::TempDir,
}

impl Podman {
    fn new() -> Self {
        let podman = Self {
            home: tempfile::tempdir_in("/var/tmp").unwrap(),
        };
        // Limits that any runtime can set on a machine without CAP_SYS_RESOURCE.
        let limits =
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n";
        let engine = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(podman.file("containers.conf"), format!("{limits}{engine}")).unwrap();
        let tar = archive(podman.home.path());
        succeed(
            podman
                .command(&["import", &tar.display().to_string(), "bb"])
                .stderr(Stdio::null()),
        );
        podman
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(self.file("storage"))
            .arg("--runroot")
            .arg(self.file("run"))
            .arg("--tmpdir")
            .arg(self.file("tmp"))
            .args(["--storage-driver", "vfs", "--runtime"])
            .arg(program("slipway"))
            .args(args)
            .env("CONTAINERS_CONF", self.file("containers.conf"))
            .stdin(Stdio::null());
        command
    }
}

fn entries(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Finds the cgroups with a name that podman gives, in all hierarchies.
fn cgroups(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().starts_with("libpod-") {
                found.push(entry.path());
            }
            cgroups(&entry.path(), found);
        }
    }
}

#[test]
fn podman_runs_on_slipway() {
    let podman = Podman::new();
    let mut before = Vec::new();
    cgroups(Path::new("/sys/fs/cgroup"), &mut before);
    assert_eq!(
        succeed(&mut podman.command(&["run", "--rm", "bb", "cat", "/etc/os-release"])),
        "NAME=bb\n"
    );
    let outcome = run_with_input(
        &mut podman.command(&["run", "-i", "--rm", "bb", "sh", "-c", "cat; exit 7"]),
        b"hello\n",
    );
    assert_eq!(
        (outcome.stdout.as_str(), outcome.code),
        ("hello\n", 7),
        "{outcome:?}"
    );
    let addresses = succeed(&mut podman.command(&["run", "--rm", "bb", "ip", "addr"]));
    assert!(addresses.contains("eth0"), "{addresses}");
    let outcome = run(&mut podman.command(&["run", "--rm", "bb", "nosuch"]));
    assert_eq!(outcome.code, 127, "{outcome:?}");
    let script = "sh -c 'kill -KILL $$'; exit $?";
    let killed = run(&mut podman.command(&["run", "--rm", "bb", "sh", "-c", script]));
    assert_eq!(killed.code, 137, "{killed:?}");

    // A container that handles TERM stops at once; otherwise `podman stop` would wait ten seconds.
    let script = "trap 'exit 3' TERM; while :; do sleep 0.1; done";
    succeed(&mut podman.command(&["run", "-d", "--name", "s1", "bb", "sh", "-c", script]));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let start = Instant::now();
    succeed(&mut podman.command(&["stop", "s1"]));
    assert!(start.elapsed().as_secs() < 5);
    assert_eq!(
        succeed(&mut podman.command(&["inspect", "-f", "{{.State.ExitCode}}", "s1"])),
        "3\n"
    );
    succeed(&mut podman.command(&["rm", "s1"]));

    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count();
    for _ in 0..50 {
        succeed(&mut podman.command(&["run", "--rm", "bb", "true"]));
    }
    // podman keeps one mount of its own, of the directory of its network namespaces.
    let after = fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count();
    assert!(after <= mounts + 1, "{mounts} mounts became {after}");
    let left: Vec<String> = entries("/run/slipway")
        .into_iter()
        .filter(|name| name.len() == 64)
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(entries("/run/slipway/.bundles"), Vec::<String>::new());
    let mut left = Vec::new();
    cgroups(Path::new("/sys/fs/cgroup"), &mut left);
    left.retain(|path| !path.to_string_lossy().contains("conmon") && !before.contains(path));
    assert_eq!(left, Vec::<PathBuf>::new());
}
