//! `--nv` and `front gpu` with NVIDIA's own driver packages of two versions, and nodes without a driver
//! behind, on images with older and newer C libraries, another, and none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Outcome, fixture, front_in, run, succeed, tester};

/// The hosts, by their driver, and its whole version.
const HOSTS: [&str; 2] = ["nvidia-535", "nvidia-550"];

/// Runs a command in a Debian root that has the driver's packages.
fn there(host: &str, words: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
    command
        .arg(fixture(host))
        .arg(tester().to_string())
        .args(words);
    run(&mut command)
}

/// Runs `front` there.
fn front(host: &str, args: &[&str]) -> Outcome {
    front_in(env!("CARGO_BIN_EXE_enter"), host, args)
}

fn driver(host: &str) -> String {
    let library = there(
        host,
        &[
            "/usr/bin/readlink",
            "-f",
            "/lib/x86_64-linux-gnu/libcuda.so.1",
        ],
    );
    library
        .stdout
        .trim()
        .rsplit_once(".so.")
        .unwrap()
        .1
        .to_owned()
}

/// An image of a host's, made from another by links, and changed.
struct Variant {
    root: PathBuf,
    name: String,
}

impl Variant {
    fn new(host: &str, of: &str, name: &str) -> Self {
        let root = fixture(host).join("images").join(name);
        let _ = fs::remove_dir_all(&root);
        succeed(Command::new("cp").arg("-al").arg(fixture(of)).arg(&root));
        Self {
            root,
            name: format!("/images/{name}"),
        }
    }

