//! Descriptors of processes, which no other process can be mistaken for.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::unistd::Pid;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::Error;

/// Returns a descriptor of a process.
pub(crate) fn open_process(pid: Pid) -> Result<OwnedFd, Error> {
    let opened = rustix::process::Pid::from_raw(pid.as_raw())
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    opened.map_err(|errno| Error::system("open the container's process", errno))
}

/// Sends a descriptor of a process to who listens on a socket.
pub(crate) fn send_pidfd(path: &std::path::Path, pidfd: &OwnedFd) -> Result<(), Error> {
    let socket = UnixStream::connect(path).map_err(Error::state("connect to", path))?;
    let fds = [pidfd.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let data = [std::io::IoSlice::new(b"pidfd")];
    sendmsg(&socket, &data, &mut ancillary, SendFlags::empty())
        .map(|_| ())
        .map_err(|errno| Error::system("send the pidfd", errno))
}
