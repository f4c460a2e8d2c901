//! Telling our own processes apart from those in containers, which have the same user.
//!
//! A contained payload reaches the same abstract sockets as we do. It could take the name of its
//! user's next session, and hand out namespaces of its own. But it cannot have a process outside of
//! all containers, or one with capabilities in a user namespace that was made outside: a payload
//! has none in its session's user namespace, and every namespace that it makes is below that one
//! ([user_namespaces(7)]). Besides, our processes run this very program, and may still gain
//! privileges. Every payload has `no_new_privs` for good ([prctl(2)]), and so has everything that
//! it starts. If the caller itself has this flag, the flag proves nothing.
//!
//! [prctl(2)]: https://man7.org/linux/man-pages/man2/prctl.2.html
//! [user_namespaces(7)]: https://man7.org/linux/man-pages/man7/user_namespaces.7.html

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::{Pid, geteuid};
use rustix::process::{Signal, pidfd_send_signal};
use rustix::thread::{CapabilitySet, capabilities};

use crate::process::{has_ended, open};

/// Checks that a process is one of ours that monitors or refuses a session. It must run this
/// program for the caller's user. It must be outside of containers, or have every capability in a
/// user namespace that was made in the caller's: no payload has any in its session's. Returns that
/// namespace.
///
/// # Errors
///
/// Fails when the process is not one of ours, or cannot be inspected.
pub(crate) fn look(pid: i32) -> io::Result<Option<OwnedFd>> {
    match is_this_program(pid)? {
        true => place(pid),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Whether a process that runs another program, such as another version of this one, is where no
/// payload can be.
pub(crate) fn is_beside_containers(pid: i32) -> bool {
    place(pid).is_ok()
}

/// Returns the user namespace of a process outside of containers, if it is not the caller's.
fn place(pid: i32) -> io::Result<Option<OwnedFd>> {
    match relation(pid)? {
        // A contained payload that is root in its own namespace has no new privileges either.
        Relation::Below(namespace) if is_outside(&status(pid)?) != Some(false) => {
            Ok(Some(namespace.into()))
        }
        Relation::Same if is_outside(&status(pid)?) == Some(true) => Ok(None),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// The process that listens at a name, as the kernel reports it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) pid: i32,
    /// A handle of the process. Kernels before 6.5 have only its id, which may be another process's
    /// by now.
    pub(crate) process: OwnedFd,
}

impl Listener {
    /// Returns the listener of a connected socket.
    ///
    /// # Errors
    ///
    /// Fails when the process is gone.
    pub(crate) fn of(socket: &OwnedFd, pid: i32) -> io::Result<Self> {
        let by_number = || open(pid);
        let process = sys::peer_process(socket)?.map_or_else(by_number, Ok)?;
        Ok(Self { pid, process })
    }

    /// Returns whether the process may answer. A stopped process does not.
    pub(crate) fn standing(&self) -> Standing {
        let stat = sys::ProcessStat::of(self.pid.cast_unsigned());
        let is_stopped = stat.is_ok_and(|stat| ['T', 't', 'Z', 'X'].contains(&stat.state));
        if is_stopped || self.pid == Pid::this().as_raw() || has_ended(&self.process) {
            return Standing::Stranger;
        }
        match look(self.pid) {
            Ok(_) => Standing::Ours,
            // The kernel's answer for a process that must not be looked into.
            Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => Standing::Unknown,
            Err(_) => Standing::Stranger,
        }
    }

    /// Continues the process, if it is one of ours and somebody has stopped it. Returns whether it
    /// was continued.
    pub(crate) fn continue_stopped(&self) -> bool {
        let stat = sys::ProcessStat::of(self.pid.cast_unsigned());
        let is_ours = is_this_program(self.pid).is_ok_and(|same| same) && !is_contained(self.pid);
        is_ours
            && stat.is_ok_and(|stat| stat.state == 'T')
            && pidfd_send_signal(&self.process, Signal::CONT).is_ok()
    }

    /// Whether the process may be building a session, which takes time. It is not if it already
    /// monitors one.
    pub(crate) fn may_be_building(&self) -> bool {
        let name = fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        name.trim_ascii_end() != MONITOR.to_bytes()
    }
}

/// The result of inspecting a listening process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// One of ours, that may answer.
    Ours,
    /// It cannot be inspected at the moment; this happens with a builder.
    Unknown,
    /// It is not one of ours, or will not answer.
    Stranger,
}

/// The name of a process that monitors a finished session.
pub(crate) const MONITOR: &CStr = c"front: session";

/// Whether a process is certainly in a container. If `/proc` hides it, this is unknown, and the
/// result `false`.
pub(crate) fn is_contained(pid: i32) -> bool {
    status(pid).is_ok_and(|status| is_outside(&status) == Some(false))
}

/// Opens the descriptor of a process of ours with this number. A caller can do so, because it made
/// the process's user namespace or is in the same one. A payload cannot: it has fewer capabilities
/// there.
///
/// # Errors
///
/// Fails when this is not the case, and when this process may not open so many files.
pub(crate) fn open_descriptor(pid: i32, number: i32) -> io::Result<OwnedFd> {
    // Opening must not block, whatever the file is.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let path = format!("/proc/{pid}/fd/{number}");
    let mut options = File::options();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    options.open(path).map(OwnedFd::from)
}

/// Whether a process runs this program. A monitor has every capability in its user namespace, and
/// so has its caller, who made the namespace. So the caller can follow this link, and no payload
/// can.
fn is_this_program(pid: i32) -> io::Result<bool> {
    let theirs = fs::metadata(format!("/proc/{pid}/exe"))?;
    Ok((theirs.dev(), theirs.ino()) == own_program()?)
}

/// Returns the device and the inode of this very program.
pub(crate) fn own_program() -> io::Result<(u64, u64)> {
    static OWN: OnceLock<(u64, u64)> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(*own);
    }
    let own = fs::metadata("/proc/self/exe")?;
    Ok(*OWN.get_or_init(|| (own.dev(), own.ino())))
}

/// The relation of a process's user namespace to the caller's.
enum Relation {
    /// It is the same.
    Same,
    /// It was made in the caller's, and the process has every capability in it.
    Below(File),
    /// It is another, or the process lacks capabilities.
    None,
}

fn relation(pid: i32) -> io::Result<Relation> {
    let own = own_user_namespace()?;
    // Before the namespace is opened: a payload has every capability in a namespace that it makes
    // meanwhile, but cannot return from it.
    let is_capable = has_every_capability(pid)?;
    let theirs = File::open(format!("/proc/{pid}/ns/user"))?;
    if theirs.metadata()?.ino() == own {
        return Ok(Relation::Same);
    }
    let parent = File::from(sys::parent_user_namespace(&theirs)?);
    Ok(match parent.metadata()?.ino() == own && is_capable {
        true => Relation::Below(theirs),
        false => Relation::None,
    })
}

/// Returns the inode of this process's user namespace, which identifies it to the kernel
/// ([namespaces(7)]). Must be called before the process enters another.
///
/// [namespaces(7)]: https://man7.org/linux/man-pages/man7/namespaces.7.html
pub(crate) fn own_user_namespace() -> io::Result<u64> {
    static OWN: OnceLock<u64> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(*own);
    }
    let name = fs::read_link("/proc/self/ns/user")?;
    let number = name.to_str().and_then(|name| {
        let number = name.strip_prefix("user:[")?;
        number.strip_suffix(']')?.parse().ok()
    });
    let own = number.ok_or(io::ErrorKind::InvalidData)?;
    Ok(*OWN.get_or_init(|| own))
}