    /// Puts a file of the host's into it.
    fn put(&self, host: &str, from: &str, to: &str) {
        let to = self.root.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&to);
        fs::copy(fixture(host).join(from), to).unwrap();
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// What `front gpu explain` says of one library: its decision and why.
fn explained(text: &str, library: &str) -> (String, String) {
    let line = text
        .lines()
        .find(|line| line.split("    ").any(|cell| cell.trim() == library));
    let line = line.unwrap_or_else(|| panic!("{library}: {text}"));
    let mut cells = line
        .split("   ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty());
    let decision = cells.next().unwrap().to_owned();
    (decision, cells.skip(1).collect::<Vec<_>>().join(" "))
}

#[test]
fn the_real_nvidia_smi_starts_on_every_pair_and_all_that_is_lent_loads() {
    for host in HOSTS {
        for image in ["/images/old", "/images/py", "/images/py.sif", "/images/new"] {
            let smi = front(
                host,
                &[
                    "exec",
                    "--nv",
                    image,
                    "env",
                    "-u",
                    "LD_LIBRARY_PATH",
                    "nvidia-smi",
                ],
            );
            let text = format!("{}{}", smi.stdout, smi.stderr);
            assert!(
                text.contains("couldn't communicate with the NVIDIA driver"),
                "{host} {image}: {smi:?}"
            );
            // The image's own loader is the judge.
            let script = "set -e; n=0; for f in /.singularity.d/libs/*.so* /usr/bin/nvidia-smi; do \
                LD_TRACE_LOADED_OBJECTS=1 /lib64/ld-linux-x86-64.so.2 $f; n=$((n+1)); done; echo $n";
            let traced = front(
                host,
                &[
                    "exec",
                    "--nv",
                    image,
                    "env",
                    "-u",
                    "LD_LIBRARY_PATH",
                    "sh",
                    "-c",
                    script,
                ],
            );
            assert_eq!(
                (traced.code, traced.stderr.as_str()),
                (0, ""),
                "{host} {image}"
            );
            assert!(
                !traced.stdout.contains("not found"),
                "{host} {image}: {}",
                traced.stdout
            );
            let count: usize = traced.stdout.lines().last().unwrap().parse().unwrap();
            assert!(count > 12, "{host} {image}: {count}");
        }
    }
}

#[test]
fn programs_of_32_bits_find_their_own() {
    let host = "nvidia-550";
    let look =
        |image: &str, script: &str| front(host, &["exec", "--nv", image, "sh", "-c", script]);
    // The image's own loader for them is the judge, by the cache alone.
    let script = "unset LD_LIBRARY_PATH; for f in libcuda.so.1 libnvidia-ml.so.1; do \
        LD_TRACE_LOADED_OBJECTS=1 LD_PRELOAD=$f /lib/ld-linux.so.2 /lib32/libc.so.6; done";
    let traced = look("/images/old", script);
    assert_eq!((traced.code, traced.stderr.as_str()), (0, ""));
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let line = format!("/.singularity.d/libs/i386/{name} (0x");
        assert!(traced.stdout.contains(&line), "{traced:?}");
    }
    assert!(!traced.stdout.contains("not found"), "{traced:?}");
    let none = look("/images/py", "ls /.singularity.d/libs");
    assert!(
        none.stdout.contains("libcuda.so.1\n") && !none.stdout.contains("i386"),
        "{none:?}"
    );
}

#[test]
fn libraries_are_found_through_the_cache_and_nothing_is_inherited() {
    for host in HOSTS {
        let script = "echo [$LD_LIBRARY_PATH]; ldconfig -p | grep -c ' => /.singularity.d/libs/libcuda.so'; \
            ls /dev/nvidia0 /dev/nvidiactl; echo $(ls /.singularity.d/libs/libcuda.so)";
        let seen = front(
            host,
            &[
                "exec",
                "--nv",
                "/images/old",
                "sh",
                "-c",
                &format!("PATH=$PATH:/sbin; {script}"),
            ],
        );
        assert_eq!(
            seen.stdout, "[]\n2\n/dev/nvidia0\n/dev/nvidiactl\n/.singularity.d/libs/libcuda.so\n",
            "{host}: {seen:?}"
        );
        // Scripts that name the directory find what they look for.
        let by_path = "LD_LIBRARY_PATH=/.singularity.d/libs nvidia-smi";
        let smi = front(host, &["exec", "--nv", "/images/old", "sh", "-c", by_path]);
        assert!(
            smi.stdout.contains("couldn't communicate"),
            "{host}: {smi:?}"
        );
        // The image's own libraries are found as before.
        let own = front(
            host,
            &[
                "exec",
                "--nv",
                "/images/old",
                "sh",
                "-c",
                "/sbin/ldconfig -p | grep libz.so.1",
            ],
        );
        assert!(
            own.stdout.contains("/lib/x86_64-linux-gnu/libz.so.1"),
            "{host}: {own:?}"
        );
    }
}

#[test]
fn the_images_own_dispatchers_win_and_none_is_mixed_in() {
    for host in HOSTS {
        let text = front(host, &["gpu", "explain", "/images/new"]).stdout;
        for library in [
            "libGL.so.1",
            "libEGL.so.1",
            "libGLdispatch.so.0",
            "libGLX.so.0",
            "libOpenCL.so.1",
        ] {
            let (decision, why) = explained(&text, library);
            assert_eq!(decision, "own", "{host} {library}: {why}");
            assert!(
                why.starts_with("the image's /usr/lib/x86_64-linux-gnu/"),
                "{host} {library}: {why}"
            );
        }
        let list = front(
            host,
            &["exec", "--nv", "/images/new", "ls", "/.singularity.d/libs"],
        )
        .stdout;
        assert!(
            !list.contains("libGL.so") && list.contains("libGLX_nvidia.so.0"),
            "{host}: {list}"
        );
    }
}

#[test]
fn backends_lie_beside_the_images_own_libraries() {
    let host = HOSTS[1];
    let backend = "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so";
    assert!(fs::exists(fixture("new").join("usr/lib/x86_64-linux-gnu/libgbm.so.1")).unwrap());
    let seen = front(host, &["exec", "--nv", "/images/new", "ls", backend]);
    assert_eq!(seen.stdout.trim(), backend, "{seen:?}");
    // An image without the library has no use for it.
    let none = front(host, &["exec", "--nv", "/images/old", "ls", backend]);
    assert_ne!(none.code, 0, "{none:?}");
}

#[test]
fn who_cannot_use_the_driver_is_told_so() {
    for (image, what, command) in [
        ("/images/bb", "none", vec!["echo", "hello"]),
        ("/images/musl", "musl", vec!["/bin/hello"]),
    ] {
        let outcome = front(
            HOSTS[0],
            &[&["exec", "--nv", image], command.as_slice()].concat(),
        );
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, "hello\n"),
            "{outcome:?}"
        );
        let said = format!(
            "WARNING: --nv: no library is injected: the driver's are made for the GNU C library, and the \
             image has {what}\n"
        );
        assert_eq!(outcome.stderr, said);
    }
    let image = fixture("bb").display().to_string();
    let outcome = run(&mut tests::front(["exec", "--nv", &image, "true"]));
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
    let none = succeed(&mut tests::front(["gpu"]));
    assert_eq!(none, "no NVIDIA driver, no AMD driver\n");
}

