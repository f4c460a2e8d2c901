//! Our terminal and the container's, connected.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::Error;

/// Takes the master of the container's terminal from the socket that it is sent on.
pub(crate) fn receive_master(socket: &UnixStream) -> Result<OwnedFd, Error> {
    let failed = |source: std::io::Error| Error::system("receive the container's terminal", source);
    let mut name = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .map_err(|errno| failed(errno.into()))?;
    let mut fds = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    fds.next()
        .ok_or_else(|| failed(std::io::ErrorKind::UnexpectedEof.into()))
}

/// The two terminals. Ours is raw meanwhile, and as it was again when this is dropped.
pub(crate) struct Terminal {
    master: File,
    before: Option<Termios>,
    input_open: bool,
    output_open: bool,
}

impl Terminal {
    pub(crate) fn attach(master: OwnedFd) -> Result<Self, Error> {
        let stdin = rustix::stdio::stdin();
        let before = if isatty(stdin) {
            tcgetattr(stdin).ok()
        } else {
            None
        };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(stdin, OptionalActions::Now, &raw)
                .map_err(|errno| Error::system("make the terminal raw", errno))?;
        }
        let terminal = Self {
            master: File::from(master),
            before,
            input_open: true,
            output_open: true,
        };
        terminal.resize();
        Ok(terminal)
    }

    /// Gives the container's terminal the size of ours.
    pub(crate) fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// What to wait for: our input, then the container's output.
    pub(crate) fn poll(&self) -> Vec<PollFd<'_>> {
        let wanted = |open: bool| {
            if open {
                PollFlags::IN
            } else {
                PollFlags::empty()
            }
        };
        vec![
            PollFd::from_borrowed_fd(rustix::stdio::stdin(), wanted(self.input_open)),
            PollFd::from_borrowed_fd(self.master.as_fd(), wanted(self.output_open)),
        ]
    }

    /// Passes on what is there, by what [`Terminal::poll`] said.
    pub(crate) fn pump(&mut self, ready: &[bool]) {
        let mut buffer = [0; 8192];
        if ready.first() == Some(&true) && self.input_open {
            match std::io::stdin().read(&mut buffer) {
                Ok(0) | Err(_) => self.input_open = false,
                Ok(count) => drop(
                    self.master
                        .write_all(buffer.get(..count).unwrap_or_default()),
                ),
            }
        }
        if ready.get(1) == Some(&true) && self.output_open {
            self.output_open = copy_out(&mut self.master, &mut buffer);
        }
    }

    /// Passes on what the container wrote last. Its end of the terminal is closed, so this ends.
    pub(crate) fn drain(&mut self) {
        let mut buffer = [0; 8192];
        while self.output_open {
            let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
            let now = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            match rustix::event::poll(&mut fds, Some(&now)) {
                Ok(count) if count > 0 => {
                    self.output_open = copy_out(&mut self.master, &mut buffer);
                }
                _ => return,
            }
        }
    }
}

/// Copies once; `false` when the other end is closed (EIO of a terminal) or nobody reads ours.
fn copy_out(master: &mut File, buffer: &mut [u8]) -> bool {
    match master.read(buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            let mut out = std::io::stdout().lock();
            out.write_all(buffer.get(..count).unwrap_or_default())
                .and_then(|()| out.flush())
                .is_ok()
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
