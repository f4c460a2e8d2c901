//! A bundle for running `slipway` directly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, fixture, program, run, succeed};

/// A shell command that mounts only version 2 at `/sys/fs/cgroup`, unless the host has nothing else.
pub const UNIFIED: &str =
    "[ -e /sys/fs/cgroup/cgroup.controllers ] || mount -t cgroup2 none /sys/fs/cgroup";

/// A bundle with a state root of its own.
#[derive(Debug)]
pub struct Bundle {
    directory: tempfile::TempDir,
}

impl Bundle {
    /// Makes a bundle of busybox that runs `args`. `change` changes its specification. The bundle
    /// has a root file system of its own: a container can change it, and other tests share the
    /// fixture.
    ///
    /// # Panics
    ///
    /// Panics when the bundle cannot be written.
    pub fn new(args: &[&str], change: impl Fn(&mut serde_json::Value)) -> Self {
        let bundle = Self {
            directory: tempfile::tempdir_in("/var/tmp").unwrap(),
        };
        let path = bundle.path();
        succeed(slipway(&bundle.path()).args(["spec", "-b"]).arg(&path));
        let config = path.join("config.json");
        let mut spec: serde_json::Value =
            serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        spec["process"]["terminal"] = false.into();
        spec["process"]["args"] = args.into();
        spec["process"]["rlimits"] = serde_json::Value::Null;
        change(&mut spec);
        fs::write(&config, serde_json::to_vec(&spec).unwrap()).unwrap();
        let copy = [fixture("bb"), bundle.root()];
        succeed(Command::new("cp").arg("-a").args(copy));
        bundle
    }

    /// Returns the directory of the root file system.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Returns the bundle's directory.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Returns `slipway` with arguments. The argument `c1` is replaced by an id that no other test
    /// has: containers with the same id would share a cgroup.
    #[must_use]
    pub fn slipway(&self, args: &[&str]) -> Command {
        let id = self.id();
        let mut command = slipway(&self.path());
        command.args(args.iter().map(|arg| if *arg == "c1" { &id } else { *arg }));
        command.current_dir(self.path());
        command
    }

    /// Returns the id that replaces `c1`.
    ///
    /// # Panics
    ///
    /// Never: a temporary directory has a name.
    #[must_use]
    pub fn id(&self) -> String {
        let name = self
            .directory
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        format!("c1{name}")
    }

    /// Runs a script in a mount namespace of its own, with a time limit. `$S` is `slipway` with its
    /// root, `$I` the id, and `before` makes the mounts.
    #[must_use]
    pub fn script(&self, before: &str, script: &str) -> Outcome {
        let slipway = self.slipway(&[]);
        let words: Vec<String> = std::iter::once(slipway.get_program())
            .chain(slipway.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let text = format!(
            "{before}; cd {}; S='{}'; I={}; {script}",
            self.path().display(),
            words.join(" "),
            self.id()
        );
        // A process in a frozen cgroup would block the test for ever.
        let mut command = Command::new("timeout");
        command.args([
            "-k",
            "5",
            "60",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ]);
        run(command.args(["sh", "-c", &text]).stdin(Stdio::null()))
    }

    /// Returns the names that are left in the state root.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let entries = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
        let root = self.path().join("state");
        entries(root.clone())
            .chain(entries(root.join(".bundles")))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(".bundles"))
            .collect()
    }
}

fn slipway(directory: &Path) -> Command {
    let mut command = Command::new(program("slipway"));
    command
        .arg("--root")
        .arg(directory.join("state"))
        .stdin(Stdio::null());
    command
}
