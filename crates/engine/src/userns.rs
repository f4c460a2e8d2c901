//! User namespaces made by us: with any number of ranges, which libcontainer hands to a helper program
//! that has none for root.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use serde_json::Value;

use crate::Error;

/// Ranges of ids, in the shape of user_namespaces(7): one a line, inside, outside, how many.
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
}

/// Makes the user namespace that a document asks for, where we may write its maps ourselves, and has
/// the document name it by the returned descriptor, which has to stay open.
pub(crate) fn provide(document: &mut Value) -> Result<Option<OwnedFd>, Error> {
    let may_map = [Capability::CAP_SETUID, Capability::CAP_SETGID]
        .iter()
        .all(|one| caps::has_cap(None, CapSet::Effective, *one).unwrap_or(false));
    let Some(linux) = document.get_mut("linux").and_then(Value::as_object_mut) else {
        return Ok(None);
    };
    let mappings = |name: &str| linux.get(name).cloned().unwrap_or_default();
    let (uids, gids) = (mappings("uidMappings"), mappings("gidMappings"));
    let wanted = linux
        .get_mut("namespaces")
        .and_then(Value::as_array_mut)
        .and_then(|list| list.iter_mut().find(|one| one["type"] == "user"))
        .filter(|one| one.get("path").is_none());
    let Some(wanted) = wanted.filter(|_| may_map) else {
        return Ok(None);
    };
    let refused = |name: &'static str| {
        move |error: io::Error| Error::Refused(format!("linux.{name}: {}", sys::words(&error)))
    };
    let uids = Mappings::parse(&uids).map_err(refused("uidMappings"))?;
    let gids = Mappings::parse(&gids).map_err(refused("gidMappings"))?;
    let made = namespace(&uids, &gids).map_err(refused("uidMappings"))?;
    // Of whichever process opens it: all that libcontainer makes inherit the descriptor.
    wanted["path"] = format!("/proc/self/fd/{}", made.as_raw_fd()).into();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    Ok(Some(made))
}

/// Makes a user namespace. A child is in it for a moment, since none is without a process.
pub(crate) fn namespace(uids: &Mappings, gids: &Mappings) -> io::Result<OwnedFd> {
    let (mut ready, told) = io::pipe()?;
    let (mut gate, hold) = io::pipe()?;
    let child = match sys::fork()? {
        sys::Fork::Child => {
            drop((ready, hold));
            let made = unshare(CloneFlags::CLONE_NEWUSER);
            drop(told);
            let _ = gate.read(&mut [0]);
            sys::exit_at_once(i32::from(made.is_err()))
        }
        sys::Fork::Parent(pid) => pid,
    };
    drop((told, gate));
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
        assert_eq!(Mappings::parse(&list).unwrap().0, "0 1000 10\n10 0 1\n");
        for wrong in [
            json!(null),
            json!([]),
            json!([{"containerID": -1, "hostID": 0, "size": 1}]),
        ] {
            assert!(Mappings::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
