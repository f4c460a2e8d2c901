//! The hook for NVIDIA's driver under every engine and runtime: each container gets the same.
//!
//! The host is a root with the driver's packages, as where a container brings the driver.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{
    Bundle, Daemon, Outcome, TESTER, as_tester, fixture, home, keep_below, nvidia_driver, program,
    rocm_driver, run, small_glibc, succeed, tester,
};

const RUNC: &str = "/usr/sbin/runc";
const CRUN: &str = "/usr/bin/crun";
const STAGES: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// What a container sees: where something of the driver's is mounted, and how its program fares.
const LOOK: &str =
    "awk '{print $5}' /proc/self/mountinfo | grep -E 'nvidia|libs|ld.so.cache' | sort; nvidia-smi";

fn hook() -> Value {
    hook_of("slipway-hook-nvidia", &nvidia_driver())
}

fn hook_of(name: &str, driver_root: &Path) -> Value {
    json!({"path": program(name), "args": [name, "--driver-root", driver_root]})
}

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
            .ends_with("/slipway-hook-nvidia")
    );
    file["hook"] = hook();
    fs::write(directory.join("slipway-nvidia.json"), file.to_string()).unwrap();
    directory
}

/// Runs the rest of a script where cgroups are of version 2 alone, which Debian's crun wants.
fn unified(mut command: Command) -> Command {
    let words: Vec<_> = std::iter::once(command.get_program().to_owned())
        .chain(command.get_args().map(ToOwned::to_owned))
        .collect();
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "--propagation", "private", "sh", "-c"]);
    outer
        .args(["mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "sh"])
        .args(words);
    outer.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.stdin(Stdio::null());
    outer
}

/// What every container that asks must have got.
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

/// A bundle of the image, with variables, and the hook at a stage.
fn bundle(image: &Path, variables: &[&str], stage: &str, script: &str) -> Bundle {
    Bundle::new(&["sh", "-c", script], |spec| {
        asking(spec, image, variables, json!({stage: [hook()]}));
    })
}

fn asking(spec: &mut Value, image: &Path, variables: &[&str], hooks: Value) {
    spec["root"]["path"] = image.display().to_string().into();
    let environment = spec["process"]["env"].as_array_mut().unwrap();
    environment.extend(variables.iter().map(|one| json!(one)));
    spec["hooks"] = hooks;
}

/// Runs a bundle by a runtime.
fn by_hand(runtime: &Path, bundle: &Bundle) -> Outcome {
    let id = bundle.id();
    let mut command = Command::new(runtime);
    if runtime == Path::new(CRUN) {
        command.arg("--cgroup-manager=disabled");
    }
    command
        .args(["run", "-b"])
        .arg(bundle.path())
        .arg(&id)
        .stdin(Stdio::null());
    if runtime == Path::new(CRUN) {
        run(&mut unified(command))
    } else {
        run(&mut command)
    }
}

#[test]
fn every_runtime_and_engine_gives_the_same() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    // The kernel's table of mounts has blanks escaped.
    let directory = home.path().join("a blank");
    std::fs::create_dir(&directory).unwrap();
    let image = small_glibc(&directory);
    let (slipway, asks) = (program("slipway"), ["NVIDIA_VISIBLE_DEVICES=all"]);
    let mut all: Vec<(String, BTreeSet<String>)> = Vec::new();
    for stage in STAGES {
        for runtime in [slipway.as_path(), Path::new(RUNC), Path::new(CRUN)] {
            let what = format!("{} {stage}", runtime.display());
            // In the container's own cgroup, nobody can be allowed a device any more.
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

/// podman as root or without, on three runtimes.
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
        let is_crun = runtime == Path::new(CRUN);
        // Of its own for each kind of cgroups: a process of podman's stays in the namespaces of the first.
        let runs = home.join(format!("run-{rootless}-{is_crun}"));
        let _ = fs::create_dir(&runs);
        fs::set_permissions(&runs, fs::Permissions::from_mode(0o700)).unwrap();
        let storage = match rootless {
            true => PathBuf::from(format!(
                "/home/{TESTER}/.hooks-{is_crun}-{}",
                std::process::id()
            )),
            false => home.join(format!("storage-{is_crun}")),
        };
        if rootless {
            std::os::unix::fs::chown(&runs, Some(tester()), Some(tester())).unwrap();
        }
        let command = |args: &[&str]| {
            let mut podman = if rootless {
                as_tester("podman")
            } else {
                Command::new("podman")
            };
            podman
                .arg("--root")
                .arg(&storage)
                .arg("--runroot")
                .arg(runs.join("containers"));
            podman.arg("--tmpdir").arg(runs.join("tmp"));
            podman
                .args(["--storage-driver", "vfs", "--log-level", "error"])
                .args(args);
            podman
                .env("CONTAINERS_CONF", &conf)
                .env("XDG_RUNTIME_DIR", &runs)
                .stdin(Stdio::null());
            podman.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
            if is_crun && rootless {
                // The user is another only once the cgroups are as wanted.
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
                return unified(inner);
            }
            if is_crun { unified(podman) } else { podman }
        };
        let tar = tar.display().to_string();
        if run(&mut command(&["image", "exists", "image"])).code != 0 {
            succeed(&mut command(&["import", "-q", &tar, "image"]));
        }
        let container = |flags: &[&str]| {
            let cgroups: &[&str] = if is_crun {
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
            run(&mut command(&all))
        };
        let what = format!("podman {} rootless: {rootless}", runtime.display());
        let nothing = container(&[]);
        assert!(!nothing.stdout.contains('/'), "{what}: {nothing:?}");
        let mounts = expected(&container(&["-e", "NVIDIA_VISIBLE_DEVICES=all"]), &what);
        let pause = fs::read_to_string(runs.join("libpod/tmp/pause.pid")).unwrap_or_default();
        if let Ok(pid) = pause.trim().parse() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        (what, mounts)
    });
    if rootless {
        for is_crun in [false, true] {
            let storage = format!("/home/{TESTER}/.hooks-{is_crun}-{}", std::process::id());
            let _ = fs::remove_dir_all(storage);
        }
    }
    seen.into()
}

/// docker has no hooks of its own; `slipway --hooks-dir` has.
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

/// containerd takes them from the specification that it is given.
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

#[test]
fn devices_are_allowed_where_cgroups_are_of_version_2_alone() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = small_glibc(home.path());
    for (runtime, stage) in [
        ("slipway", "prestart"),
        ("slipway", "createRuntime"),
        (RUNC, "createRuntime"),
    ] {
        let runtime = match runtime {
            "slipway" => program("slipway"),
            other => PathBuf::from(other),
        };
        let script = "nvidia-smi; cat /dev/other";
        let bundle = Bundle::new(&["sh", "-c", script], |spec| {
            asking(
                spec,
                &image,
                &["NVIDIA_VISIBLE_DEVICES=0"],
                json!({stage: [hook()]}),
            );
            spec["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
            // The other GPU, which nobody asked for.
            let other = json!({"path": "/dev/other", "type": "c", "major": 195, "minor": 1, "fileMode": 438});
            spec["linux"]["devices"] = json!([other]);
        });
        let mut command = Command::new(&runtime);
        command
            .args(["run", "-b"])
            .arg(bundle.path())
            .arg(bundle.id())
            .stdin(Stdio::null());
        let outcome = run(&mut unified(command));
        assert!(
            outcome
                .stdout
                .contains("couldn't communicate with the NVIDIA driver"),
            "{}: {outcome:?}",
            runtime.display()
        );
        assert!(
            outcome.stderr.contains("Operation not permitted"),
            "{outcome:?}"
        );
    }
}

#[test]
fn amds_is_the_same_under_every_runtime() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let (driver, image) = rocm_driver(home.path());
    let script =
        "awk '{print $5}' /proc/self/mountinfo | grep -E 'kfd|dri|libs|rocm' | sort; rocminfo";
    let mut all: Vec<(String, String)> = Vec::new();
    for stage in STAGES {
        for runtime in [program("slipway"), RUNC.into(), CRUN.into()] {
            let what = format!("{} {stage}", runtime.display());
            let of = |variables: &[&str]| {
                let hooks = json!({stage: [hook_of("slipway-hook-rocm", &driver)]});
                let bundle = Bundle::new(&["sh", "-c", script], |spec| {
                    asking(spec, &image, variables, hooks.clone());
                });
                by_hand(&runtime, &bundle)
            };
            let nothing = of(&[]);
            assert!(!nothing.stdout.contains('/'), "{what}: {nothing:?}");
            let asked = of(&["AMD_VISIBLE_DEVICES=0"]);
            // It has loaded its libraries, and asked for the driver.
            assert!(
                asked.stdout.contains("ROCk module is NOT loaded"),
                "{what}: {asked:?}"
            );
            for place in [
                "/dev/kfd",
                "/dev/dri/card1",
                "/dev/dri/renderD128",
                "/usr/bin/rocminfo",
            ] {
                assert!(
                    asked.stdout.lines().any(|line| line == place),
                    "{what}: {place}: {asked:?}"
                );
            }
            let unknown = of(&["AMD_VISIBLE_DEVICES=1"]);
            assert!(
                unknown.code != 0 && unknown.stdout.is_empty(),
                "{what}: {unknown:?}"
            );
            all.push((what, asked.stdout));
        }
    }
    let (_, first) = all.first().unwrap().clone();
    for (what, seen) in &all {
        assert_eq!(seen, &first, "{what}");
    }
}

