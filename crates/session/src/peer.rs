//! Telling our own processes from those in containers, which have the same user.
//!
//! A contained payload reaches the same abstract sockets as we do, and could take the name of its user's next session
//! and hand out namespaces of its own. What it cannot have is a process outside of all containers, or one with
//! capabilities in a user namespace that was made outside: a payload has none in its session's, and whichever it makes
//! is below that ([user_namespaces(7)]). Besides, ours are this very program, and may still gain privileges: every
//! payload has `no_new_privs`, for good ([prctl(2)]), and so has all that it starts; where the caller has that
//! themselves, it tells nothing.
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

/// Looks at a process that is to be one of ours which keeps a session, or refuses one: this program, of the caller's, and
/// outside of containers, or with every capability in a user namespace that was made in the caller's: no payload has any
/// in its session's. Returns that namespace.
///
/// # Errors
///
/// Fails when it is none, or cannot be looked at.
pub(crate) fn look(pid: i32) -> io::Result<Option<OwnedFd>> {
    if is_this_program(pid)? {
        match relation(pid)? {
            Relation::Below(namespace) => return Ok(Some(namespace.into())),
            Relation::Same if is_outside(&status(pid)?) == Some(true) => return Ok(None),
            Relation::Same | Relation::None => {}
        }
    }
    Err(io::ErrorKind::PermissionDenied.into())
}

/// The process that listens at a name, as the kernel tells a caller.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) pid: i32,
    /// A handle of it. Kernels before 6.5 have one for the number alone, which may be another's by now.
    pub(crate) process: OwnedFd,
}

impl Listener {
    /// The one that a connected socket tells of.
    ///
    /// # Errors
    ///
    /// Fails when it is gone.
    pub(crate) fn of(socket: &OwnedFd, pid: i32) -> io::Result<Self> {
        let by_number = || open(pid);
        let process = sys::peer_process(socket)?.map_or_else(by_number, Ok)?;
        Ok(Self { pid, process })
    }

    /// Says whether it is one that may answer. One that is stopped is not.
    pub(crate) fn standing(&self) -> Standing {
        let stat = sys::ProcessStat::of(self.pid.cast_unsigned());
        let is_stopped = stat.is_ok_and(|stat| ['T', 't', 'Z', 'X'].contains(&stat.state));
        if is_stopped || self.pid == Pid::this().as_raw() || has_ended(&self.process) {
            return Standing::Stranger;
        }
        match look(self.pid) {
            Ok(_) => Standing::Ours,
            // The kernel's own word, of one that must not be looked into.
            Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => Standing::Unknown,
            Err(_) => Standing::Stranger,
        }
    }

    /// Has it go on for the next caller, if it is one of ours that somebody has stopped.
    pub(crate) fn continue_stopped(&self) {
        let stat = sys::ProcessStat::of(self.pid.cast_unsigned());
        let is_ours = is_this_program(self.pid).is_ok_and(|same| same) && !is_contained(self.pid);
        if is_ours && stat.is_ok_and(|stat| stat.state == 'T') {
            let _ = pidfd_send_signal(&self.process, Signal::CONT);
        }
    }

    /// Whether it may be at building a session, which takes its time: not when it keeps one already.
    pub(crate) fn may_be_building(&self) -> bool {
        let name = fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        name.trim_ascii_end() != MONITOR.to_bytes()
    }
}

/// What a process that listens is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// One of ours, that may answer.
    Ours,
    /// It cannot be looked into for the moment, as a builder at times.
    Unknown,
    /// None of ours, or one that will not answer.
    Stranger,
}

/// The name of a process that keeps a session which is built.
pub(crate) const MONITOR: &CStr = c"front: session";

/// Whether a process is in a container for certain: where `/proc` hides it, this is not known.
pub(crate) fn is_contained(pid: i32) -> bool {
    status(pid).is_ok_and(|status| is_outside(&status) == Some(false))
}

/// Opens what a process of ours has open under a number. Its caller can, who made the user namespace that the process
/// is in, or is in the same; a payload cannot: it has fewer capabilities there.
///
/// # Errors
///
/// Fails when that is not so, and when this process may not open so many files.
pub(crate) fn open_descriptor(pid: i32, number: i32) -> io::Result<OwnedFd> {
    // It is waited for nothing, whatever it is.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let path = format!("/proc/{pid}/fd/{number}");
    let mut options = File::options();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    options.open(path).map(OwnedFd::from)
}

/// A monitor has every capability in its user namespace, and its caller has them there, too, as the one who made it: so
/// that this link can be followed, and by no payload.
fn is_this_program(pid: i32) -> io::Result<bool> {
    let theirs = fs::metadata(format!("/proc/{pid}/exe"))?;
    Ok((theirs.dev(), theirs.ino()) == own_program()?)
}

/// The device and the inode of this very program.
pub(crate) fn own_program() -> io::Result<(u64, u64)> {
    static OWN: OnceLock<(u64, u64)> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(*own);
    }
    let own = fs::metadata("/proc/self/exe")?;
    Ok(*OWN.get_or_init(|| (own.dev(), own.ino())))
}

/// A process's user namespace, as the caller's sees it.
enum Relation {
    /// It is the same.
    Same,
    /// It was made there, and the process has every capability in it.
    Below(File),
    /// Another, or the process has no capability.
    None,
}

fn relation(pid: i32) -> io::Result<Relation> {
    let own = own_user_namespace()?;
    // Before the namespace: a payload has every capability in a namespace that it makes meanwhile, and never comes back.
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

/// The inode of this process's user namespace, by which the kernel knows one from all others ([namespaces(7)]). To be
/// asked for before the process enters another.
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
    // These stand for all.
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

/// `/proc/PID/status` ([proc_pid_status(5)]).
///
/// [proc_pid_status(5)]: https://man7.org/linux/man-pages/man5/proc_pid_status.5.html
fn status(pid: i32) -> io::Result<String> {
    let status = sys::read_all(Path::new(&format!("/proc/{pid}/status")))?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// The first word after a name at the beginning of a line.
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
        // The first process is another program, or one that cannot be looked at.
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
        let is_told = is_contained(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        // In a place where we are bound as well, nothing tells.
        assert_eq!(is_told, rustix::thread::no_new_privs() != Ok(true));
    }
}
