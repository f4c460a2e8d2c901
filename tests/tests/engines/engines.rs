//! Real container engines on `slipway` and on runc: a tour of each must print the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::{Daemon, TESTER, archive, as_tester, fixture, program, run, succeed, tester};

/// The runtime that the tours are compared with.
const RUNC: &str = "/usr/sbin/runc";

/// The settings of `integration/podman/slipway.conf`, and those that need no systemd.
const PODMAN_ENGINE: &str = "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
    runtime_supports_json = [\"runc\", \"slipway\"]\n";

fn tour(engine: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    top.join("integration").join(engine).join("tour.sh")
}

/// Makes a directory that everybody may enter, with a file in it.
fn volume(home: &Path) -> PathBuf {
    let volume = home.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "text\n").unwrap();
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
    volume
}

/// Compares two tours line by line, without the runtime's name. If they differ, both are made anew: an
/// engine under load sometimes loses the output of a container that ends at once.
fn assert_same(mut tour: impl FnMut(&Path) -> String, ours: &Path, theirs: &Path) {
    let mut found = Vec::new();
    for _ in 0..3 {
        let different = differences(&tour(ours), &tour(theirs));
        if different.is_empty() {
            return;
        }
        found.push(different);
    }
    panic!("ours and theirs, in three tours: {found:#?}");
}

fn differences(ours: &str, theirs: &str) -> Vec<(String, String)> {
    let plain = |text: &str| -> Vec<String> {
        let slipway = program("slipway").display().to_string();
        let text = text.replace(&slipway, "RUNTIME").replace(RUNC, "RUNTIME");
        let text = text
            .replace("--runtime slipway", "")
            .replace("--runtime runc", "");
        // Each runtime wraps the common texts in its own way.
        let text = text
            .replace("runc create failed: ", "")
            .replace("exec failed: ", "");
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    let (ours, theirs) = (plain(ours), plain(theirs));
    assert!(theirs.len() > 60, "the tour was cut short: {theirs:#?}");
    assert_eq!(ours.len(), theirs.len(), "{ours:#?}\n{theirs:#?}");
    let pairs = ours.into_iter().zip(theirs);
    pairs.filter(|(ours, theirs)| ours != theirs).collect()
}

fn nothing_left(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let left: Vec<_> = entries
        .map(|entry| entry.file_name())
        .filter(|name| !name.to_string_lossy().starts_with(".bundles"))
        .collect();
    assert!(left.is_empty(), "{left:?} in {}", root.display());
    let bundles = fs::read_dir(root.join(".bundles")).into_iter().flatten();
    assert_eq!(bundles.count(), 0, "bundles in {}", root.display());
}

#[test]
fn docker() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let runtimes = serde_json::json!({"slipway": {"path": program("slipway")}});
    let daemon = Daemon::docker(home.path(), &runtimes);
    let tar = archive(home.path()).display().to_string();
    succeed(&mut daemon.client(&["import", &tar, "bb"]));
    let volume = volume(home.path());
    let tour = |runtime: &Path| {
        let mut command = Command::new(tour("docker"));
        daemon.reach(command.arg(runtime).arg(&volume));
        succeed(&mut command)
    };
    assert_same(tour, Path::new("slipway"), Path::new("runc"));
    nothing_left(&home.path().join("exec/runtime-slipway/moby"));
}

#[test]
fn containerd() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let daemon = Daemon::containerd(home.path());
    // The form in which docker and podman save an image.
    let storage = [
        "--root",
        &file("storage"),
        "--runroot",
        &file("run"),
        "--storage-driver",
        "vfs",
    ];
    let podman = |args: &[&str]| {
        succeed(
            Command::new("podman")
                .args(storage)
                .args(args)
                .stderr(Stdio::null()),
        )
    };
    let tar = archive(home.path()).display().to_string();
    podman(&["import", &tar, "docker.io/library/bb:latest"]);
    podman(&[
        "save",
        "-o",
        &file("image.tar"),
        "docker.io/library/bb:latest",
    ]);
    succeed(&mut daemon.client(&[
        "image",
        "import",
        "--snapshotter",
        "native",
        &file("image.tar"),
    ]));
    let tour = |runtime: &Path| {
        let mut command = Command::new(tour("containerd"));
        daemon.reach(command.arg(runtime));
        succeed(&mut command)
    };
    assert_same(tour, &program("slipway"), Path::new(RUNC));
}

#[test]
fn podman_as_root() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n";
    fs::write(file("containers.conf"), format!("{limits}{PODMAN_ENGINE}")).unwrap();
    let flags = format!(
        "--root {} --runroot {} --tmpdir {} --storage-driver vfs --log-level error",
        file("storage"),
        file("run"),
        file("tmp")
    );
    // With criu, for saving and restoring.
    let path = format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        fixture("criu").display()
    );
    podman_tours(home.path(), &flags, |program| {
        let mut command = Command::new(program);
        command.env("PATH", &path);
        command
    });
    nothing_left(Path::new("/run/slipway"));
}

#[test]
fn podman_without_root() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let runtime = home.path().join("runtime");
    fs::create_dir(&runtime).unwrap();
    std::os::unix::fs::chown(&runtime, Some(tester()), Some(tester())).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
    let conf = home.path().join("containers.conf");
    fs::write(
        &conf,
        format!("[containers]\ndefault_ulimits = []\n{PODMAN_ENGINE}"),
    )
    .unwrap();
    let storage = format!("/home/{TESTER}/.tour-{}", std::process::id());
    let flags = format!(
        "--root {storage} --runroot {} --storage-driver vfs --cgroup-manager cgroupfs --log-level error",
        runtime.join("containers").display()
    );
    podman_tours(home.path(), &flags, |program| {
        let mut command = as_tester(program);
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("XDG_RUNTIME_DIR", &runtime);
        command
    });
    nothing_left(&runtime.join("slipway"));
    // podman keeps a process for the user's namespaces.
    let pause = fs::read_to_string(runtime.join("libpod/tmp/pause.pid")).unwrap_or_default();
    if let Ok(pid) = pause.trim().parse() {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    let mut remove = as_tester("podman");
    run(remove
        .args(["unshare", "rm", "-rf", &storage])
        .env("XDG_RUNTIME_DIR", &runtime));
}

fn podman_tours(home: &Path, flags: &str, command: impl Fn(&str) -> Command) {
    let tar = archive(home).display().to_string();
    let volume = volume(home);
    let conf = home.join("containers.conf");
    let podman = |args: &[&str]| {
        let mut podman = command("podman");
        podman
            .args(flags.split(' '))
            .args(args)
            .env("CONTAINERS_CONF", &conf);
        podman
    };
    succeed(podman(&["import", &tar, "bb"]).stderr(Stdio::null()));
    let tour = |runtime: &Path| {
        let mut tour = command(&tour("podman").display().to_string());
        tour.arg(runtime).arg(&volume);
        succeed(tour.env("PODMAN", flags).env("CONTAINERS_CONF", &conf))
    };
    assert_same(tour, &program("slipway"), Path::new(RUNC));
}
