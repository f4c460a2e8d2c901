//! Programs find and load the libraries that are injected.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{fixture, succeed};

use super::{HOSTS, front, there};

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
            // The image's own loader decides.
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
    // The image's own loader for these libraries decides, using only the cache.
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
        // Scripts that name the directory find its files.
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
fn backends_lie_beside_the_images_own_libraries() {
    let host = HOSTS[1];
    let backend = "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so";
    assert!(fs::exists(fixture("new").join("usr/lib/x86_64-linux-gnu/libgbm.so.1")).unwrap());
    let seen = front(host, &["exec", "--nv", "/images/new", "ls", backend]);
    assert_eq!(seen.stdout.trim(), backend, "{seen:?}");
    // An image without the library does not need it.
    let none = front(host, &["exec", "--nv", "/images/old", "ls", backend]);
    assert_ne!(none.code, 0, "{none:?}");
}

#[test]
fn an_update_of_the_driver_is_noticed() {
    // A separate host, made by links, because it is changed.
    let (host, of) = ("nvidia-update", fixture("nvidia-535"));
    let root = of.with_file_name(host);
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("images")).unwrap();
    let others = fs::read_dir(&of)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // Other tests change its images meanwhile, if only by adding a link.
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
    // The effects of an update: other files, and a new cache.
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
