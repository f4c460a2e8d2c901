//! Attacks: what a hostile image, a hostile payload, another user or a fault tries, one module a class. Each was
//! possible once, here or in a runtime of others; `docs/attacks.md` names the ones that have a number.

mod audit;
mod cgroup_mounts;
mod entering;
mod failures;
mod hostile_roots;
mod image_code;
mod kills;
mod limits;
mod monitors;
mod names;
mod own_program;
mod proc_mounts;
mod state;
mod stopped;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::{Bundle, fixture, succeed, testers_processes};

/// A bundle with a root file system of its own, a copy of busybox, that an attacker may change.
pub fn own_root(args: &[&str], change: impl Fn(&mut Value)) -> (Bundle, PathBuf) {
    let bundle = Bundle::new(args, |spec| {
        spec["root"] = serde_json::json!({"path": "rootfs"});
        change(spec);
    });
    let root = bundle.path().join("rootfs");
    copy_bb(&root);
    (bundle, root)
}

/// Makes a copy of busybox.
pub fn copy_bb(root: &Path) {
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(root));
}

/// Deletes a container by force when dropped, whatever became of the test.
pub struct Deleted<'a>(pub &'a Bundle);

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        let _ = self.0.slipway(&["delete", "-f", "c1"]).output();
    }
}

/// Returns the process id of a container that runs.
pub fn pid(bundle: &Bundle) -> i32 {
    let state: Value =
        serde_json::from_str(&succeed(&mut bundle.slipway(&["state", "c1"]))).unwrap();
    i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
}

/// Starts a container in the background, its output at a file.
pub fn start(bundle: &Bundle) {
    let log = fs::File::create(bundle.path().join("log")).unwrap();
    let mut command = bundle.slipway(&["run", "-d", "c1"]);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    assert!(command.status().unwrap().success(), "{}", log_of(bundle));
}

/// What a container in the background has written.
pub fn log_of(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.path().join("log")).unwrap_or_default()
}

/// A variable that marks the processes of one test, and its value: what a program of ours leaves behind has it, too.
pub fn mark(test: &str) -> (&'static str, String) {
    ("SLIPWAY_MARK", format!("{test}-{}-", std::process::id()))
}

/// The ordinary user's processes with a mark.
pub fn marked(mark: &str) -> Vec<u32> {
    let processes = testers_processes().into_iter().map(|(pid, _)| pid);
    let ours = processes.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    });
    ours.collect()
}
