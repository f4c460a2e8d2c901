//! User namespaces that we make, with any number of ranges. libcontainer leaves several ranges to a
//! helper program, which has none for root.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Command;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, getgid, getuid, setresgid, setresuid};
use serde_json::Value;

use crate::{Document, Error};

/// Ranges of ids in the format of user_namespaces(7): one range per line, with the id inside, the
/// id outside and the number of ids.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mappings(String);

impl Mappings {
    /// Reads the specification's `uidMappings` or `gidMappings`.
    pub(crate) fn parse(list: &Value) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it has no id mappings");
        let list = list
            .as_array()
            .filter(|list| !list.is_empty())
            .ok_or_else(wrong)?;
        let mut lines = String::new();
        for one in list {
            let number = |name: &str| one[name].as_u64().ok_or_else(wrong);
            let (inside, outside, size) =
                (number("containerID")?, number("hostID")?, number("size")?);
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{inside} {outside} {size}");
        }
        Ok(Self(lines))
    }

    /// Writes the ranges to a file of a process in `/proc`, `uid_map` or `gid_map`.
    pub(crate) fn write(&self, process: Pid, file: &str) -> io::Result<()> {
        fs::write(format!("/proc/{process}/{file}"), &self.0)
    }

    /// Whether id 0 is mapped inside.
    fn has_root(&self) -> bool {
        self.0.lines().any(|line| line.starts_with("0 "))
    }

    /// Whether the only mapped id is this one of ours.
    fn is_only(&self, id: u32) -> bool {
        let mut words = self.0.split_whitespace().skip(1);
        words.next() == Some(id.to_string().as_str())
            && words.next() == Some("1")
            && words.next().is_none()
    }
}

/// Whether this process is in a user namespace, where root is another user outside.
#[must_use]
pub fn in_user_namespace() -> bool {
    !sys::in_first_user_namespace()
}

/// Returns the maps of the new user namespace that a document asks for, if it does.
pub(crate) fn wanted(document: &Document) -> Result<Option<(Mappings, Mappings)>, Error> {
    if !document.namespaces().any(is_new_user) {
        return Ok(None);
    }
    let mappings = |name: &str| {
        let list = document.pointer(&format!("/linux/{name}"));
        Mappings::parse(list.unwrap_or(&Value::Null)).map_err(|error| refused(name, &error))
    };
    Ok(Some((mappings("uidMappings")?, mappings("gidMappings")?)))
}

fn is_new_user(namespace: &Value) -> bool {
    namespace["type"] == "user" && namespace.get("path").is_none()
}

fn refused(name: &str, error: &io::Error) -> Error {
    Error::Refused(format!("linux.{name}: {}", text::message(error)))
}

/// Moves the calling process into the user namespace that a document asks for, if an ordinary user
/// runs it. The request is then removed from the document: we are in the namespace.
pub(crate) fn enter_if_ordinary(document: &mut Document) -> Result<(), Error> {
    let may_map = [Capability::CAP_SETUID, Capability::CAP_SETGID]
        .iter()
        .all(|one| caps::has_cap(None, CapSet::Effective, *one).unwrap_or(false));
    let Some((uids, gids)) = wanted(document)?.filter(|_| !may_map) else {
        return Ok(());
    };
    enter(&uids, &gids).map_err(|error| refused("uidMappings", &error))?;
    if let Some(namespaces) = document["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|one| !is_new_user(one));
    }
    forget_mappings(document);
    Ok(())
}

/// Shows the user namespace that a document asks for as one that exists: libcontainer would refuse maps
/// that are possible here.
pub(crate) fn show_as_joined(document: &mut Document) {
    let namespaces = document.pointer_mut("/linux/namespaces");
    let list = namespaces.and_then(Value::as_array_mut);
    let mut is_any = false;
    for namespace in list.into_iter().flatten().filter(|one| is_new_user(one)) {
        namespace["path"] = "/proc/self/ns/user".into();
        is_any = true;
    }
    if is_any {
        forget_mappings(document);
    }
}

/// Removes the maps: an existing namespace has its own, and it is an error to give others.
fn forget_mappings(document: &mut Document) {
    if let Some(linux) = document.object_mut("linux") {
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    }
}

