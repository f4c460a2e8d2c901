//! Attacks by a hostile image, a hostile payload, another user or a fault, with one module for each
//! class. Each was possible once, here or in another runtime. `docs/design/attacks.md` lists those that
//! have a number.

mod audit;
mod cgroup_mounts;
mod cgroup_others;
mod descriptors;
mod entering;
mod failures;
mod first_process;
mod forged_answers;
mod hooks;
mod host_files;
mod hostile_roots;
mod image_code;
mod interrupted;
mod kills;
mod limits;
mod monitors;
mod names;
mod own_program;
mod proc_mounts;
mod same_id;
mod state;
mod stopped;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{Bundle, fixture, succeed, testers_processes, wait_for};

/// Makes a bundle and returns it with its root file system, which the container may write to.
pub fn own_root(args: &[&str], change: impl Fn(&mut Value)) -> (Bundle, PathBuf) {
    let bundle = Bundle::new(args, |spec| {
        spec["root"] = serde_json::json!({"path": "rootfs"});
        change(spec);
    });
    let root = bundle.root();
    (bundle, root)
}

/// Removes from a specification what an ordinary user cannot have without a user namespace of many
/// ids.
pub fn for_an_ordinary_user(spec: &mut Value) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["type"] != "cgroup" && mount["type"] != "sysfs");
    for mount in mounts {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
    let linux = spec["linux"].as_object_mut().unwrap();
    linux.remove("resources");
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != "network" && one["type"] != "cgroup");
}

/// Makes a copy of busybox.
pub fn copy_bb(root: &Path) {
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(root));
}

/// Deletes a container by force when dropped, even if the test has failed.
pub struct Deleted<'a>(pub &'a Bundle);

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        let _ = self.0.slipway(&["delete", "-f", "c1"]).output();
    }
}

/// Returns the processes with a text in their arguments, which are separated by blanks.
pub fn processes_with(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        words.contains(text)
    })
    .collect()
}

/// Returns the process id of a running container.
pub fn pid(bundle: &Bundle) -> i32 {
    let state: Value =
        serde_json::from_str(&succeed(&mut bundle.slipway(&["state", "c1"]))).unwrap();
    i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
}

/// Starts a container in the background, with its output in a file.
pub fn start(bundle: &Bundle) {
    let log = fs::File::create(bundle.path().join("log")).unwrap();
    let mut command = bundle.slipway(&["run", "-d", "c1"]);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    assert!(command.status().unwrap().success(), "{}", log_of(bundle));
}

/// Starts a container whose shell script has a capability, and waits until the script has made
/// `/ready`.
pub fn begin_payload(script: &str, capability: &str) -> Bundle {
    let (bundle, root) = own_root(&["/bin/sh", "-c", script], |spec| {
        spec["root"]["readonly"] = false.into();
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = serde_json::json!([capability]);
        }
    });
    start(&bundle);
    wait_for("the payload", Duration::from_secs(20), || {
        root.join("ready").exists()
    });
    bundle
}

/// Returns the output of a container in the background.
pub fn log_of(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.path().join("log")).unwrap_or_default()
}

/// Returns a variable that marks the processes of one test, and its value. Processes that a program
/// of ours leaves behind have it, too.
pub fn mark(test: &str) -> (&'static str, String) {
    ("SLIPWAY_MARK", format!("{test}-{}-", std::process::id()))
}

/// Returns the ordinary user's processes with a mark.
pub fn marked(mark: &str) -> Vec<u32> {
    let processes = testers_processes().into_iter().map(|(pid, _)| pid);
    let ours = processes.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    });
    ours.collect()
}
