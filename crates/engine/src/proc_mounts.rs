//! Mounts on and in the container's `/proc`: nothing but the kernel's own may stand there, or the security module's
//! label, the limits and all else that a runtime writes to `/proc` would go where the image wants (CVE-2019-16884).
//! The rules are runc's, `checkProcMount`.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tree::{Directory, Files};

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

/// Refuses a document with a mount that hides a part of `/proc`, be it by a link of the image's.
pub(crate) fn refuse(document: &Value) -> Result<(), String> {
    let root = document.pointer("/root/path").and_then(Value::as_str);
    let root = root.and_then(|root| Directory::open_root(Path::new(root)).ok());
    for mount in document["mounts"].as_array().into_iter().flatten() {
        let given = mount["destination"].as_str().unwrap_or_default();
        let named = absolute(given);
        // Where the links of the image lead; a mount below another one is looked at by its name alone.
        let led = root.as_ref().and_then(|root| led(root, &named));
        for destination in [Some(named), led].into_iter().flatten() {
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
    }
    Ok(())
}

/// Where links lead from a path to another, if there are any on it.
fn led(root: &Directory, path: &Path) -> Option<PathBuf> {
    match root.open_without_links(path) {
        Ok(Some(_)) => None,
        _ => root.locate(path).ok().map(|place| place.path),
    }
}

fn is_proc(mount: &Value) -> bool {
    let mut options = mount["options"].as_array().into_iter().flatten();
    let is_bind = options.any(|word| word == "bind" || word == "rbind") || mount["type"] == "bind";
    if !is_bind {
        return mount["type"] == "proc";
    }
    let source = mount["source"].as_str().unwrap_or_default();
    rustix::fs::statfs(source).is_ok_and(|stat| stat.f_type == PROC)
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
    fn nothing_stands_in_proc_but_what_lxcfs_gives() {
        let root = tempfile::tempdir().unwrap();
        symlink("/proc/sys", root.path().join("data")).unwrap();
        symlink("proc", root.path().join("here")).unwrap();
        let rows = [
            ("/proc", "proc", "proc", true),
            ("/proc", "bind", "/proc", true),
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
