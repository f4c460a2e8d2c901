//! NVIDIA's hook under every engine and runtime.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Daemon, Outcome, TESTER, as_tester, program, run, small_glibc, succeed, tester};

use super::{CRUN, LOOK, RUNC, STAGES, bundle, by_hand, hook, unified};

/// The hook as podman, CRI-O and `slipway --hooks-dir` read it.
fn hooks_directory(into: &Path) -> PathBuf {
    let directory = into.join("hooks.d");
    fs::create_dir(&directory).unwrap();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read(top.join("integration/gpu/slipway-nvidia.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    assert!(
        file["hook"]["path"]
            .as_str()
            .unwrap()
            .ends_with("/slipway-hook")
    );
    file["hook"] = hook();
    fs::write(directory.join("slipway-nvidia.json"), file.to_string()).unwrap();
    directory
}

/// Returns the mounts that every container that asks must have.
fn expected(outcome: &Outcome, what: &str) -> BTreeSet<String> {
    assert_eq!(outcome.stderr, "", "{what}");
    assert!(
        outcome
            .stdout
            .contains("couldn't communicate with the NVIDIA driver"),
        "{what}: {outcome:?}"
    );
    let mounts = outcome.stdout.lines().filter(|line| line.starts_with('/'));
    let mounts: BTreeSet<String> = mounts.map(str::to_owned).collect();
    for place in [
        "/.singularity.d/libs",
        "/.singularity.d/libs/libcuda.so.1",
        "/.singularity.d/libs/libnvidia-ml.so.1",
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidiactl",
        "/etc/ld.so.cache",
        "/usr/bin/nvidia-smi",
    ] {
        assert!(mounts.contains(place), "{what}: {place}: {outcome:?}");
    }
    mounts
}

#[test]
fn every_runtime_and_engine_gives_the_same() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    // The kernel escapes blanks in its table of mounts.
    let directory = home.path().join("a blank");
    std::fs::create_dir(&directory).unwrap();
    let image = small_glibc(&directory);
    let (slipway, asks) = (program("slipway"), ["NVIDIA_VISIBLE_DEVICES=all"]);
    let mut all: Vec<(String, BTreeSet<String>)> = Vec::new();
    for stage in STAGES {
        for runtime in [slipway.as_path(), Path::new(RUNC), Path::new(CRUN)] {
            let what = format!("{} {stage}", runtime.display());
            // In the container's own cgroup, a hook can no longer allow a device.
            let outcome = by_hand(runtime, &bundle(&image, &asks, stage, LOOK));
            let outcome = match stage {
                "createContainer" => Outcome {
                    stdout: outcome.stdout.replace(
                        "Failed to initialize NVML: Unknown Error",
                        "couldn't communicate with the NVIDIA driver",
                    ),
                    ..outcome
                },
                _ => outcome,
            };
            all.push((what.clone(), expected(&outcome, &what)));
            let nothing = by_hand(runtime, &bundle(&image, &[], stage, LOOK));
            assert!(!nothing.stdout.contains('/'), "{what}: {nothing:?}");
        }
    }
    let tar = home.path().join("image.tar");
    succeed(
        Command::new("tar")
            .arg("-C")
            .arg(&image)
            .arg("-cf")
            .arg(&tar)
            .arg("."),
    );
    let hooks = hooks_directory(home.path());
    all.extend(podman(home.path(), &tar, &hooks, false));
    all.extend(podman(home.path(), &tar, &hooks, true));
    all.extend(docker(&tar, &hooks));
    all.extend(containerd(&image));
    let (_, first) = all.first().unwrap().clone();
    for (what, mounts) in &all {
        assert_eq!(mounts, &first, "{what}");
    }
    assert_eq!(all.len(), 9 + 3 + 3 + 1 + 2);
}

/// podman with storage of its own, as root or as a user.
struct Podman {
    conf: PathBuf,
    runs: PathBuf,
    storage: PathBuf,
    rootless: bool,
    unified: bool,
}

