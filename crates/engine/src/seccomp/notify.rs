//! Bringing the filter's listening descriptor to who listens, with the container's state (the
//! specification's "container process state").
//!
//! The process that loads the filter is in the container, where it cannot reach the listener and
//! does not know its own number outside; and it must not go on before the listener has it. So a process
//! of ours waits outside, and the kernel tells it who hands in.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, socketpair, sockopt,
};
use serde_json::{Value, json};

use crate::{Error, fd_passing};

/// The most that is read of an answer, in bytes.
const ANSWER: usize = 4096;
const DELIVERED: &str = "+";

/// The process that waits.
#[derive(Debug)]
pub(crate) struct Courier {
    pid: Pid,
}

/// Where the process in the container hands in.
#[derive(Debug)]
pub(super) struct Post(OwnedFd);

impl Courier {
    /// Sends one off. It ends when it has delivered, or when all ends of the post are closed.
    pub(super) fn send(path: &Path, metadata: &str, state: Value) -> Result<(Self, Post), Error> {
        let failed = |source: std::io::Error| Error::system("prepare the seccomp listener", source);
        // Before anything is made: who does not listen now hardly will in a moment.
        let listener = fd_passing::connect(path)?;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| failed(errno.into()))?;
        sockopt::set_socket_passcred(&ours, true).map_err(|errno| failed(errno.into()))?;
        match sys::fork().map_err(|errno| failed(errno.into()))? {
            sys::Fork::Parent(pid) => Ok((Self { pid }, Post(theirs))),
            sys::Fork::Child => {
                drop(theirs);
                if let Some(handed) = receive(&ours) {
                    let answer = deliver(&handed, &listener, metadata, state);
                    let text =
                        answer.map_or_else(|error| sys::words(&error), |()| DELIVERED.to_owned());
                    let _ = rustix::net::send(&ours, text.as_bytes(), SendFlags::NOSIGNAL);
                }
                sys::exit_at_once(0)
            }
        }
    }

    /// Waits for its end; the caller has closed its own end of the post, or it would not come.
    pub(crate) fn wait(self) {
        let _ = waitpid(self.pid, None);
    }
}

impl Post {
    /// Returns the number of its socket.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Hands in the descriptor, and waits until it is delivered.
    pub(super) fn hand_in(&self, listener: BorrowedFd<'_>) -> Result<(), String> {
        let failed = |reason: &str| format!("linux.seccomp.listenerPath: {reason}");
        fd_passing::send(self.0.as_fd(), b"seccomp", listener)
            .map_err(|error| failed(&sys::words(&error)))?;
        let mut answer = [0; ANSWER];
        let (length, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty())
            .map_err(|errno| failed(&sys::words(&errno.into())))?;
        match String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).as_ref() {
            DELIVERED => Ok(()),
            "" => Err(failed("nobody delivers the descriptor")),
            reason => Err(failed(reason)),
        }
    }
}

/// A descriptor, and the number of the process that handed it in, as we see it.
struct Handed {
    listener: OwnedFd,
    pid: i32,
}

fn receive(socket: &OwnedFd) -> Option<Handed> {
    let mut text = [0; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut text)];
    recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?;
    let (mut listener, mut pid) = (None, None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(mut fds) => listener = fds.next(),
            RecvAncillaryMessage::ScmCredentials(credentials) => {
                pid = Some(credentials.pid.as_raw_nonzero().get());
            }
            _ => {}
        }
    }
    Some(Handed {
        listener: listener?,
        pid: pid?,
    })
}

fn deliver(
    handed: &Handed,
    listener: &UnixStream,
    metadata: &str,
    mut state: Value,
) -> std::io::Result<()> {
    if state["pid"].is_null() {
        state["pid"] = json!(handed.pid);
    }
    let text = json!({
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": handed.pid,
        "metadata": metadata,
        "state": state,
    });
    fd_passing::send(
        listener.as_fd(),
        text.to_string().as_bytes(),
        handed.listener.as_fd(),
    )
}
