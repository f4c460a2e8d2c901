//! The callers of a monitor, from the connection to the command.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::unistd::geteuid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};

use crate::protocol::{self, Command, PATIENCE, Token};
use crate::secret::Secret;
use crate::{peer, process};

/// Time that a caller that is turned away may take to send its command.
const A_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// A caller, from the connection to the command.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) socket: OwnedFd,
    /// A handle of the caller's process.
    pub(crate) process: OwnedFd,
    pid: i32,
    since: Instant,
    /// A time at which the caller already ran.
    pub(crate) began: Instant,
    /// Whether the caller was sent the greeting.
    is_greeted: bool,
    /// The number that the replies repeat.
    pub(crate) token: Token,
}

/// The outcome of accepting the next caller.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// A caller of the same user, whose command may be yet to come.
    Caller(Caller),
    /// A caller that is not ours, or has gone.
    Stranger,
    /// A caller for which no descriptor is left.
    Waiting,
    /// No caller.
    Nobody,
}

/// Accepts the next caller.
pub(crate) fn accept(listener: &OwnedFd) -> Accepted {
    match accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => Caller::new(socket).map_or(Accepted::Stranger, Accepted::Caller),
        Err(Errno::AGAIN) => Accepted::Nobody,
        Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Accepted::Waiting,
        Err(_) => Accepted::Stranger,
    }
}

impl Caller {
    fn new(socket: OwnedFd) -> Option<Self> {
        let peer = socket_peercred(&socket).ok()?;
        let pid = peer.pid.as_raw_nonzero().get();
        let process = match sys::peer_process(&socket).ok()? {
            Some(process) => process,
            // Before Linux 6.5, a caller's id may belong to another process by now. A payload could
            // learn the secret this way.
            None => process::open(pid)
                .ok()
                .filter(|_| !peer::is_contained(pid))?,
        };
        let since = Instant::now();
        (peer.uid.as_raw() == geteuid().as_raw()).then(|| Self {
            process,
            socket,
            pid,
            since,
            began: since,
            is_greeted: false,
            token: 0,
        })
    }

    /// Sends the greeting, once, to a caller that asks for it. Returns whether this caller is to be
    /// waited for.
    fn greet(&mut self, secret: &Secret) -> bool {
        let is_first = !std::mem::replace(&mut self.is_greeted, true);
        let sent = || protocol::send_hello(&self.socket, secret.descriptor());
        is_first && !peer::is_contained(self.pid) && sent().is_ok()
    }

    /// Returns when the caller connected.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Returns the caller's command: `None` while nothing has come, and an error for a caller that
    /// is not ours, or sends nothing for too long.
    pub(crate) fn command(&mut self, secret: &Secret) -> Option<Result<Command, ()>> {
        match protocol::receive_command(&self.socket) {
            Ok(None) => (!self.greet(secret)).then_some(Err(())),
            Ok(Some(wished)) => {
                self.token = wished.token;
                let is_same = wished.sender == Some(self.pid) && !process::has_ended(&self.process);
                let shown = wished.shown.filter(|(word, _)| *word == secret.word);
                let is_outside = shown.is_some();
                // Clocks of two time namespaces differ, durations do not.
                let age = shown.map(|(_, age)| age).unwrap_or_default();
                let now = Instant::now();
                self.began = now.checked_sub(age).unwrap_or(now);
                Some(if is_same && is_outside {
                    Ok(wished.command)
                } else {
                    Err(())
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (self.since.elapsed() > PATIENCE).then_some(Err(()))
            }
            Err(_) => Some(Err(())),
        }
    }
}

/// Turns the next caller away, which then goes on alone.
pub(crate) fn turn_away(listener: &OwnedFd, secret: &Secret, reason: &str) {
    let Accepted::Caller(mut caller) = accept(listener) else {
        return;
    };
    // The request for a greeting may come before the command. Both are read, whatever they are:
    // closing a socket with unread data resets the other end.
    for _ in 0..2 {
        let mut fds = [PollFd::new(&caller.socket, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&A_MOMENT));
        if let Some(command) = caller.command(secret) {
            if command.is_ok() {
                protocol::send_full(&caller.socket, caller.token, reason);
            }
            return;
        }
    }
}
