//! The devices of the GPUs that a contained program has chosen.

use tests::Outcome;

use super::{HOSTS, front, there};

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
    // The program counts the GPUs that it sees.
    assert!(one.stdout.contains("writable\n0\n"), "{one:?}");
    // A scheduler's setting takes precedence, and leaves the program's variable alone.
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
            "FATAL:   CUDA_VISIBLE_DEVICES in --nv: no GPU 7 on this host; available: 0, 1\n"
        )
    );
    // Without `-c`, all devices are there, whatever is chosen.
    let open = contained("CUDA_VISIBLE_DEVICES=1", "--nv");
    assert!(devices(&open).contains(&"nvidia0".to_owned()), "{open:?}");
}
