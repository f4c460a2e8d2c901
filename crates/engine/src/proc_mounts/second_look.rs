//! The second look at the mounts inside a container's `/proc`, when all mounts are made.
//!
//! Between the first look and the mounts, somebody else who can write to the root or to a volume
//! may have put a link where a mount was to go. Hooks of the runtime's may mount there, too, and
//! may do so: where there are any, our own hook comes first and looks before them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat2};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sys::MountInfo;

use super::{OF_LXCFS, PROC, PROC_ROOT, absolute};
use crate::Document;
use crate::first_process::is_alive;

/// The mounts that a container may have inside its `/proc`: of each entry, one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ProcMounts {
    /// Whether the document mounts or binds a proc at `/proc`. Otherwise nothing is looked at.
    has_proc: bool,
    /// The paths that are masked when the container's root is entered.
    masked: Vec<PathBuf>,
    /// The paths that are made read-only at the same time.
    read_only: Vec<PathBuf>,
    /// The mounts of the host that a recursive bind of its `/proc` brings along.
    bound: Vec<Entry>,
    /// Whether hooks run between the mounts and the program, so that our own hook looks.
    has_hooks: bool,
}

/// A line of [proc_pid_mountinfo(5)].
///
/// [proc_pid_mountinfo(5)]: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// The path of the mount's root within its file system.
    root: String,
    /// The path below `/proc`.
    inside: String,
    /// Whether the mount is read-only.
    is_read_only: bool,
    /// The type of the file system.
    kind: String,
}

/// The points at which hooks run between the mounts and the program.
const POINTS: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

impl ProcMounts {
    /// Collects the mounts that a document asks for.
    pub(crate) fn of(document: &Document) -> Self {
        let on_proc = document.mounts().filter(|mount| {
            let destination = mount["destination"].as_str();
            destination.is_some_and(|path| absolute(path) == Path::new("/proc"))
        });
        let Some(mount) = on_proc.last() else {
            return Self::default();
        };
        let list = |name: &str| {
            let paths = document["linux"][name].as_array().into_iter().flatten();
            let paths = paths.filter_map(Value::as_str).map(absolute);
            paths.filter(|path| path.starts_with("/proc")).collect()
        };
        let source = Path::new(mount["source"].as_str().unwrap_or_default());
        Self {
            has_proc: true,
            masked: list("maskedPaths"),
            read_only: list("readonlyPaths"),
            bound: match mount["type"] == "proc" {
                true => Vec::new(),
                false => {
                    let own = fs::read("/proc/self/mountinfo").unwrap_or_default();
                    entries(&own, source)
                }
            },
            has_hooks: POINTS.iter().any(|point| document.has_hooks(point)),
        }
    }

    /// Whether our own hook has to look, before the other hooks.
    pub(crate) fn has_hooks(&self) -> bool {
        self.has_proc && self.has_hooks
    }

    /// Looks at the mounts of the calling process, which must be in the container's root.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.has_proc || self.has_hooks {
            return Ok(());
        }
        match own_mountinfo()? {
            Some(lines) => self.check_entries(entries(&lines, Path::new("/proc"))),
            None => Ok(()),
        }
    }

    /// Refuses mounts that are left when each expected one is taken away once. `canonicalize`
    /// follows links in the kernel's own `/proc`: a mask lies where a link leads.
    fn check_entries(&self, mut found: Vec<Entry>) -> Result<(), String> {
        let mut take = |is_it: &dyn Fn(&Entry) -> bool| {
            let index = found.iter().position(is_it);
            index.map(|index| found.remove(index)).is_some()
        };
        for one in &self.bound {
            take(&|entry| entry == one);
        }
        let mut take_at = |path: &Path, is_it: &dyn Fn(&Entry) -> bool| {
            let mut take = |path: &Path| {
                take(&|entry| Path::new("/proc").join(&entry.inside) == path && is_it(entry))
            };
            if !take(path)
                && let Ok(target) = fs::canonicalize(path)
                && target != path
            {
                take(&target);
            }
        };
        for path in &self.masked {
            // The container's /dev/null for a file, an empty tmpfs for a directory.
            take_at(path, &|entry| {
                entry.root.ends_with("/null") || entry.kind == "tmpfs" && entry.is_read_only
            });
        }
        for path in &self.read_only {
            take_at(path, &|entry| entry.kind == "proc");
        }
        for name in OF_LXCFS {
            take(&|entry| entry.inside == name);
        }
        match found.first() {
            None => Ok(()),
            Some(entry) => Err(format!(
                "a mount was led to /proc/{} while the container was made: somebody else writes to its files",
                entry.inside
            )),
        }
    }
}

