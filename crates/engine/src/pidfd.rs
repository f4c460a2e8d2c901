//! Descriptors of processes. Unlike a process id, such a descriptor never comes to mean another
//! process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::Error;

/// Returns a descriptor of a process.
pub(crate) fn open_process(pid: Pid) -> Result<OwnedFd, Error> {
    let opened = rustix::process::Pid::from_raw(pid.as_raw())
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    opened.map_err(|errno| Error::system("open the container's process", errno))
}

/// Sends a descriptor of a process to a listening socket.
pub(crate) fn send_pidfd(path: &Path, pidfd: &OwnedFd) -> Result<(), Error> {
    sys::connect(path)
        .and_then(|socket| sys::send_fd(socket, b"pidfd", pidfd.as_fd()))
        .map_err(|source| Error::system("send the pidfd", source))
}

/// Whether a process ends within a time.
pub(crate) fn ends_within(pidfd: &OwnedFd, limit: Duration) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timespec(limit)))? > 0)
}

/// Returns a time in the form in which the kernel waits.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