/// Enters a new user namespace, as its root if it has one. A child that stays outside writes the
/// maps. It does so directly if they cover only its own ids, otherwise through newuidmap(1), which
/// knows the ids that an administrator has given the user.
fn enter(uids: &Mappings, gids: &Mappings) -> io::Result<()> {
    let ours = Pid::this();
    let (mut gate, hold) = io::pipe()?;
    let child = match sys::fork()? {
        sys::Fork::Child => {
            drop(hold);
            let _ = gate.read(&mut [0]);
            let mapped = map(ours, uids, gids);
            sys::exit_at_once(match mapped {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(Errno::EPERM as i32),
            })
        }
        sys::Fork::Parent(pid) => pid,
    };
    drop(gate);
    let entered = unshare(CloneFlags::CLONE_NEWUSER);
    drop(hold);
    let status = waitpid(child, None)?;
    entered?;
    match status {
        WaitStatus::Exited(_, 0) => {}
        WaitStatus::Exited(_, code) => return Err(io::Error::from_raw_os_error(code)),
        _ => return Err(io::ErrorKind::Interrupted.into()),
    }
    // In a namespace without root, the user keeps all rights in it until something is executed.
    if gids.has_root() {
        let group = Gid::from_raw(0);
        setresgid(group, group, group)?;
    }
    if uids.has_root() {
        let root = Uid::from_raw(0);
        setresuid(root, root, root)?;
    }
    Ok(())
}

fn map(pid: Pid, uids: &Mappings, gids: &Mappings) -> io::Result<()> {
    let write = |name: &str, text: &str| fs::write(format!("/proc/{pid}/{name}"), text);
    if uids.is_only(getuid().as_raw()) && gids.is_only(getgid().as_raw()) {
        // Required for an ordinary user to map a group, user_namespaces(7).
        write("setgroups", "deny")?;
        write("uid_map", &uids.0)?;
        return write("gid_map", &gids.0);
    }
    for (program, mappings) in [("newuidmap", uids), ("newgidmap", gids)] {
        let status = Command::new(program)
            .arg(pid.to_string())
            .args(mappings.0.split_whitespace())
            .status()?;
        if !status.success() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    Ok(())
}

/// Makes a user namespace. A child is in it for a moment, because a namespace cannot exist without
/// a process.
pub(crate) fn namespace(uids: &Mappings, gids: &Mappings) -> io::Result<OwnedFd> {
    let (mut ready, outputs) = io::pipe()?;
    let (mut gate, hold) = io::pipe()?;
    let child = match sys::fork()? {
        sys::Fork::Child => {
            drop((ready, hold));
            let made = unshare(CloneFlags::CLONE_NEWUSER);
            drop(outputs);
            let _ = gate.read(&mut [0]);
            sys::exit_at_once(i32::from(made.is_err()))
        }
        sys::Fork::Parent(pid) => pid,
    };
    drop((outputs, gate));
    let namespace = ready.read(&mut [0]).and_then(|_| {
        fs::write(format!("/proc/{child}/uid_map"), &uids.0)?;
        fs::write(format!("/proc/{child}/gid_map"), &gids.0)?;
        File::open(format!("/proc/{child}/ns/user"))
    });
    drop(hold);
    waitpid(child, None)?;
    Ok(namespace?.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mappings_are_the_kernels_lines() {
        let list = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 0, "size": 1}]);
        let mappings = Mappings::parse(&list).unwrap();
        assert_eq!(mappings.0, "0 1000 10\n10 0 1\n");
        assert!(!mappings.is_only(1000));
        let own = Mappings::parse(&json!([{"containerID": 0, "hostID": 1000, "size": 1}]));
        let own = own.unwrap();
        assert!(own.is_only(1000) && own.has_root());
        let same = Mappings::parse(&json!([{"containerID": 1000, "hostID": 1000, "size": 1}]));
        let same = same.unwrap();
        assert!(same.is_only(1000) && !same.has_root());
        for wrong in [
            json!(null),
            json!([]),
            json!([{"containerID": -1, "hostID": 0, "size": 1}]),
        ] {
            assert!(Mappings::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
