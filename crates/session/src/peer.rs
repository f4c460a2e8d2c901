//! Telling our own processes from those in containers, which have the same user.
//!
//! A contained payload reaches the same abstract sockets as we do, and could take the name of its user's next session
//! and hand out namespaces of its own. What it cannot have is a process that is this very program *and* may still gain
//! privileges: every payload has `no_new_privs`, for good ([prctl(2)]), and so has all that it starts.
//!
//! Where the caller has `no_new_privs` themselves, as in another container, the program alone tells.
//!
//! [prctl(2)]: https://man7.org/linux/man-pages/man2/prctl.2.html

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

/// Whether a process is one of ours that keeps a session: this program, of the caller's, outside of containers.
pub(crate) fn is_keeper(pid: i32) -> bool {
    is_this_program(pid).unwrap_or(false) && is_outside(pid) == Some(true)
}

/// Whether the process that listens at a name is none that could become a keeper: it is gone, in a container, stopped, or
/// another program. One that cannot be looked at, as a builder at times, is none of that for certain.
pub(crate) fn is_stranger(pid: i32) -> bool {
    let is_there = kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH);
    let is_other = is_this_program(pid).is_ok_and(|same| !same);
    let stat = sys::ProcessStat::of(pid.cast_unsigned());
    let is_stopped = stat.is_ok_and(|stat| ['T', 'Z', 'X'].contains(&stat.state));
    !is_there || is_other || is_stopped || is_contained(pid)
}

/// The name of a process that keeps a session which is built.
pub(crate) const KEEPER: &CStr = c"front: session";

/// Whether a process may be at building a session, which takes its time: none that keeps one already.
pub(crate) fn may_be_building(pid: i32) -> bool {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_ascii_end() != KEEPER.to_bytes()
}

/// Whether a process is in a container for certain: where `/proc` hides it, this is not known.
pub(crate) fn is_contained(pid: i32) -> bool {
    is_outside(pid) == Some(false)
}

/// A keeper has every capability in its user namespace, and its caller has them there, too, as the one who made it: so
/// that this link can be followed, and by no payload.
fn is_this_program(pid: i32) -> io::Result<bool> {
    let theirs = fs::metadata(format!("/proc/{pid}/exe"))?;
    let ours = fs::metadata("/proc/self/exe")?;
    Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
}

fn is_outside(pid: i32) -> Option<bool> {
    let status = sys::read_all(Path::new(&format!("/proc/{pid}/status"))).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u32>().ok()
    };
    let is_ours = field("Uid:")? == geteuid().as_raw();
    let is_bound = field("NoNewPrivs:")? != 0;
    Some(is_ours && (!is_bound || rustix::thread::no_new_privs() == Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_this_program() {
        let own = std::process::id().cast_signed();
        assert!(is_keeper(own) && !is_contained(own));
        // The first process is another program, or one that cannot be looked at.
        assert!(!is_keeper(1));
        assert!(!is_keeper(i32::MAX) && !is_contained(i32::MAX));
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
