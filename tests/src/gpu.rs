//! Helpers for tests of GPUs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, fixture, program, run, succeed, tester};

/// Returns the root in which the driver is installed, with nodes for two GPUs.
///
/// # Panics
///
/// Panics when the nodes cannot be made.
#[must_use]
pub fn nvidia_driver() -> PathBuf {
    let root = fixture("nvidia-550");
    for (name, minor) in [("nvidia0", "0"), ("nvidia1", "1"), ("nvidiactl", "255")] {
        let node = root.join("dev").join(name);
        if !node.exists() {
            // Another test may make it at the same time.
            run(Command::new("mknod")
                .args(["-m", "666"])
                .arg(&node)
                .args(["c", "195", minor]));
        }
        assert!(node.exists(), "{}", node.display());
    }
    root
}

/// Returns the root in which ROCm is installed, with nodes for one GPU and the kernel's files about
/// it, and an image that can load its libraries.
///
/// # Panics
///
/// Panics when they cannot be made.
#[must_use]
pub fn rocm_driver(into: &Path) -> (PathBuf, PathBuf) {
    let (root, image) = (into.join("rocm"), into.join("image"));
    for (from, to) in [("rocm", &root), ("py", &image)] {
        succeed(Command::new("cp").arg("-al").arg(fixture(from)).arg(to));
    }
    fs::create_dir_all(root.join("dev/dri")).expect("it can be made");
    for (name, major, minor) in [
        ("kfd", "511", "0"),
        ("dri/card1", "226", "1"),
        ("dri/renderD128", "226", "128"),
    ] {
        let node = root.join("dev").join(name);
        let _ = fs::remove_file(&node);
        succeed(
            Command::new("mknod")
                .args(["-m", "666"])
                .arg(node)
                .args(["c", major, minor]),
        );
    }
    let node = root.join("sys/class/kfd/kfd/topology/nodes/1");
    fs::create_dir_all(&node).expect("it can be made");
    let properties = "simd_count 304\ngfx_target_version 90402\nunique_id 255\nlocation_id 768\n\
        drm_render_minor 128\n";
    fs::write(node.join("properties"), properties).expect("it can be written");
    for directory in [
        "sys/class/drm/renderD128/device/drm/card1",
        "sys/module/amdgpu",
    ] {
        fs::create_dir_all(root.join(directory)).expect("it can be made");
    }
    fs::write(root.join("sys/module/amdgpu/version"), "6.7.0\n").expect("it can be written");
    fs::set_permissions(into, fs::Permissions::from_mode(0o755)).expect("it can be made");
    (root, image)
}

/// Makes a busybox with the C library of an older Debian, which is enough for `nvidia-smi`.
///
/// # Panics
///
/// Panics when the image cannot be made.
#[must_use]
pub fn small_glibc(into: &Path) -> PathBuf {
    let (image, old) = (into.join("image"), fixture("old"));
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&image));
    let libraries = "lib/x86_64-linux-gnu";
    for directory in [libraries, "lib64"] {
        fs::create_dir_all(image.join(directory)).expect("it can be made");
    }
    let loader = "ld-linux-x86-64.so.2";
    let from = old.join(libraries).join(loader);
    fs::copy(from, image.join("lib64").join(loader)).expect("it can be made");
    for name in [
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
    ] {
        let path = Path::new(libraries).join(name);
        fs::copy(old.join(&path), image.join(&path)).expect("it can be made");
    }
    fs::set_permissions(into, fs::Permissions::from_mode(0o755)).expect("it can be made");
    image
}

/// Runs `front` as the ordinary user in a root with a driver's packages. `enter` is the program
/// that enters this root.
///
/// # Panics
///
/// Panics when `front` cannot be copied there.
#[must_use]
pub fn front_in(enter: &str, host: &str, args: &[&str]) -> Outcome {
    let binary = fixture(host).join("usr/local/bin/front");
    // By a rename, because an earlier copy may be running.
    let part = binary.with_extension(format!("{:?}", std::thread::current().id()));
    succeed(
        Command::new("cp")
            .arg("-p")
            .arg(program("front"))
            .arg(&part),
    );
    fs::rename(&part, &binary).expect("it can be renamed");
    let mut command = Command::new(enter);
    command.arg(fixture(host)).arg(tester().to_string());
    run(command.arg("/usr/local/bin/front").args(args))
}
