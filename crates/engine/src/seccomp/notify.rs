//! Delivering the filter's descriptor to the listener, with the container's state (the
//! specification's "container process state").
//!
//! The process that loads the filter is in the container. It cannot reach the listener there, and
//! does not know its own id outside. It must not continue before the listener has the descriptor.
//! So another process of ours waits outside, and learns the sender's id from the kernel.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair, sockopt,
};
use serde_json::{Value, json};

use crate::Error;
use crate::pidfd::{ends_within, open_process};

/// Longest time that the relay may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest size of an answer that is read, in bytes.
const ANSWER: usize = 4096;
const DELIVERED: &str = "+";

/// The process that waits outside.
#[derive(Debug)]
pub(crate) struct Relay {
    pid: Pid,
}

/// The socket on which the process in the container sends the descriptor.
#[derive(Debug)]
pub(super) struct RelaySocket(OwnedFd);

impl Relay {
    /// Starts a relay. It ends when it has delivered the descriptor, or when all ends of the socket
    /// are closed.
    pub(super) fn send(
        path: &Path,
        metadata: &str,
        state: Value,
    ) -> Result<(Self, RelaySocket), Error> {
        let failed = |source: std::io::Error| Error::system("prepare the seccomp listener", source);
        // Before anything is made: if nobody listens now, a later attempt will hardly succeed.
        let listener = sys::connect(path)
            .map_err(Error::state("failed to connect with seccomp agent", path))?;
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| failed(errno.into()))?;
        sockopt::set_socket_passcred(&ours, true).map_err(|errno| failed(errno.into()))?;
        match sys::fork().map_err(|errno| failed(errno.into()))? {
            sys::Fork::Parent(pid) => Ok((Self { pid }, RelaySocket(theirs))),
            sys::Fork::Child => {
                drop(theirs);
                if let Some(handed) = receive(&ours) {
                    let answer = deliver(&handed, &listener, metadata, state);
                    let text = answer
                        .map_or_else(|error| text::message(&error), |()| DELIVERED.to_owned());
                    let _ = rustix::net::send(&ours, text.as_bytes(), SendFlags::NOSIGNAL);
                }
                sys::exit_at_once(0)
            }
        }
    }

    /// Waits for the relay's end. The caller must have closed its own end of the socket. The process
    /// that loads the filter has gone on or has failed, so that the relay has nothing to do any more,
    /// but a process of the container may hold the socket.
    pub(crate) fn wait(self) {
        let has_ended = open_process(self.pid)
            .is_ok_and(|relay| ends_within(&relay, PATIENCE).unwrap_or(false));
        if !has_ended {
            let _ = sys::kill(self.pid, nix::libc::SIGKILL);
        }
        let _ = waitpid(self.pid, None);
    }
}

impl RelaySocket {
    /// Returns the number of the socket's descriptor.
    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Sends the descriptor, and waits until it is delivered.
    pub(super) fn send(&self, listener: BorrowedFd<'_>) -> Result<(), String> {
        let failed = |reason: &str| format!("linux.seccomp.listenerPath: {reason}");
        sys::send_fd(self.0.as_fd(), b"seccomp", listener)
            .map_err(|error| failed(&text::message(&error)))?;
        let mut answer = [0; ANSWER];
        let (length, _) = rustix::net::recv(&self.0, &mut answer, RecvFlags::empty())
            .map_err(|errno| failed(&text::message(&errno.into())))?;
        match String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).as_ref() {
            DELIVERED => Ok(()),
            "" => Err(failed("nobody delivers the descriptor")),
            reason => Err(failed(reason)),
        }
    }
}

/// A descriptor, and the id of the process that sent it, as we see it.
struct Handed {
    listener: OwnedFd,
    pid: i32,
}

fn receive(socket: &OwnedFd) -> Option<Handed> {
    let received = sys::receive_fd(socket).ok()?;
    Some(Handed {
        listener: received.fd,
        pid: received.sender?,
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
    sys::send_fd(
        listener.as_fd(),
        text.to_string().as_bytes(),
        handed.listener.as_fd(),
    )
}
