//! A user namespace below the session's, for a contained program that has capabilities.
//!
//! With capabilities in the session's own user namespace, a program could undo what contains it:
//! unmount, make `/sys` writable again, allow itself cgroup namespaces. In a namespace below, the
//! mounts of the session are locked ([mount_namespaces(7)]), and its limits hold.
//!
//! [mount_namespaces(7)]: https://man7.org/linux/man-pages/man7/mount_namespaces.7.html

use std::fs;
use std::io::{self, Read, Write};

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_dumpable;
use nix::sys::wait::{WaitStatus, waitpid};

use crate::ExecError;

/// The files of `/proc` with the users and groups of a user namespace.
const MAPS: [&str; 2] = ["uid_map", "gid_map"];

/// Moves the calling process into a user and a mount namespace of its own, with the same users and
/// groups.
///
/// # Errors
///
/// Fails when the kernel refuses, and if `/proc` is not there.
pub fn enter_nested_namespace() -> Result<(), ExecError> {
    nest().map_err(ExecError::Nested)
}

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
const PROC: i64 = 0x9fa0;

fn nest() -> io::Result<()> {
    // An image may have files of its own there, if the caller wants no /proc.
    if rustix::fs::statfs("/proc")?.f_type != PROC {
        return Err(io::Error::other("/proc is not mounted"));
    }
    let maps =
        MAPS.map(|name| fs::read_to_string(format!("/proc/self/{name}")).map(|map| same(&map)));
    let [users, groups] = maps;
    let maps = [users?, groups?];
    let (mut wait, mut go) = io::pipe()?;
    let own = std::process::id();
    // Only a process that stays in the session's namespace may map more than one id.
    let children = sys::heed_children();
    let child = match sys::fork()? {
        sys::Fork::Child => {
            drop(go);
            let mut word = [0];
            let asked = wait.read_exact(&mut word);
            let written = asked.and_then(|()| {
                let files = MAPS.iter().zip(&maps);
                let mut files = files.map(|(name, map)| (format!("/proc/{own}/{name}"), map));
                files.try_for_each(|(file, map)| fs::write(file, map))
            });
            sys::exit_at_once(
                written.map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0),
            )
        }
        sys::Fork::Parent(child) => child,
    };
    drop(wait);
    // The kernel shows the files of a process that is not dumpable to nobody. All programs of this
    // container are in such namespaces of their own, beside this one, and have no right to look into
    // this process. A program in the session's own would have, as the owner of the one below.
    let _ = set_dumpable(true);
    let moved = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
    let _ = set_dumpable(true);
    let asked = moved
        .map_err(io::Error::from)
        .and_then(|()| go.write_all(b"g"));
    drop(go);
    let ended = waitpid(child, None);
    let _ = set_dumpable(false);
    children.restore();
    asked?;
    match ended? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Returns the map by which a namespace below has the same ids as the one with this map.
pub(crate) fn same(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (inside, _outside, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_to_themselves() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert_eq!(same(map), "0 0 1\n1 1 65536\n");
    }
}
