//! Mounts on and in the container's `/proc`: nothing but the kernel's own may stand there, or the security module's
//! label, the limits and all else that a runtime writes to `/proc` would go where the image wants (CVE-2019-16884).
//! The rules are runc's, `checkProcMount`.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tree::{Directory, Files, Step};

/// What lxcfs gives in place of the kernel's.
const OF_LXCFS: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
const PROC: i64 = 0x9fa0;

/// `PROC_ROOT_INO` of `linux/proc_fs.h`: the inode of its own root, and of nothing below it.
const PROC_ROOT: u64 = 1;

/// How many links a destination may lead through, as the kernel has it: path_resolution(7).
const MAX_LINKS: usize = 40;

/// Refuses a document with a mount that hides a part of `/proc`, be it by a link in the image or in a volume.
pub(crate) fn refuse(document: &Value) -> Result<(), String> {
    let root = document.pointer("/root/path").and_then(Value::as_str);
    let root = root.and_then(|root| Directory::open_root(Path::new(root)).ok());
    let mut view = View {
        root,
        binds: Vec::new(),
    };
    for mount in document["mounts"].as_array().into_iter().flatten() {
        let given = mount["destination"].as_str().unwrap_or_default();
        let led = view.locate(Path::new(given));
        for destination in [&absolute(given), &led] {
            let Ok(inside) = destination.strip_prefix("/proc") else {
                continue;
            };
            if inside.as_os_str().is_empty() {
                if !is_proc(mount) {
                    return Err(format!("the mount at {given}: it is not of type proc"));
                }
            } else if !OF_LXCFS.iter().any(|known| inside == Path::new(known)) {
                return Err(format!("the mount at {given}: it is inside /proc"));
            }
        }
        let source = mount["source"].as_str().filter(|_| is_bind(mount));
        let source = source.and_then(|source| Directory::open_root(Path::new(source)).ok());
        view.binds.push((led, source));
    }
    Ok(())
}

/// What a container will show: its root, and upon it the mounts so far, with what is bound there.
struct View {
    root: Option<Directory>,
    binds: Vec<(PathBuf, Option<Directory>)>,
}

impl View {
    /// Follows a path to where it leads.
    fn locate(&self, path: &Path) -> PathBuf {
        let mut ahead = names_backwards(path);
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            match self.link(&next) {
                Some(target) if links < MAX_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    ahead.extend(names_backwards(&target));
                }
                _ => here = next,
            }
        }
        here
    }

    /// Where the link at a path leads, if there is one: in what was mounted there last, or in the root.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        let mut mounts = self.binds.iter().rev();
        let above = mounts.find(|(destination, _)| path.starts_with(destination));
        let (files, inside) = match above {
            // What a mount stands on is no link any more.
            Some((destination, _)) if path == destination => return None,
            Some((destination, source)) => (source.as_ref(), path.strip_prefix(destination).ok()?),
            None => (self.root.as_ref(), path),
        };
        match files?.step(&Path::new("/").join(inside)) {
            Ok(Some(Step::Link(target))) => Some(target),
            _ => None,
        }
    }
}

/// The names in a path, the last one first.
fn names_backwards(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
    names.collect()
}

fn is_bind(mount: &Value) -> bool {
    let mut options = mount["options"].as_array().into_iter().flatten();
    options.any(|word| word == "bind" || word == "rbind") || mount["type"] == "bind"
}

fn is_proc(mount: &Value) -> bool {
    if !is_bind(mount) {
        return mount["type"] == "proc";
    }
    let source = mount["source"].as_str().unwrap_or_default();
    let is_its_root = rustix::fs::stat(source).is_ok_and(|stat| stat.st_ino == PROC_ROOT);
    is_its_root && rustix::fs::statfs(source).is_ok_and(|stat| stat.f_type == PROC)
}

/// The path from the root, without `.` and `..`.
fn absolute(path: &str) -> PathBuf {
    let mut absolute = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => absolute.push(name),
            Component::ParentDir => drop(absolute.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_in_a_volume_leads_nowhere_either() {
        let root = tempfile::tempdir().unwrap();
        let volume = tempfile::tempdir().unwrap();
        symlink("/proc/sys", volume.path().join("p")).unwrap();
        symlink("../proc", volume.path().join("q")).unwrap();
        symlink("deeper/..", volume.path().join("r")).unwrap();
        let rows = [
            ("/vol/p", false),
            ("/vol/q", false),
            ("/vol/q/sys/kernel", false),
            ("/vol/r/x", true),
            ("/vol/x", true),
        ];
        for (destination, allowed) in rows {
            let document = json!({"root": {"path": root.path()}, "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/vol", "type": "bind", "source": volume.path()},
                {"destination": destination, "type": "tmpfs", "source": "none"},
            ]});
            assert_eq!(refuse(&document).is_ok(), allowed, "{destination}");
        }
    }

    #[test]
    fn nothing_stands_in_proc_but_what_lxcfs_gives() {
        let root = tempfile::tempdir().unwrap();
        symlink("/proc/sys", root.path().join("data")).unwrap();
        symlink("proc", root.path().join("here")).unwrap();
        let rows = [
            ("/proc", "proc", "proc", true),
            ("/proc", "bind", "/proc", true),
            ("/proc", "bind", "/proc/sys", false),
            ("/proc", "bind", "/tmp", false),
            ("/proc", "tmpfs", "tmpfs", false),
            ("//proc/.", "tmpfs", "tmpfs", false),
            ("/x/../proc/self", "bind", "/tmp", false),
            ("proc/sys", "bind", "/proc/sys", false),
            ("/data", "bind", "/tmp", false),
            ("/data/x", "tmpfs", "tmpfs", false),
            ("/here", "tmpfs", "tmpfs", false),
            ("/proc/meminfo", "bind", "/tmp", true),
            ("/proc/net/dev", "bind", "/tmp", true),
            ("/process", "tmpfs", "tmpfs", true),
            ("/data2", "bind", "/tmp", true),
        ];
        for (destination, kind, source, allowed) in rows {
            let mount = json!({"destination": destination, "type": kind, "source": source});
            let document = json!({"root": {"path": root.path()}, "mounts": [mount]});
            assert_eq!(
                refuse(&document).is_ok(),
                allowed,
                "{destination} {kind} {source}"
            );
        }
    }
}