#[test]
fn mpis_has_the_hosts_library_stand_in() {
    let home = home();
    let image = home.path().join("image");
    succeed(
        Command::new("cp")
            .arg("-al")
            .arg(fixture("mpich"))
            .arg(&image),
    );
    let asks = json!({"com.hooks.mpi.enabled": "true"});
    let hooks = |prefix: Option<&str>| {
        let prefix = prefix.map(|name| fixture("mpi").join(name));
        let mut args = vec![json!("slipway-hook-mpi")];
        args.extend(
            prefix
                .iter()
                .flat_map(|prefix| [json!("--prefix"), json!(prefix)]),
        );
        json!({"createRuntime": [{"path": program("slipway-hook-mpi"), "args": args}]})
    };
    let intel = fixture("mpi")
        .join("impi_rt/lib/libmpi.so.12")
        .display()
        .to_string();
    for runtime in [program("slipway"), RUNC.into(), CRUN.into()] {
        let of = |prefix, annotations: &Value, script: &str| {
            let bundle = Bundle::new(&["sh", "-c", script], |spec| {
                asking(spec, &image, &[], hooks(prefix));
                spec["annotations"] = annotations.clone();
            });
            by_hand(&runtime, &bundle)
        };
        let what = runtime.display();
        let swapped = of(Some("impi_rt"), &asks, "ldd /usr/bin/hello");
        let line = format!("libmpich.so.12 => {intel} ");
        assert!(swapped.stdout.contains(&line), "{what}: {swapped:?}");
        let own = of(Some("impi_rt"), &json!({}), "ldd /usr/bin/hello");
        assert!(
            own.stdout.contains("libmpich.so.12 => /lib/"),
            "{what}: {own:?}"
        );
        // A job within the container, by Debian's older library.
        let job = of(None, &asks, "mpirun -np 2 hello");
        assert_eq!(
            job.stdout.matches(" of 2, sum 1: MPICH Version:").count(),
            2,
            "{what}: {job:?}"
        );
        assert!(!job.stdout.contains("4.2"), "{what}: {job:?}");
    }
    let musl = Bundle::new(&["hello"], |spec| {
        asking(spec, &fixture("musl"), &[], hooks(None));
        spec["annotations"] = asks.clone();
    });
    let refused = by_hand(&program("slipway"), &musl);
    let words = "slipway-hook-mpi: the host's MPI cannot stand in for the image's: it has none";
    assert!(
        refused.code != 0 && refused.stderr.contains(words),
        "{refused:?}"
    );
    // podman, with the file that its administrator copies.
    let directory = home.path().join("hooks.d");
    fs::create_dir(&directory).unwrap();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read(top.join("integration/mpi/slipway-mpi.json")).unwrap();
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    file["hook"]["path"] = program("slipway-hook-mpi").display().to_string().into();
    fs::write(directory.join("slipway-mpi.json"), file.to_string()).unwrap();
    for (annotations, own) in [
        (&["--annotation", "com.hooks.mpi.enabled=true"][..], false),
        (&[], true),
    ] {
        let mut podman = Command::new("podman");
        keep_below(&mut podman, home.path())
            .arg("--hooks-dir")
            .arg(&directory)
            .arg("--runtime")
            .arg(program("slipway"))
            .args(["run", "--rm", "--network", "none"]);
        podman
            .args(annotations)
            .arg("--rootfs")
            .arg(&image)
            .args(["mpirun", "-np", "2", "hello"]);
        let job = run(&mut podman);
        assert_eq!(
            job.stdout.matches(" of 2, sum 1: MPICH Version:").count(),
            2,
            "{job:?}"
        );
        assert_eq!(job.stdout.contains("4.2"), own, "{job:?}");
    }
}

