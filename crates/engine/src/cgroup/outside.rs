//! Hierarchies of cgroups beside those that libcontainer knows, where the old ones are in use: systemd's, the unified one
//! beside them, and new controllers.
//!
//! libcontainer has a container's first process join the controllers that it knows. A namespace of cgroups has its root
//! at the cgroup of the process that makes it, in each hierarchy: in the others that was the host's. So the process that
//! calls libcontainer joins the container's cgroup there, and its children with it. Hooks of the runtime's namespaces
//! are children of it, too, and are not the container's: they leave before they begin.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Hierarchy, old_hierarchies};
use crate::Error;
use crate::shadow_bundle::has_hooks;

/// The controllers of old hierarchies that libcontainer knows.
const KNOWN: [&str; 12] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

/// The first argument by which the runtime's program runs a hook outside: see [`hook_outside`].
pub const HOOK_OUTSIDE: &str = "hook-outside";

/// The hooks that run in the runtime's namespaces while a container is made.
const HOOK_POINTS: [&str; 2] = ["prestart", "createRuntime"];

/// This very program.
const OWN: &str = "/proc/self/exe";

/// The hierarchies that libcontainer does not know: their names, and where they are mounted.
fn unknown() -> impl Iterator<Item = (String, PathBuf)> {
    old_hierarchies()
        .into_iter()
        .filter_map(|(name, hierarchy)| {
            let is_known = name.split(',').any(|one| KNOWN.contains(&one));
            match hierarchy {
                Hierarchy::Mounted(mounted) if !is_known => Some((name, mounted)),
                Hierarchy::Mounted(_) | Hierarchy::Link(_) => None,
            }
        })
}

/// Has the calling process join the cgroup at `path` in the hierarchies that libcontainer does not know, and the hooks of
/// `document` that run in the runtime's namespaces go back to where it was. Where it may not join, as an ordinary user, a
/// container may change nothing there either; and where a hook could not go back, nobody joins.
pub(crate) fn join_what_libcontainer_does_not(
    path: &str,
    document: &mut Value,
) -> Result<(), Error> {
    let has_hooks = HOOK_POINTS.iter().any(|point| has_hooks(document, point));
    let lines = fs::read_to_string("/proc/self/cgroup");
    let lines = lines.map_err(|source| Error::system("find the runtime's own cgroups", source))?;
    let mut left = Vec::new();
    for (name, mounted) in unknown() {
        let present = present(&lines, &name, &mounted);
        if has_hooks && present.is_none() {
            continue;
        }
        let own = mounted.join(path.trim_start_matches('/'));
        let joined = fs::create_dir_all(&own).and_then(|()| enter(&own));
        match joined.map_err(|error| (error.kind(), error)) {
            Ok(()) => left.extend(present),
            Err((ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem, _)) => {}
            Err((_, error)) => return Err(Error::state("join", &own)(error)),
        }
    }
    if !left.is_empty() {
        run_hooks_in(&left, document);
    }
    Ok(())
}

/// The directory of the calling process's cgroup in a hierarchy. Inside of containers the mount may show a part of the
/// hierarchy, or the namespace of cgroups: only a directory that lists the process is it.
fn present(lines: &str, name: &str, mounted: &Path) -> Option<PathBuf> {
    let path = own_cgroup(lines, name)?.trim_start_matches('/');
    let own = std::process::id().to_string();
    let lists = |directory: &PathBuf| {
        let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        processes.lines().any(|line| line == own)
    };
    [mounted.join(path), mounted.to_owned()]
        .into_iter()
        .find(lists)
}

fn enter(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}

/// Has the hooks of a document that run in the runtime's namespaces begin by going to these cgroups.
fn run_hooks_in(cgroups: &[PathBuf], document: &mut Value) {
    for point in HOOK_POINTS {
        let hooks = document.pointer_mut(&format!("/hooks/{point}"));
        for hook in hooks.and_then(Value::as_array_mut).into_iter().flatten() {
            let path = hook["path"].take();
            let args = hook["args"].as_array().filter(|args| !args.is_empty());
            let args = args.cloned().unwrap_or_else(|| vec![path.clone()]);
            let mut words = vec![json!("slipway"), json!(HOOK_OUTSIDE)];
            words.push(json!(cgroups.len().to_string()));
            words.extend(cgroups.iter().map(|cgroup| json!(cgroup)));
            words.push(path);
            words.extend(args);
            hook["path"] = json!(OWN);
            hook["args"] = Value::from(words);
        }
    }
}

/// The cgroup of a process in a hierarchy that is mounted under a name, in the lines of `/proc/PID/cgroup` ([cgroups(7)]):
/// number, controllers, path.
///
/// [cgroups(7)]: https://man7.org/linux/man-pages/man7/cgroups.7.html
fn own_cgroup<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_unified = name == "unified" && number == "0";
        let is_named = controllers == name || controllers.strip_prefix("name=") == Some(name);
        (is_unified || is_named).then_some(path)
    })
}

/// Goes to the cgroups that stand behind [`HOOK_OUTSIDE`], after their number, and becomes the hook, whose path and
/// arguments follow. Returns only why it could not.
pub fn hook_outside(mut words: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let failed = "the words of a hook are not as they were written";
    let number = words
        .next()
        .and_then(|number| number.to_str()?.parse().ok());
    let number: usize = number.ok_or(failed)?;
    for cgroup in words.by_ref().take(number) {
        let cgroup = PathBuf::from(cgroup);
        enter(&cgroup).map_err(|error| {
            format!(
                "hook: go back to {}: {}",
                cgroup.display(),
                sys::words(&error)
            )
        })?;
    }
    let (path, name) = (words.next().ok_or(failed)?, words.next().ok_or(failed)?);
    let error = Command::new(&path).arg0(name).args(words).exec();
    Err(format!("hook {}: {}", path.display(), sys::words(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_by_the_name_of_its_hierarchy() {
        let lines = "9:name=systemd:/a\n4:memory:/b\n3:misc:/c:d\n0::/e\n";
        let found = ["systemd", "misc", "unified", "rdma"].map(|name| own_cgroup(lines, name));
        assert_eq!(found, [Some("/a"), Some("/c:d"), Some("/e"), None]);
    }

    #[test]
    fn a_hook_keeps_its_words() {
        let mut document = json!({"hooks": {"prestart": [{"path": "/bin/a", "args": ["x", "y"]}], "poststop": [{"path": "/b"}]}});
        run_hooks_in(&["/sys/fs/cgroup/unified".into()], &mut document);
        let words = document["hooks"]["prestart"][0]["args"].as_array().unwrap();
        assert_eq!(
            words.last_chunk::<3>().unwrap(),
            &[json!("/bin/a"), json!("x"), json!("y")]
        );
        assert_eq!(document["hooks"]["poststop"][0]["path"], "/b");
    }
}