fn has_every_capability(pid: i32) -> io::Result<bool> {
    // These two stand for all.
    let wanted = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
    let theirs = capabilities(rustix::process::Pid::from_raw(pid))?;
    Ok(theirs.effective.contains(wanted))
}

fn is_outside(status: &str) -> Option<bool> {
    let number = |name: &str| field(status, name)?.parse::<u32>().ok();
    let is_ours = number("Uid:")? == geteuid().as_raw();
    let is_bound = number("NoNewPrivs:")? != 0;
    Some(is_ours && (!is_bound || rustix::thread::no_new_privs() == Ok(true)))
}

/// Reads `/proc/PID/status` ([proc_pid_status(5)]).
///
/// [proc_pid_status(5)]: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
fn status(pid: i32) -> io::Result<String> {
    let status = sys::read_all(Path::new(&format!("/proc/{pid}/status")))?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// Returns the first word after a name at the beginning of a line.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_this_program() {
        let own = std::process::id().cast_signed();
        assert!(look(own).unwrap().is_none() && !is_contained(own));
        let listener = Listener {
            pid: own,
            process: open(own).unwrap(),
        };
        assert_eq!(listener.standing(), Standing::Stranger);
        // The first process runs another program, or cannot be inspected.
        assert!(look(1).is_err());
        assert!(look(i32::MAX).is_err() && !is_contained(i32::MAX));
    }

    #[test]
    fn what_cannot_gain_privileges_is_in_a_container() {
        let mut child = std::process::Command::new("setpriv");
        let mut child = child
            .args(["--no-new-privs", "sleep", "10"])
            .spawn()
            .unwrap();
        let pid = child.id().cast_signed();
        let bound = || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains("NoNewPrivs:\t1")
        };
        while !bound() {
            std::thread::yield_now();
        }
        let is_found = is_contained(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        // If this process has the flag as well, it proves nothing.
        assert_eq!(is_found, rustix::thread::no_new_privs() != Ok(true));
    }
}
