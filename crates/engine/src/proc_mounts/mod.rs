//! Mounts on and in the container's `/proc`. Only the kernel's own files may be there. Otherwise
//! the security module's label, the limits and everything else that a runtime writes to `/proc`
//! would go where the image wants (CVE-2019-16884). The rules are those of runc's `checkProcMount`.

mod second_look;

pub(crate) use second_look::{ProcMounts, check_from_hook};

use std::path::{Component, Path, PathBuf};

use rootfs::{Directory, Files, Step, names_backwards};
use serde_json::Value;

use crate::Document;

/// The files that lxcfs provides in place of the kernel's.
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

/// `PROC_ROOT_INO` of `linux/proc_fs.h`: the inode of a proc's root, and of nothing below it.
const PROC_ROOT: u64 = 1;

/// Largest number of links that a destination may lead through: the kernel's limit,
/// path_resolution(7).
const MAX_LINKS: usize = 40;

/// Refuses a document with a mount that hides a part of `/proc`, even if it does so through a link
/// in the image or in a volume.
pub(crate) fn refuse(document: &Document) -> Result<(), String> {
    let root = document.root_path();
    let root = root.and_then(|root| Directory::open_root(Path::new(root)).ok());
    let mut view = View {
        root,
        mounts: Vec::new(),
    };
    for mount in document.mounts() {
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
        if view.is_unknown(&led) {
            return Err(format!(
                "the mount at {given}: links in the file system that it lies in could lead it into /proc"
            ));
        }
        let shown = view.shown(mount, &led);
        view.mounts.push((led, shown));
    }
    Ok(())
}

/// File systems that are empty when mounted, or hold only the kernel's own files.
const WITHOUT_LINKS: [&str; 8] = [
    "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs",
];

/// The files that a mount shows, as far as they come from an image or a volume.
enum Shown {
    /// There are none.
    Nothing,
    /// The files of a directory.
    Directory(Directory),
    /// Files that appear only when the file system is mounted.
    Unknown,
}

/// The tree that a container will have: its root, the mounts added so far, and the directories
/// bound there.
struct View {
    root: Option<Directory>,
    mounts: Vec<(PathBuf, Shown)>,
}

impl View {
    /// Resolves the links in a path.
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

    /// Returns the mount that a path is on, and the path within it. `None` means the root.
    fn above<'a>(&self, path: &'a Path) -> Option<(&Shown, &'a Path)> {
        let mut mounts = self.mounts.iter().rev();
        mounts.find_map(|(destination, shown)| Some((shown, path.strip_prefix(destination).ok()?)))
    }

    /// Whether a path lies in a file system whose links cannot be read.
    fn is_unknown(&self, path: &Path) -> bool {
        let above = path.parent().and_then(|parent| self.above(parent));
        matches!(above, Some((Shown::Unknown, _)))
    }

    /// Returns the files that a mount will show. `led` is its destination with all links resolved.
    fn shown(&self, mount: &Value, led: &Path) -> Shown {
        let open =
            |path: &Path| Directory::open_root(path).map_or(Shown::Nothing, Shown::Directory);
        if is_bind(mount) {
            return open(Path::new(mount["source"].as_str().unwrap_or_default()));
        }
        let mut options = mount["options"].as_array().into_iter().flatten();
        let kind = mount["type"].as_str().unwrap_or_default();
        if kind == "tmpfs" && options.any(|word| word == "tmpcopyup") {
            // It is a copy of the files that it covers.
            let (files, inside) = match self.above(led) {
                Some((Shown::Directory(files), inside)) => (Some(files), inside),
                Some((Shown::Unknown, _)) => return Shown::Unknown,
                Some((Shown::Nothing, _)) => (None, led),
                None => (self.root.as_ref(), led),
            };
            let covered = files.and_then(|files| files.below(&Path::new("/").join(inside)).ok());
            return covered.flatten().map_or(Shown::Nothing, Shown::Directory);
        }
        match WITHOUT_LINKS.contains(&kind) {
            true => Shown::Nothing,
            false => Shown::Unknown,
        }
    }

    /// Returns the target of the link at a path, if there is a link. The last mount there takes
    /// precedence over the root.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        let (files, inside) = match self.above(path) {
            // A mount point is not a link.
            Some((_, inside)) if inside.as_os_str().is_empty() => return None,
            Some((Shown::Directory(files), inside)) => (files, inside),
            Some(_) => return None,
            None => (self.root.as_ref()?, path),
        };
        match files.step(&Path::new("/").join(inside)) {
            Ok(Some(Step::Link(target))) => Some(target),
            _ => None,
        }
    }
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

/// Returns the path from the root, without `.` and `..`.
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
            assert_eq!(refuse(&document.into()).is_ok(), allowed, "{destination}");
        }
    }

    #[test]
    fn a_copy_and_a_file_system_of_others_have_links_as_well() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        symlink("/proc", root.path().join("run/x")).unwrap();
        let rows = [
            ("tmpfs", json!(["tmpcopyup"]), "/run/x", false),
            ("tmpfs", json!(["tmpcopyup"]), "/run/x/sys", false),
            ("tmpfs", json!(["tmpcopyup"]), "/run/y", true),
            ("tmpfs", json!([]), "/run/x", true),
            ("overlay", json!(["lowerdir=/a:/b"]), "/run/x", false),
            ("overlay", json!(["lowerdir=/a:/b"]), "/other", true),
        ];
        for (kind, options, destination, allowed) in rows {
            let document = json!({"root": {"path": root.path()}, "mounts": [
                {"destination": "/run", "type": kind, "source": kind, "options": options},
                {"destination": destination, "type": "tmpfs", "source": "none"},
            ]});
            assert_eq!(
                refuse(&document.into()).is_ok(),
                allowed,
                "{kind} {destination}"
            );
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
                refuse(&document.into()).is_ok(),
                allowed,
                "{destination} {kind} {source}"
            );
        }
    }
}
