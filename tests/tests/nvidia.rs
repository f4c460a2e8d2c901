//! `--nv` with NVIDIA's own driver packages, and nodes without a driver behind.

use std::process::Command;

use tests::{fixture, program, run, tester};

/// Runs `front` in a Debian root that has the driver's packages, on an image that has none of it.
fn front_there(args: &[&str]) -> tests::Outcome {
    let root = fixture("nvidia");
    let binary = root.join("usr/local/bin/front");
    // In place of an earlier run's, which may be running.
    let _ = std::fs::remove_file(&binary);
    std::fs::copy(program("front"), &binary).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_enter"));
    command
        .arg(root)
        .arg(tester().to_string())
        .arg("/usr/local/bin/front")
        .args(args);
    run(&mut command)
}

#[test]
fn the_real_nvidia_smi_starts_and_finds_its_library() {
    let libraries = front_there(&[
        "exec",
        "--nv",
        "/images/bb.sif",
        "sh",
        "-c",
        "ls /.singularity.d/libs /usr/bin/nvidia-smi /dev/nvidia0 /dev/nvidiactl; echo $LD_LIBRARY_PATH",
    ]);
    for name in [
        "libcuda.so.1",
        "libnvidia-ml.so.1",
        "/usr/bin/nvidia-smi",
        "/dev/nvidia0",
        "/dev/nvidiactl",
    ] {
        assert!(libraries.stdout.contains(name), "{name}: {libraries:?}");
    }
    assert!(
        libraries.stdout.ends_with("/.singularity.d/libs\n"),
        "{libraries:?}"
    );
    let smi = front_there(&["exec", "--nv", "/images/py.sif", "nvidia-smi"]);
    let text = format!("{}{}", smi.stdout, smi.stderr);
    assert!(
        text.contains("couldn't communicate with the NVIDIA driver")
            || text.contains("NVIDIA-SMI has failed"),
        "{smi:?}"
    );
}

#[test]
fn it_is_silent_without_a_driver() {
    let image = fixture("bb").display().to_string();
    let outcome = run(&mut tests::front(["exec", "--nv", &image, "true"]));
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
}
