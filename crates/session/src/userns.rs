//! The user namespace, in which the caller's ids are mapped to themselves, or to root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::delegated::{Failure, Helper, own_map};
use crate::protocol::{self, Message};
use crate::spec::Note;
use crate::{Error, Users};

/// Enters a user namespace with these users, in which the caller has every capability until the
/// payload's exec ([user_namespaces(7)]). If the delegated users are not available, root is the only
/// one, and the user is told.
///
/// [user_namespaces(7)]: https://man7.org/linux/man-pages/man7/user_namespaces.7.html
pub(crate) fn enter_user_namespace(
    users: Users<'_>,
    note: &mut dyn FnMut(Note),
) -> Result<(), Error> {
    let (uid, gid) = (geteuid(), getegid());
    if let Users::Delegated(name) = users {
        match Helper::start(name) {
            Ok(helper) => {
                unshare_user_namespace()?;
                match helper.map() {
                    Ok(()) => return Ok(()),
                    Err(Failure { reason, is_clean }) if is_clean => {
                        note(Note::OnlyRoot { reason });
                    }
                    // A map can be written once only.
                    Err(Failure { reason, .. }) => return Err(Error::Delegated(reason)),
                }
                return map_one(0, 0, uid.as_raw(), gid.as_raw());
            }
            Err(reason) => note(Note::OnlyRoot { reason }),
        }
    }
    unshare_user_namespace()?;
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    match users {
        Users::Caller => map_one(uid, gid, uid, gid),
        Users::Root | Users::Delegated(_) => map_one(0, 0, uid, gid),
    }
}

/// Whether the caller is root of a user namespace, or of the machine, that has other users too.
#[must_use]
pub fn has_other_users() -> bool {
    geteuid().is_root() && own_map("uid_map").is_some()
}

/// Makes the calling process root of a user namespace that has the users whom the system has
/// delegated to it. `user` is its name. It must have one thread.
///
/// # Errors
///
/// Fails when there are none, the programs that map them are missing or fail, or the files in
/// `directory` cannot be given to them. The process is then as it was.
pub fn become_root_of_delegated_users(user: &str, directory: &Path) -> Result<(), Error> {
    let enter = || {
        let helper = Helper::start(user).map_err(Error::Delegated)?;
        unshare_user_namespace()?;
        helper
            .map()
            .map_err(|failure| Error::Delegated(failure.reason))
    };
    // A namespace cannot be left.
    in_child(|| enter().and_then(|()| give_away(directory)))?;
    enter()
}

/// Gives a file in a directory to another user: not every file system allows it.
fn give_away(directory: &Path) -> Result<(), Error> {
    let given = tempfile::NamedTempFile::new_in(directory)
        .and_then(|file| std::os::unix::fs::fchown(&file, Some(1), Some(1)));
    given.map_err(|error| {
        let text = text::message(&error);
        Error::Delegated(format!("{}: {text}", directory.display()))
    })
}

fn unshare_user_namespace() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| Error::UserNamespace(advised(errno.into())))
}

/// Adds advice to an error. AppArmor's restriction lets a namespace be made, but refuses the maps.
fn advised(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(Errno::EACCES as i32) {
        return text::with_advice(&error, &of_security_module());
    }
    match advice() {
        Some(advice) => text::with_advice(&error, advice),
        None => error,
    }
}

/// The kernel itself refuses with EPERM; EACCES is a security module's.
fn of_security_module() -> String {
    let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    format!(
        "a security module forbids it to this program's profile, {}: the administrator can allow it \
         there (AppArmor: `userns,`; SELinux: user_namespace create)",
        label.trim_matches(['\0', '\n'])
    )
}

/// Maps one user and one group.
fn map_one(uid: u32, gid: u32, outer_uid: u32, outer_gid: u32) -> Result<(), Error> {
    // Without CAP_SETGID outside, a group map is allowed only once setgroups(2) is given up.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{uid} {outer_uid} 1\n"))?;
    write("/proc/self/gid_map", &format!("{gid} {outer_gid} 1\n"))
}

/// Tests whether the caller can have namespaces: a separate process enters some, and ends. Real
/// root needs none.
///
/// # Errors
///
/// Returns the reason why not, and advice.
pub fn try_namespaces() -> Result<(), Error> {
    sys::check_kernel().map_err(Error::Builder)?;
    if is_real_root() {
        return Ok(());
    }
    in_child(|| {
        enter_user_namespace(Users::Caller, &mut |_| ())?;
        let mounts = unshare(CloneFlags::CLONE_NEWNS);
        mounts.map_err(|errno| Error::MountNamespace(errno.into()))
    })
}

/// Calls a function in a separate process, and returns its result.
fn in_child(act: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let (ours, theirs) = protocol::pair().map_err(Error::Fork)?;
    match sys::fork().map_err(|errno| Error::Fork(errno.into()))? {
        sys::Fork::Child => {
            match act() {
                Ok(()) => protocol::send_note(&theirs, ""),
                Err(error) => protocol::send_failure(&theirs, &text::one_line(&error)),
            }
            sys::exit_at_once(0)
        }
        sys::Fork::Parent(child) => {
            drop(theirs);
            let said = protocol::receive(&ours).map_err(Error::Protocol);
            let _ = nix::sys::wait::waitpid(child, None);
            match said? {
                Message::Failed(text) => Err(Error::Builder(text)),
                _ => Ok(()),
            }
        }
    }
}

fn write(path: &str, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::IdMap {
        path: PathBuf::from(path),
        source: advised(source),
    })
}

/// Whether a filter of system calls is on this process (proc_pid_status(5), "Seccomp").
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

/// Looks for settings that forbid user namespaces, and returns advice.
fn advice() -> Option<&'static str> {
    let reads = |path: &str, value: &str| {
        fs::read_to_string(path).is_ok_and(|text: String| text.trim() == value)
    };
    if reads("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        Some("the administrator can enable them: sysctl kernel.unprivileged_userns_clone=1")
    } else if reads("/proc/sys/user/max_user_namespaces", "0") {
        Some("the administrator can enable them: sysctl user.max_user_namespaces=15000")
    } else if reads(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        Some(
            "AppArmor forbids it: the administrator can load the profile \
             share/slipway/integration/apparmor/slipway, or set sysctl \
             kernel.apparmor_restrict_unprivileged_userns=0",
        )
    } else if is_filtered() {
        Some(
            "a filter of system calls around this program may forbid it: in a container of docker's \
             or podman's, start that with --security-opt seccomp=unconfined",
        )
    } else {
        None
    }
}

/// Returns whether the caller is root of the whole machine: uid 0 with CAP_SYS_ADMIN in the first
/// user namespace, where every id is mapped onto itself.
#[must_use]
pub fn is_real_root() -> bool {
    let full_map = || -> io::Result<bool> {
        let map = fs::read_to_string("/proc/self/uid_map")?;
        Ok(map.split_whitespace().eq(["0", "0", "4294967295"]))
    };
    let may_mount = || {
        caps::has_cap(
            None,
            caps::CapSet::Effective,
            caps::Capability::CAP_SYS_ADMIN,
        )
    };
    geteuid().is_root() && full_map().unwrap_or(false) && may_mount().unwrap_or(false)
}
