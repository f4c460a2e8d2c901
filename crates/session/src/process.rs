//! A process of ours, apart from its caller, and known to others by a handle.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

/// Blocks every signal that can be blocked. Batch systems signal all processes of a job; what they
/// say is meant for the payload.
pub(crate) fn ignore_signals() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}

/// Lets go of the caller's standard streams: who reads from the payload must see its end.
pub(crate) fn detach_stdio() {
    let Ok(null) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    for attach in [
        rustix::stdio::dup2_stdin,
        rustix::stdio::dup2_stdout,
        rustix::stdio::dup2_stderr,
    ] {
        let _ = attach(&null);
    }
}

/// Opens a handle of a process ([pidfd_open(2)]).
///
/// [pidfd_open(2)]: https://man7.org/linux/man-pages/man2/pidfd_open.2.html
pub(crate) fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether a handle's process has ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    ends_within(pidfd, now)
}

/// Waits for the end of a process, at most `limit`; returns whether it has ended. One of which nothing can be learnt any
/// more has: a payload may take all descriptors from a process of its user's (prlimit(2)), and none is to wait then.
pub(crate) fn ends_within(pidfd: &OwnedFd, limit: Timespec) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => ready > 0,
        Err(errno) => errno != Errno::INTR,
    }
}

/// Returns the id of a handle's process, as the caller's `/proc` has it; `None` once it has ended.
pub(crate) fn pid(process: &OwnedFd) -> Option<i32> {
    let info = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let info = fs::read_to_string(info).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
}