impl Podman {
    /// Each kind of cgroups has its own directories, because a process of podman's stays in the
    /// namespaces of the first.
    fn new(home: &Path, conf: &Path, rootless: bool, unified: bool) -> Self {
        let runs = home.join(format!("run-{rootless}-{unified}"));
        let _ = fs::create_dir(&runs);
        fs::set_permissions(&runs, fs::Permissions::from_mode(0o700)).unwrap();
        let storage = match rootless {
            true => users_storage(unified),
            false => home.join(format!("storage-{unified}")),
        };
        if rootless {
            std::os::unix::fs::chown(&runs, Some(tester()), Some(tester())).unwrap();
        }
        Self {
            conf: conf.to_owned(),
            runs,
            storage,
            rootless,
            unified,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut podman = if self.rootless {
            as_tester("podman")
        } else {
            Command::new("podman")
        };
        podman
            .arg("--root")
            .arg(&self.storage)
            .arg("--runroot")
            .arg(self.runs.join("containers"));
        podman.arg("--tmpdir").arg(self.runs.join("tmp"));
        podman
            .args(["--storage-driver", "vfs", "--log-level", "error"])
            .args(args);
        podman
            .env("CONTAINERS_CONF", &self.conf)
            .env("XDG_RUNTIME_DIR", &self.runs)
            .stdin(Stdio::null());
        podman.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        match (self.unified, self.rootless) {
            (true, true) => unified(as_tester_later(&podman)),
            (true, false) => unified(podman),
            (false, _) => podman,
        }
    }

    /// Runs the image by a runtime, with the hooks.
    fn container(&self, runtime: &Path, hooks: &Path, flags: &[&str]) -> Outcome {
        let cgroups: &[&str] = if self.unified {
            &["--cgroups=disabled"]
        } else {
            &[]
        };
        let hooks = hooks.display().to_string();
        let words = [
            "--hooks-dir",
            &hooks,
            "--runtime",
            runtime.to_str().unwrap(),
            "run",
            "--rm",
            "--network",
            "none",
        ];
        let all = [&words, cgroups, flags, &["image", "sh", "-c", LOOK]].concat();
        run(&mut self.command(&all))
    }

    fn end_its_process(&self) {
        let pause = fs::read_to_string(self.runs.join("libpod/tmp/pause.pid")).unwrap_or_default();
        if let Ok(pid) = pause.trim().parse() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

fn users_storage(unified: bool) -> PathBuf {
    PathBuf::from(format!(
        "/home/{TESTER}/.hooks-{unified}-{}",
        std::process::id()
    ))
}

/// Changes the user only after the cgroups are set up.
fn as_tester_later(podman: &Command) -> Command {
    let mut inner = Command::new("setpriv");
    let id = tester().to_string();
    inner
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "podman"])
        .args(podman.get_args());
    inner.envs(
        podman
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    inner.current_dir("/");
    inner
}

/// Runs podman as root or as a user, on three runtimes.
fn podman(
    home: &Path,
    tar: &Path,
    hooks: &Path,
    rootless: bool,
) -> Vec<(String, BTreeSet<String>)> {
    let conf = home.join("containers.conf");
    let limits = if rootless {
        "[]"
    } else {
        "[\"nofile=1024:1024\", \"nproc=4096:4096\"]"
    };
    let text = format!(
        "[containers]\ndefault_ulimits = {limits}\n[engine]\ncgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\nruntime_supports_json = [\"runc\", \"slipway\", \"crun\"]\n"
    );
    fs::write(&conf, text).unwrap();
    let slipway = program("slipway");
    let runtimes = [slipway.as_path(), Path::new(RUNC), Path::new(CRUN)];
    let seen = runtimes.map(|runtime| {
        let podman = Podman::new(home, &conf, rootless, runtime == Path::new(CRUN));
        let tar = tar.display().to_string();
        if run(&mut podman.command(&["image", "exists", "image"])).code != 0 {
            succeed(&mut podman.command(&["import", "-q", &tar, "image"]));
        }
        let what = format!("podman {} rootless: {rootless}", runtime.display());
        let nothing = podman.container(runtime, hooks, &[]);
        assert!(!nothing.stdout.contains('/'), "{what}: {nothing:?}");
        let asked = podman.container(runtime, hooks, &["-e", "NVIDIA_VISIBLE_DEVICES=all"]);
        let mounts = expected(&asked, &what);
        podman.end_its_process();
        (what, mounts)
    });
    if rootless {
        for unified in [false, true] {
            let _ = fs::remove_dir_all(users_storage(unified));
        }
    }
    seen.into()
}

/// Runs docker, which has no hooks of its own; `slipway --hooks-dir` has.
fn docker(tar: &Path, hooks: &Path) -> Vec<(String, BTreeSet<String>)> {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let arguments = ["--hooks-dir".to_owned(), hooks.display().to_string()];
    let runtimes = json!({"slipway": {"path": program("slipway"), "runtimeArgs": arguments}});
    let daemon = Daemon::docker(home.path(), &runtimes);
    succeed(&mut daemon.client(&["import", tar.to_str().unwrap(), "image"]));
    let container = |flags: &[&str]| {
        let words = ["run", "--rm", "--runtime", "slipway", "--network", "none"];
        run(&mut daemon.client(&[&words, flags, &["image", "sh", "-c", LOOK]].concat()))
    };
    let nothing = container(&[]);
    assert!(!nothing.stdout.contains('/'), "{nothing:?}");
    let outcome = container(&["-e", "NVIDIA_VISIBLE_DEVICES=all"]);
    vec![("docker".to_owned(), expected(&outcome, "docker"))]
}

/// Runs containerd, which takes the hooks from the specification.
fn containerd(image: &Path) -> Vec<(String, BTreeSet<String>)> {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let daemon = Daemon::containerd(home.path());
    let slipway = program("slipway");
    let runtimes = [slipway.to_str().unwrap(), RUNC];
    let seen = runtimes.map(|runtime| {
        let bundle = bundle(
            image,
            &["NVIDIA_VISIBLE_DEVICES=all"],
            "createRuntime",
            LOOK,
        );
        let (id, config) = (bundle.id(), bundle.path().join("config.json"));
        let words = [
            "run",
            "--rm",
            "--runc-binary",
            runtime,
            "--config",
            config.to_str().unwrap(),
            &id,
        ];
        let outcome = run(&mut daemon.client(&words));
        (format!("containerd {runtime}"), expected(&outcome, runtime))
    });
    seen.into()
}