#[test]
fn a_container_gets_what_it_asks_for() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = small_glibc(home.path());
    let look = |variables: &[&str]| {
        by_hand(
            &program("slipway"),
            &bundle(&image, variables, "createRuntime", LOOK),
        )
    };
    for nothing in ["NVIDIA_VISIBLE_DEVICES=", "NVIDIA_VISIBLE_DEVICES=void"] {
        assert!(!look(&[nothing]).stdout.contains('/'), "{nothing}");
    }
    let none = look(&["NVIDIA_VISIBLE_DEVICES=none"]).stdout;
    assert!(
        none.contains("libcuda.so.1") && !none.contains("/dev/nvidia0"),
        "{none}"
    );
    let one = look(&["NVIDIA_VISIBLE_DEVICES=1"]).stdout;
    assert!(
        one.contains("/dev/nvidia1\n") && !one.contains("/dev/nvidia0"),
        "{one}"
    );
    assert!(
        !one.contains("libnvcuvid") && one.contains("libcuda.so.1"),
        "{one}"
    );
    let all = look(&[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=all",
    ])
    .stdout;
    assert!(
        all.contains("libnvcuvid") && all.contains("libEGL_nvidia"),
        "{all}"
    );
    let utility = look(&[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=utility",
    ])
    .stdout;
    assert!(
        utility.contains("libnvidia-ml") && !utility.contains("libcuda"),
        "{utility}"
    );
    // The last of a name counts, as for the program.
    let last = look(&["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=0"]).stdout;
    assert!(
        last.contains("/dev/nvidia0\n") && !last.contains("/dev/nvidia1"),
        "{last}"
    );
    let rows = [
        (
            "NVIDIA_VISIBLE_DEVICES=7",
            "slipway-hook-nvidia: there is no GPU 7: there are 0, 1\n",
        ),
        (
            "NVIDIA_REQUIRE_CUDA=cuda>=99.9 brand=tesla,driver>=999",
            "slipway-hook-nvidia: the image asks for cuda>=99.9 brand=tesla,driver>=999 (NVIDIA_REQUIRE_CUDA), and \
             the driver of this host is 550",
        ),
    ];
    for (variable, words) in rows {
        let refused = look(&["NVIDIA_VISIBLE_DEVICES=all", variable]);
        assert!(
            refused.code != 0 && refused.stdout.is_empty(),
            "{refused:?}"
        );
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let disabled = [
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_REQUIRE_CUDA=cuda>=99.9",
        "NVIDIA_DISABLE_REQUIRE=1",
    ];
    assert_eq!(look(&disabled).stderr, "");
}