#[test]
fn answers_are_right_on_ten_images() {
    let (older, newer) = (HOSTS[0], HOSTS[1]);
    let (old_driver, new_driver) = (driver(older), driver(newer));
    let text = |host: &str, image: &str| {
        let outcome = front(host, &["gpu", "explain", image]);
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (0, ""),
            "{host} {image}: {outcome:?}"
        );
        outcome.stdout
    };
    let injected = |text: &str, library: &str| {
        let (decision, why) = explained(text, library);
        assert_eq!(decision, "injected", "{library}: {why}");
        why
    };
    let left = |text: &str, library: &str, reason: &str| {
        assert_eq!(
            explained(text, library),
            ("left out".to_owned(), reason.to_owned())
        );
    };

    // 1. An old glibc under an old driver: all of Debian 12's asks for no more than 2.34, but Debian 11 has 2.31.
    let one = text(older, "/images/old");
    assert!(
        one.starts_with(&format!(
            "/images/old: glibc 2.31; NVIDIA driver {old_driver}\n"
        )),
        "{one}"
    );
    injected(&one, "libcuda.so.1");
    left(
        &one,
        "libGLX_nvidia.so.0",
        "it needs libX11.so.6, which the image does not have",
    );
    // 2. The same under a host of today: the dispatchers are its own, the driver's libraries are not.
    let two = text(newer, "/images/old");
    let cuda = injected(&two, "libcuda.so.1");
    assert!(
        cuda.ends_with(&format!("libcuda.so.{new_driver}")),
        "{cuda}"
    );
    left(
        &two,
        "libEGL.so.1",
        "it needs GLIBC_2.38 and the image has glibc 2.31",
    );
    left(
        &two,
        "libGL.so.1",
        "it needs libGLdispatch.so.0, which is left out, too",
    );
    left(
        &two,
        "libOpenCL.so.1",
        "it needs GLIBC_2.38 and the image has glibc 2.31",
    );
    // 3. A newer glibc than the host's carries everything that needs no more than that.
    let three = text(older, "/images/py");
    assert!(three.starts_with("/images/py: glibc 2.41; "), "{three}");
    injected(&three, "libEGL.so.1");
    injected(&three, "libGLdispatch.so.0");
    // 4. The same image as a SIF.
    let four = text(older, "/images/py.sif");
    assert_eq!(
        three.lines().skip(1).collect::<Vec<_>>(),
        four.lines().skip(1).collect::<Vec<_>>()
    );
    // 5. An image of today with GLVND and X.
    let five = text(newer, "/images/new");
    injected(&five, "libGLX_nvidia.so.0");
    assert_eq!(explained(&five, "libGLdispatch.so.0").0, "own");
    // 6, 7. No C library, and another.
    for (image, has) in [
        ("/images/bb", "the image has none"),
        ("/images/musl", "the image has musl"),
    ] {
        let (decision, why) = explained(&text(older, image), "libcuda.so.1");
        assert!(decision == "left out" && why.ends_with(has), "{why}");
    }
    // 8. Forward compatibility: the image brings a newer driver's libraries.
    let compat = Variant::new(older, "old", "compat");
    let library = format!("libcuda.so.{new_driver}");
    compat.put(
        newer,
        &format!("usr/lib/x86_64-linux-gnu/nvidia/current/{library}"),
        &format!("usr/local/cuda/compat/{library}"),
    );
    symlink(
        &library,
        compat.root.join("usr/local/cuda/compat/libcuda.so.1"),
    )
    .unwrap();
    let eight = text(older, &compat.name);
    assert_eq!(explained(&eight, "libcuda.so.1").0, "own", "{eight}");
    assert!(
        eight.contains(&format!(
            "the image's own CUDA libraries for driver {new_driver} are used\n"
        )),
        "{eight}"
    );
    let cached = front(
        older,
        &[
            "exec",
            "--nv",
            &compat.name,
            "sh",
            "-c",
            "/sbin/ldconfig -p | grep 'libcuda.so.1 '",
        ],
    );
    assert!(
        cached
            .stdout
            .contains("=> /usr/local/cuda/compat/libcuda.so.1"),
        "{cached:?}"
    );
    drop(compat);
    // ... and not, where the driver is as new.
    let same = Variant::new(newer, "old", "same");
    same.put(
        newer,
        &format!("usr/lib/x86_64-linux-gnu/nvidia/current/{library}"),
        &format!("usr/local/cuda/compat/{library}"),
    );
    let eight = text(newer, &same.name);
    assert_eq!(explained(&eight, "libcuda.so.1").0, "injected", "{eight}");
    assert!(
        eight.contains("compatibility libraries are not used: the driver"),
        "{eight}"
    );
    drop(same);
    // 9. Somebody has built the driver's library of another version into the image.
    let baked = Variant::new(older, "old", "baked");
    let into = "usr/lib/x86_64-linux-gnu/libcuda.so.1";
    baked.put(
        newer,
        &format!("usr/lib/x86_64-linux-gnu/nvidia/current/{library}"),
        into,
    );
    let nine = injected(&text(older, &baked.name), "libcuda.so.1");
    assert!(
        nine.contains(&format!("in place of the image's /{into}")),
        "{nine}"
    );
    drop(baked);
    // 10. An image without a cache of its own, whose cache is a link to elsewhere.
    let bare = Variant::new(older, "old", "bare");
    fs::remove_file(bare.root.join("etc/ld.so.cache")).unwrap();
    symlink(
        "../../../../../../etc/passwd",
        bare.root.join("etc/ld.so.cache"),
    )
    .unwrap();
    injected(&text(older, &bare.name), "libcuda.so.1");
    let smi = front(older, &["exec", "--nv", &bare.name, "nvidia-smi"]);
    assert!(smi.stdout.contains("couldn't communicate"), "{smi:?}");
}