/// Looks from a hook at the mounts of a container that is being made. `state` is the state that
/// hooks get, `root` the container's root, and `expected` the text of [`ProcMounts`].
pub(crate) fn check_from_hook(state: &str, root: &Path, expected: &str) -> Result<(), String> {
    let expected: ProcMounts =
        serde_json::from_str(expected).map_err(|error| format!("the expected mounts: {error}"))?;
    let state: Value =
        serde_json::from_str(state).map_err(|error| format!("the container's state: {error}"))?;
    let pid = state["pid"]
        .as_i64()
        .ok_or("the container's state has no pid")?;
    let path = format!("/proc/{pid}/mountinfo");
    let lines = match fs::read(&path) {
        // `/proc` hides the process from an ordinary user (hidepid): its own user's container.
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_process(pid) => return Ok(()),
        lines => lines.map_err(|error| format!("read {path}: {}", text::message(&error)))?,
    };
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    // Masks are made later.
    expected.check_entries(entries(&lines, &root.join("proc")))
}

fn is_process(pid: i64) -> bool {
    i32::try_from(pid).is_ok_and(|pid| is_alive(Pid::from_raw(pid)))
}

/// Returns the mounts below a directory.
fn entries(table: &[u8], directory: &Path) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for mount in MountInfo::parse(table) {
        let Ok(inside) = mount.point.strip_prefix(directory) else {
            continue;
        };
        let entry = Entry {
            root: mount.root.display().to_string(),
            inside: inside.display().to_string(),
            is_read_only: mount.is_read_only,
            kind: mount.kind,
        };
        // A path that is made read-only above others repeats their mounts.
        if !entry.inside.is_empty() && !found.contains(&entry) {
            found.push(entry);
        }
    }
    found
}

/// Usual size of a container's table of mounts, in bytes.
const USUAL: usize = 16 << 10;

/// Reads mountinfo of the calling process past anything that is mounted over a part of `/proc`;
/// `None` where this `/proc` does not know the process.
fn own_mountinfo() -> Result<Option<Vec<u8>>, String> {
    let failed = |errno: Errno| format!("look at the mounts: {}", text::message(&errno.into()));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = open("/proc", flags, Mode::empty()).map_err(failed)?;
    let kind = fstatfs(&proc).map_err(failed)?.f_type;
    let inode = fstat(&proc).map_err(failed)?.st_ino;
    if kind != PROC || inode != PROC_ROOT {
        return Err("/proc is not the proc that was mounted there".to_owned());
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let mut table = Vec::with_capacity(USUAL);
    match openat2(&proc, "self/mountinfo", flags, Mode::empty(), resolve) {
        Ok(file) => {
            let read = std::fs::File::from(file).read_to_end(&mut table);
            read.map_err(|error| format!("look at the mounts: {}", text::message(&error)))?;
            Ok(Some(table))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINES: &str = "1 0 0:5 / /proc rw - proc proc rw\n\
        2 1 0:5 /sys /proc/sys ro - proc proc rw\n\
        3 1 0:6 /null /proc/kcore rw,nosuid - tmpfs tmpfs rw\n\
        4 1 0:7 / /proc/acpi ro - tmpfs tmpfs rw\n\
        5 1 0:8 / /a\\040b rw shared:1 - ext4 /dev/x rw\n";

    fn refused(more: &str) -> bool {
        let document = json!({
            "mounts": [{"destination": "/proc", "type": "proc"}],
            "linux": {
                "maskedPaths": ["/proc/kcore", "/proc/acpi", "/proc/nosuch"],
                "readonlyPaths": ["/proc/sys", "/proc/bus"],
            },
        });
        let lines = format!("{LINES}{more}");
        let found = entries(lines.as_bytes(), Path::new("/proc"));
        ProcMounts::of(&document.into())
            .check_entries(found)
            .is_err()
    }

    #[test]
    fn each_expected_mount_is_accepted_once() {
        assert!(!refused(""));
        for more in [
            "6 1 0:9 / /proc/1/attr rw - tmpfs none rw\n",
            "6 1 0:9 / /proc/sys rw - tmpfs none rw\n",
            "6 1 0:9 / /proc/bus rw - tmpfs none rw\n",
            "6 1 0:9 / /proc/acpi rw - tmpfs none rw\n",
            "6 1 0:9 / /proc/nosuch rw - tmpfs none rw\n",
        ] {
            assert!(refused(more), "{more}");
        }
        assert!(!refused(
            "6 1 0:9 /up /proc/uptime rw - fuse.lxcfs lxcfs rw\n"
        ));
    }
}