/// Makes an image hostile.
type Spoil<'a> = &'a dyn Fn(&Path);

#[test]
fn a_hostile_image_leads_nowhere() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    let untouched = || {
        let names: Vec<_> = fs::read_dir(&outside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["victim"]);
        assert_eq!(
            fs::read_to_string(outside.join("victim")).unwrap(),
            "untouched"
        );
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(outside.to_str().unwrap()), "{mounts}");
    };
    let up = "../".repeat(40);
    let climb =
        |path: &Path| PathBuf::from(format!("{up}{}", path.strip_prefix("/").unwrap().display()));
    let all: [(&str, Spoil<'_>); 9] = [
        ("libraries", &|image| {
            fs::create_dir(image.join(".singularity.d")).unwrap();
            symlink(&outside, image.join(".singularity.d/libs")).unwrap();
        }),
        ("the root itself", &|image| {
            fs::create_dir(image.join(".singularity.d")).unwrap();
            symlink("/", image.join(".singularity.d/libs")).unwrap();
        }),
        ("a volume", &|image| {
            fs::create_dir(image.join(".singularity.d")).unwrap();
            symlink("/vol", image.join(".singularity.d/libs")).unwrap();
        }),
        ("above them", &|image| {
            symlink(climb(&outside), image.join(".singularity.d")).unwrap()
        }),
        ("program", &|image| {
            symlink(
                climb(&outside.join("new")),
                image.join("usr/bin/nvidia-smi"),
            )
            .unwrap()
        }),
        ("cache", &|image| {
            let _ = fs::remove_file(image.join("etc/ld.so.cache"));
            symlink(outside.join("victim"), image.join("etc/ld.so.cache")).unwrap();
        }),
        ("false cache", &|image| {
            let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
            bytes.extend([0xff; 28 + 24 * 50]);
            fs::write(image.join("etc/ld.so.cache"), bytes).unwrap();
        }),
        ("devices", &|image| {
            fs::remove_dir_all(image.join("dev")).unwrap();
            symlink(&outside, image.join("dev")).unwrap();
        }),
        ("loops", &|image| {
            symlink("libs", image.join("loop")).unwrap();
            symlink("loop", image.join("libs")).unwrap();
            symlink("/loop", image.join(".singularity.d")).unwrap();
        }),
    ];
    for runtime in [program("slipway"), PathBuf::from(RUNC)] {
        for (name, spoil) in all {
            let place = tempfile::tempdir_in("/var/tmp").unwrap();
            let image = small_glibc(place.path());
            spoil(&image);
            // Debian's runc itself follows this one.
            if name == "devices" && runtime == Path::new(RUNC) {
                continue;
            }
            let bundle = bundle(
                &image,
                &["NVIDIA_VISIBLE_DEVICES=all"],
                "createRuntime",
                LOOK,
            );
            let config = bundle.path().join("config.json");
            let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
            let volume = json!({"destination": "/vol", "source": outside, "options": ["rbind", "rw", "rshared"]});
            spec["mounts"].as_array_mut().unwrap().push(volume);
            fs::write(&config, spec.to_string()).unwrap();
            let outcome = by_hand(&runtime, &bundle);
            if ["the root itself", "a volume"].contains(&name) {
                let words = "it leads to a mount, or to the root itself";
                assert!(outcome.stderr.contains(words), "{name}: {outcome:?}");
            }
            // It works, or it is refused; either way nothing is done to the host.
            assert!(
                outcome.code != 0
                    || outcome.stdout.contains("/libs/libcuda.so.1")
                    || outcome.stdout.contains("libcuda"),
                "{name}: {outcome:?}"
            );
            untouched();
        }
    }
}
