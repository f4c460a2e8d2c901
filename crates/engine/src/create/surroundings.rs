//! The expectations of engines beyond the specification's text, met as runc meets them: the modes of
//! tmpfs, the working directory, the owner of the standard streams, and the loopback interface.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{FileStat, fstat, stat};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, fchown};
use rootfs::{Directory, Files};
use serde_json::Value;

use crate::Document;

/// Completes the mounts, and makes the directories that they and the process need.
pub(crate) fn prepare(document: &mut Document) {
    if let Some(root) = open_root(document) {
        let mut covered: Vec<PathBuf> = Vec::new();
        for mount in document.mounts_mut() {
            let destination = plain(mount["destination"].as_str().unwrap_or_default());
            // Below an earlier mount, the files there are not known yet.
            if !covered.iter().any(|above| destination.starts_with(above)) {
                keep_mode(mount, &root, &destination);
                make_target_of_link(mount, &root, &destination);
            }
            covered.push(destination);
        }
    }
    make_working_directory(document);
}

/// Gives a tmpfs without a mode that of the directory that it covers.
fn keep_mode(mount: &mut Value, root: &Directory, destination: &Path) {
    let mut options = mount["options"].as_array().cloned().unwrap_or_default();
    let mut words = options.iter().filter_map(Value::as_str);
    let has_mode = words.any(|option| option.starts_with("mode="));
    if mount["type"] != "tmpfs" || has_mode {
        return;
    }
    if let Ok(Some(found)) = root.status(destination) {
        options.push(format!("mode={:04o}", found.st_mode & 0o7777).into());
        mount["options"] = options.into();
    }
}

/// Makes the file or directory to which a link at a mount's destination leads, if it is missing: images
/// have links to files that only a running system has. A failure shows when the mount is made.
fn make_target_of_link(mount: &Value, root: &Directory, destination: &Path) {
    let Ok(found) = root.locate(destination) else {
        return;
    };
    if found.entry.is_some() || found.path == destination {
        return;
    }
    let source = Path::new(mount["source"].as_str().unwrap_or_default());
    let is_file = mount["type"] == "bind" && source.metadata().is_ok_and(|found| !found.is_dir());
    let _ = match is_file {
        true => root.write(&found.path, 0o644, b""),
        false => root.make_directories(&found.path).map(drop),
    };
}

/// Makes the working directory in the root file system, or in the directory that is bound there. A
/// failure shows when the process enters it.
fn make_working_directory(document: &Document) {
    let cwd = plain(document["process"]["cwd"].as_str().unwrap_or_default());
    let above = document.mounts().filter_map(|mount| {
        let destination = plain(mount["destination"].as_str()?);
        let rest = cwd.strip_prefix(&destination).ok()?.to_owned();
        (destination != Path::new("/")).then_some((mount, rest))
    });
    let (root, path) = match above.last() {
        None => (open_root(document), cwd.clone()),
        Some((mount, rest)) => {
            let mut options = mount["options"].as_array().into_iter().flatten();
            let is_closed = options.any(|option| option == "ro" || option == "rro");
            let is_bind = mount["type"] == "bind" && !is_closed;
            let source = mount["source"].as_str().filter(|_| is_bind);
            let opened = source.and_then(|source| Directory::open_root(Path::new(source)).ok());
            (opened, Path::new("/").join(rest))
        }
    };
    let Some(root) = root else { return };
    let is_there = root.status(&path).is_ok_and(|found| found.is_some());
    if is_there {
        return;
    }
    if let Ok(made) = root.make_directories(&path) {
        let ids = ["uidMappings", "gidMappings"].map(|name| {
            let first = document["linux"][name].as_array()?.first()?;
            let host = first["hostID"]
                .as_u64()
                .filter(|_| first["containerID"] == 0)?;
            u32::try_from(host).ok()
        });
        let [user, group] = ids;
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        let _ = fchown(made.as_raw_fd(), user, group);
    }
}

fn open_root(document: &Document) -> Option<Directory> {
    Directory::open_root(Path::new(document.root_path()?)).ok()
}

/// Returns an absolute path without `.` and `..`.
fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

/// Gives the standard streams to the container's user, who may open them again by `/dev/stdout`.
/// `process` is the container's first process.
pub(crate) fn give_streams(process: Pid, document: &Document) {
    let user = document["process"]["user"]["uid"].as_u64().unwrap_or(0);
    let map = fs::read_to_string(format!("/proc/{process}/uid_map")).unwrap_or_default();
    let Some(user) = outside(&map, user) else {
        return;
    };
    if document.has_terminal() {
        let path = format!("/proc/{process}/fd/0");
        let _ = nix::unistd::chown(Path::new(&path), Some(Uid::from_raw(user)), None);
        return;
    }
    give_own_streams(user);
}

/// Gives the calling process's standard streams to a user.
pub(crate) fn give_own_streams(user: u32) {
    let null = stat("/dev/null").map(|null| null.st_rdev);
    for stream in 0..=2 {
        let is_others = |found: &FileStat| found.st_uid != user && Ok(found.st_rdev) != null;
        if fstat(stream).is_ok_and(|found| is_others(&found)) {
            // Not every file can have another owner.
            let _ = fchown(stream, Some(Uid::from_raw(user)), None);
        }
    }
}

/// Returns the id outside of a user namespace for one inside, by the namespace's map
/// ([user_namespaces(7)]).
///
/// [user_namespaces(7)]: https://man7.org/linux/man-pages/man7/user_namespaces.7.html
fn outside(map: &str, id: u64) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (first, own, count) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        let place = id.checked_sub(first).filter(|place| *place < count)?;
        u32::try_from(own.checked_add(place)?).ok()
    })
}

/// Brings up the loopback interface of a process's network namespace. A child does it, because this
/// process stays in the host's network.
///
/// # Errors
///
/// Fails when the namespace cannot be entered, or the kernel refuses.
pub fn bring_up_loopback(process: Pid) -> io::Result<()> {
    let open = |kind: &str| fs::File::open(format!("/proc/{process}/ns/{kind}"));
    let network = open("net")?;
    let enter = || {
        setns(&network, CloneFlags::CLONE_NEWNET).or_else(|_| {
            // An ordinary user has the rights in the container's user namespace only.
            setns(&open("user")?, CloneFlags::CLONE_NEWUSER)?;
            setns(&network, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
        })
    };
    match sys::fork()? {
        sys::Fork::Child => {
            let done = enter().and_then(|()| sys::bring_up_loopback());
            let code = done.map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0);
            sys::exit_at_once(code)
        }
        sys::Fork::Parent(child) => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            Ok(WaitStatus::Exited(_, code)) => Err(io::Error::from_raw_os_error(code)),
            _ => Err(io::ErrorKind::Interrupted.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_outside() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1001));
        assert_eq!(outside(map, 101), Some(100_100));
        assert_eq!(outside(map, 65_537), None);
        assert_eq!(outside("", 0), None);
    }

    #[test]
    fn paths_do_not_climb() {
        assert_eq!(plain("../a/./b/../c"), Path::new("/a/c"));
    }
}
