//! Detaching a process of ours from its caller, and handles of processes.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

/// Blocks every signal that can be blocked. Batch systems signal all processes of a job, and these
/// signals are meant for the payload.
pub(crate) fn ignore_signals() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}

/// Releases the caller's standard streams, so that a reader of the payload's output sees its end.
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

/// Opens a handle of this process.
pub(crate) fn open_own() -> io::Result<OwnedFd> {
    open(std::process::id().cast_signed())
}

/// Whether a handle's process has ended.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    ends_within(pidfd, now)
}

/// Waits for the end of a process, at most `limit`. Returns whether it has ended. If the process
/// can no longer be observed, it counts as ended: a payload may take all descriptors from a process
/// of its user (prlimit(2)), and nobody should wait then.
pub(crate) fn ends_within(pidfd: &OwnedFd, limit: Timespec) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => ready > 0,
        Err(errno) => errno != Errno::INTR,
    }
}

/// Waits until a descriptor is readable, or a process has ended. Returns whether it is readable. If
/// neither can be observed, the process counts as ended, as in [`ends_within`].
pub(crate) fn is_readable_before_end(descriptor: &OwnedFd, pidfd: &OwnedFd) -> bool {
    loop {
        let both = [descriptor, pidfd];
        let mut fds = both.map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return !fds[0].revents().is_empty(),
        }
    }
}

/// Has the kernel kill this process when its parent ends. `parent` is a handle from before this
/// process was made: inside a PID namespace, the id of a parent outside is always 0
/// (pid_namespaces(7)), also after its end.
///
/// # Errors
///
/// Fails when the parent has ended already.
pub(crate) fn end_with(parent: &OwnedFd) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL))?;
    // A parent that ends signals its children a moment before its handle says that it has ended. The
    // kernel does both under one lock, and waitid(2) takes that lock.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let _ = waitid(Id::All, flags);
    match has_ended(parent) {
        true => Err(Errno::SRCH.into()),
        false => Ok(()),
    }
}

/// Returns the id of a handle's process in the caller's `/proc`; `None` once it has ended.
pub(crate) fn pid(process: &OwnedFd) -> Option<i32> {
    let info = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let info = fs::read_to_string(info).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
}
