//! The hooks for NVIDIA's and AMD's drivers and for MPI, under engines and runtimes: each container
//! gets the same.
//!
//! The host of NVIDIA's is a root with the driver's packages, as on hosts where a container brings
//! the driver.

mod engines;
mod images;
mod mpi;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Bundle, Outcome, nvidia_driver, program, run};

pub(crate) const RUNC: &str = "/usr/sbin/runc";
pub(crate) const CRUN: &str = "/usr/bin/crun";
pub(crate) const STAGES: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// Prints what a container sees: the mount points of the driver's files, and the output of its
/// program.
pub(crate) const LOOK: &str =
    "awk '{print $5}' /proc/self/mountinfo | grep -E 'nvidia|libs|ld.so.cache' | sort; nvidia-smi";

pub(crate) fn hook() -> Value {
    hook_of("nvidia", &nvidia_driver())
}

pub(crate) fn hook_of(name: &str, driver_root: &Path) -> Value {
    json!({"path": program("slipway-hook"), "args": ["slipway-hook", name, "--driver-root", driver_root]})
}

/// Runs the rest of a script with cgroups of version 2 only, which Debian's crun requires.
pub(crate) fn unified(mut command: Command) -> Command {
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

/// Makes a bundle of the image, with variables, and the hook at a stage.
pub(crate) fn bundle(image: &Path, variables: &[&str], stage: &str, script: &str) -> Bundle {
    Bundle::new(&["sh", "-c", script], |spec| {
        asking(spec, image, variables, json!({stage: [hook()]}));
    })
}

pub(crate) fn asking(spec: &mut Value, image: &Path, variables: &[&str], hooks: Value) {
    spec["root"]["path"] = image.display().to_string().into();
    let environment = spec["process"]["env"].as_array_mut().unwrap();
    environment.extend(variables.iter().map(|one| json!(one)));
    spec["hooks"] = hooks;
}

/// Runs a bundle with a runtime.
pub(crate) fn by_hand(runtime: &Path, bundle: &Bundle) -> Outcome {
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
