//! The callers of a keeper, from the first word to their wish.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::unistd::geteuid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_passcred, socket_peercred};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::handover::{self, PATIENCE, Token, Wish};
use crate::secret::Secret;
use crate::{peer, process};

/// How long a caller who is sent away may take to say what is wished for.
const A_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// A caller, from the first word to what it wishes for.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) socket: OwnedFd,
    /// A handle of their process.
    pub(crate) process: OwnedFd,
    pid: i32,
    since: Instant,
    /// The wish is to repeat this.
    hello: Token,
    /// The answers are to repeat this.
    pub(crate) token: Token,
}

/// The outcome of looking for the next caller.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// One of the same user, who has yet to say what is wished for.
    Caller(Caller),
    /// One that is none of ours, or has gone.
    Stranger,
    /// One for whom there is no descriptor left.
    Waiting,
    /// None.
    Nobody,
}

/// Greets the next caller.
pub(crate) fn admit(listener: &OwnedFd, secret: &Secret) -> Admitted {
    match accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => greet(socket, secret).map_or(Admitted::Stranger, Admitted::Caller),
        Err(Errno::AGAIN) => Admitted::Nobody,
        Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Admitted::Waiting,
        Err(_) => Admitted::Stranger,
    }
}

fn greet(socket: OwnedFd, secret: &Secret) -> Option<Caller> {
    let peer = socket_peercred(&socket).ok()?;
    let pid = peer.pid.as_raw_nonzero().get();
    // The handle first, as it is with a keeper.
    let process = pidfd_open(peer.pid, PidfdFlags::empty()).ok()?;
    if peer.uid.as_raw() != geteuid().as_raw() || peer::is_contained(pid) {
        return None;
    }
    set_socket_passcred(&socket, true).ok()?;
    let hello = handover::token();
    handover::send_hello(&socket, hello, secret.descriptor()).ok()?;
    Some(Caller {
        process,
        socket,
        pid,
        since: Instant::now(),
        hello,
        token: 0,
    })
}

impl Caller {
    /// When the call came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Returns the caller's wish: `None` while nothing was said, an error from one who is not ours, or says nothing for too
    /// long.
    pub(crate) fn wish(&mut self, secret: &Secret) -> Option<Result<Wish, ()>> {
        match handover::receive_wish(&self.socket) {
            Ok(wished) => {
                self.token = wished.token;
                let is_same = wished.sender == Some(self.pid) && !process::has_ended(&self.process);
                let is_outside = wished.shown == Some((self.hello, secret.word));
                Some(if is_same && is_outside {
                    Ok(wished.wish)
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

/// Sends the next caller away, who then goes on alone.
pub(crate) fn turn_away(listener: &OwnedFd, secret: &Secret, reason: &str) {
    if let Admitted::Caller(mut caller) = admit(listener, secret) {
        let mut fds = [PollFd::new(&caller.socket, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&A_MOMENT));
        // It is taken, whatever it is: an end that closes with something unread resets the other.
        let _ = caller.wish(secret);
        handover::send_full(&caller.socket, caller.token, reason);
    }
}
