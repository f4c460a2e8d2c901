//! The signals that ask this process to end, held back while it makes something that must not be left
//! half made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::pidfd::timespec;

/// The signals, until this value is dropped.
#[derive(Debug)]
pub(crate) struct Endings {
    signals: SignalFd,
    /// The signals that were blocked before.
    before: SigSet,
}

impl Endings {
    /// Blocks the signals, except for those that this process ignores.
    ///
    /// # Errors
    ///
    /// Fails without a free descriptor.
    pub(crate) fn hold_back() -> Result<Self, Error> {
        Self::block().map_err(|source| Error::system("hold back signals", source))
    }

    fn block() -> io::Result<Self> {
        let mut endings = SigSet::empty();
        for signal in [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
        ] {
            // As for a program under nohup(1). Blocked, it would be queued all the same.
            if !sys::is_ignored(signal as i32) {
                endings.add(signal);
            }
        }
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&endings, flags)?;
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&endings), Some(&mut before))?;
        Ok(Self { signals, before })
    }

    /// Lets the signals through again, as before.
    pub(crate) fn let_through(&self) {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }

    /// Fails if a signal has come meanwhile.
    ///
    /// # Errors
    ///
    /// Fails if a signal has come.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.signals.read_signal() {
            Ok(Some(info)) => Err(Error::Interrupted(
                Signal::try_from(info.ssi_signo.cast_signed()).map_or("a signal", Signal::as_str),
            )),
            _ => Ok(()),
        }
    }

    /// Waits until a process has ended, and returns `None`, or until a signal comes. `look` is called
    /// each time that `idle` has passed.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses to wait, or `look` fails.
    pub(crate) fn wait_for(
        &self,
        process: &OwnedFd,
        idle: Duration,
        mut look: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Option<Signal>> {
        loop {
            let mut fds = [
                PollFd::new(process, PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, Some(&timespec(idle))) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) => {
                    look()?;
                    continue;
                }
                result => result?,
            };
            let [process, signal] = fds.map(|fd| !fd.revents().is_empty());
            if process {
                return Ok(None);
            }
            if signal && let Ok(Some(info)) = self.signals.read_signal() {
                return Ok(Signal::try_from(info.ssi_signo.cast_signed()).ok());
            }
        }
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        self.let_through();
    }
}