#[test]
fn an_update_of_the_driver_is_noticed() {
    // A host of its own, made by links, since it is changed.
    let (host, of) = ("nvidia-update", fixture("nvidia-535"));
    let root = of.with_file_name(host);
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("images")).unwrap();
    let others = fs::read_dir(&of)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // Its images are changed by others meanwhile, if only by another link.
    let others = others.filter(|path| path.file_name().unwrap() != "images");
    succeed(Command::new("cp").arg("-al").args(others).arg(&root));
    succeed(
        Command::new("cp")
            .arg("-a")
            .arg(fixture("old"))
            .arg(root.join("images")),
    );
    fs::copy(of.with_extension("dev"), root.with_extension("dev")).unwrap();
    let cache = fixture(host).join("tmp/cache");
    let _ = fs::remove_dir_all(&cache);
    let words = ["exec", "--nv", "/images/old", "ls", "/.singularity.d/libs"];
    let list = || {
        let run = format!(
            "HOME=/tmp FRONT_CACHEDIR=/tmp/cache exec front {}",
            words.join(" ")
        );
        front(host, &["run"]);
        there(host, &["/bin/sh", "-c", &run]).stdout
    };
    let before = list();
    assert!(before.contains("libnvoptix.so.1"), "{before}");
    assert_eq!(list(), before);
    assert_eq!(
        fs::read_dir(cache.join("front/discovery")).unwrap().count(),
        1
    );
    // What an update does: other files, and a new cache.
    let library = Path::new("usr/lib/x86_64-linux-gnu/libnvoptix.so.1");
    let (there_now, aside) = (fixture(host).join(library), fixture(host).join("tmp/aside"));
    fs::rename(&there_now, &aside).unwrap();
    let rebuild = || {
        succeed(
            Command::new("/sbin/ldconfig")
                .arg("-X")
                .arg("-r")
                .arg(fixture(host)),
        )
    };
    rebuild();
    let after = list();
    fs::rename(&aside, &there_now).unwrap();
    rebuild();
    assert!(
        !after.contains("libnvoptix.so.1") && after.contains("libcuda.so.1"),
        "{after}"
    );
    assert_eq!(list(), before);
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn one_that_is_contained_has_the_chosen_gpus_only() {
    let host = HOSTS[1];
    front(host, &["run"]);
    let look = "ls /dev; ls -A ~ /tmp; touch ~/x /tmp/x && echo writable; echo $CUDA_VISIBLE_DEVICES; nvidia-smi";
    let contained = |variables: &str, flags: &str| {
        let script = format!(
            "HOME=/home/someone {variables} exec front exec {flags} /images/old sh -c '{look}'"
        );
        there(host, &["/bin/sh", "-c", &script])
    };
    let base = [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    let devices = |outcome: &Outcome| -> Vec<String> {
        let lines = outcome
            .stdout
            .lines()
            .take_while(|line| !line.ends_with(':'));
        let own =
            lines.filter(|line| !base.contains(line) && *line != "console" && *line != "core");
        own.map(str::to_owned).collect()
    };
    let plain = contained("", "-c");
    assert!(
        devices(&plain).is_empty() && plain.stdout.contains("writable"),
        "{plain:?}"
    );
    assert!(plain.stdout.contains("/tmp:\nwritable"), "{plain:?}");
    let all = contained("", "-c --nv");
    assert_eq!(
        devices(&all),
        ["nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl"],
        "{all:?}"
    );
    assert!(
        all.stdout
            .contains("couldn't communicate with the NVIDIA driver"),
        "{all:?}"
    );
    let one = contained("CUDA_VISIBLE_DEVICES=1", "-c --nv");
    assert_eq!(
        devices(&one),
        ["nvidia-uvm", "nvidia1", "nvidiactl"],
        "{one:?}"
    );
    // The program counts what it sees.
    assert!(one.stdout.contains("writable\n0\n"), "{one:?}");
    // What a scheduler says counts more, and leaves the program's variable alone.
    let job = contained("SLURM_STEP_GPUS=1 CUDA_VISIBLE_DEVICES=0", "-c --nv");
    assert_eq!(
        devices(&job),
        ["nvidia-uvm", "nvidia1", "nvidiactl"],
        "{job:?}"
    );
    assert!(job.stdout.contains("writable\n0\n"), "{job:?}");
    let none = contained("NVIDIA_VISIBLE_DEVICES=none", "-c --nv");
    assert_eq!(devices(&none), ["nvidia-uvm", "nvidiactl"], "{none:?}");
    let unknown = contained("CUDA_VISIBLE_DEVICES=7", "-c --nv");
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (
            255,
            "FATAL:   CUDA_VISIBLE_DEVICES in --nv: there is no GPU 7: there are 0, 1\n"
        )
    );
    // Without, everything is there, whatever is chosen.
    let open = contained("CUDA_VISIBLE_DEVICES=1", "--nv");
    assert!(devices(&open).contains(&"nvidia0".to_owned()), "{open:?}");
}
