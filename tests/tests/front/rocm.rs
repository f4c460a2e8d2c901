//! `--rocm` with Debian's own ROCm packages, and nodes without a driver behind them.

use tests::{Outcome, front_in};

/// Runs `front` in a Debian root that has ROCm's packages.
fn front(args: &[&str]) -> Outcome {
    front_in(env!("CARGO_BIN_EXE_enter"), "rocm", args)
}

#[test]
fn the_hosts_runtime_serves_an_image_that_can_carry_it() {
    let info = front(&["exec", "--rocm", "/images/py", "rocminfo"]);
    // The program has started, loaded its libraries, and looked for the driver.
    let text = format!("{}{}", info.stdout, info.stderr);
    assert!(text.contains("ROCk module is NOT loaded"), "{info:?}");
    let smi = front(&["exec", "--rocm", "/images/py", "rocm-smi"]);
    assert!(
        smi.stderr
            .contains("Driver not initialized (amdgpu not found in modules)"),
        "{smi:?}"
    );
    let nodes = front(&["exec", "--rocm", "/images/py", "ls", "/dev/kfd", "/dev/dri"]);
    assert_eq!(
        nodes.stdout, "/dev/kfd\n\n/dev/dri:\ncard1\nrenderD128\n",
        "{nodes:?}"
    );
    let script = "set -e; for f in /.singularity.d/libs/*.so*; do \
        LD_TRACE_LOADED_OBJECTS=1 /lib64/ld-linux-x86-64.so.2 $f; done";
    let traced = front(&[
        "exec",
        "--rocm",
        "/images/py",
        "env",
        "-u",
        "LD_LIBRARY_PATH",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!((traced.code, traced.stderr.as_str()), (0, ""));
    assert!(
        traced
            .stdout
            .contains("libhsakmt.so.1 => /.singularity.d/libs/"),
        "{traced:?}"
    );
    assert!(!traced.stdout.contains("not found"), "{traced:?}");
}

#[test]
fn an_image_that_cannot_is_left_alone_and_told() {
    let outcome = front(&[
        "exec",
        "--rocm",
        "/images/old",
        "sh",
        "-c",
        "ls /.singularity.d/libs; ls /usr/bin/rocminfo",
    ]);
    assert!(
        outcome.stderr.starts_with(
            "WARNING: --rocm: libhsa-runtime64.so.1 is left out: it needs GLIBC_2.34, but the image has glibc 2.31\n"
        ),
        "{outcome:?}"
    );
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    let both = front(&[
        "exec",
        "--rocm",
        "--nv",
        "/images/py",
        "ls",
        "/.singularity.d/libs",
    ]);
    assert!(
        both.stdout.contains("libhsa-runtime64.so.1\n") && !both.stdout.contains("nvidia"),
        "{both:?}"
    );
}
