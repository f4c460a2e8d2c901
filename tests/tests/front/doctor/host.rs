//! Findings about the host and its GPUs, and hosts and images without any.

use std::process::Command;

use tests::{front_in, program, run};

use super::{doctor, doctor_where, finds, image, is_well};

#[test]
fn what_is_wrong_with_the_host_is_found() {
    let mpich = image("mpich");
    let args = [mpich.as_str(), "hello"];
    let change =
        "touch /tmp/.no-fuse; chmod 600 /tmp/.no-fuse; mount --bind /tmp/.no-fuse /dev/fuse";
    let fuse = doctor_where(change, &args);
    finds(
        &fuse,
        "slow",
        "images",
        "/dev/fuse: permission denied: each SIF is extracted",
        "modprobe fuse",
    );
    let small = doctor_where("mount -t tmpfs -o size=1m none /dev/shm", &args);
    finds(
        &small,
        "slow",
        "shared memory",
        "/dev/shm has 1 MiB",
        "mount -o remount,size=50% /dev/shm",
    );
    let fabric = "mount -t tmpfs none /dev/shm && mkdir /dev/shm/d && mknod -m 666 /dev/shm/d/null c 1 3 && \
        mknod -m 666 /dev/shm/d/fuse c 10 229 && mkdir /dev/shm/d/shm && \
        mknod -m 666 /dev/shm/d/cxi0 c 1 3 && mount -t tmpfs none /dev/shm/d/shm && \
        mount --rbind /dev/shm/d /dev";
    let locked = doctor_where(&format!("{fabric} && ulimit -l 64"), &args);
    finds(
        &locked,
        "slow",
        "locked memory",
        "only 64 KiB",
        "ulimit -l unlimited",
    );
    let library = doctor_where(
        &format!("{fabric} && ulimit -l 64"),
        &[&image("ompi"), "hello"],
    );
    finds(
        &library,
        "slow",
        "network",
        "this host's Slingshot is not reached: ",
        "build the image with",
    );
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"",
        "sh",
    ]);
    let none = run(command.arg(program("front")).arg("doctor"));
    finds(
        &none,
        "fails",
        "namespaces",
        "create a user namespace: no space left on device",
        "sysctl user.max_user_namespaces=15000",
    );
}

#[test]
fn what_a_gpu_needs_is_found() {
    let nv = doctor(&["--nv", &image("py"), "true"]);
    finds(
        &nv,
        "fails",
        "GPU",
        "--nv: this host has no such GPU",
        "choose other nodes",
    );
    let rocm = doctor(&["--rocm", &image("py"), "true"]);
    finds(
        &rocm,
        "fails",
        "GPU",
        "--rocm: this host has no such GPU",
        "choose other nodes",
    );
    let there = |args: &[&str]| {
        front_in(
            env!("CARGO_BIN_EXE_enter"),
            "nvidia-550",
            &[&["doctor"], args].concat(),
        )
    };
    let new = there(&["--nv", "--env", "CUDA_VERSION=13.0.1", "/images/py", "true"]);
    finds(
        &new,
        "fails",
        "GPU",
        "the image is made for CUDA 13, and the driver 550",
        "an image for an older CUDA",
    );
    let forgotten = there(&["--env", "CUDA_VERSION=12.4.1", "/images/py", "true"]);
    finds(
        &forgotten,
        "fails",
        "GPU",
        "the driver is not injected",
        "--nv",
    );
    let musl = there(&["--nv", "/images/musl", "hello"]);
    finds(
        &musl,
        "fails",
        "GPU",
        "the driver's libraries need the GNU C library",
        "use an image with glibc",
    );
    is_well(&there(&[
        "--nv",
        "--env",
        "CUDA_VERSION=12.4.1",
        "/images/py",
        "true",
    ]));
}

#[test]
fn what_is_well_is_not_complained_of() {
    for words in [
        ["bb", "sh"],
        ["bb.sif", "sh"],
        ["py", "python3"],
        ["py.sif", "python3"],
        ["new", "cat"],
        ["old", "python3"],
        ["musl", "hello"],
        ["mpich", "hello"],
        ["rpath", "hello"],
        ["ompi", "hello"],
        ["ompi", "python3"],
    ] {
        is_well(&doctor(&[&image(words[0]), words[1]]));
    }
    let json = doctor(&["--json", &image("bb"), "--", "sh"]);
    let all: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["verdict"] == "works"),
        "{json:?}"
    );
}
