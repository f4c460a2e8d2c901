//! Supervising a process in a container: its signals, its terminal, its end.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::terminal::Terminal;

/// Signals that are not passed on: those about our children and our own terminal.
const OWN: [Signal; 4] = [
    Signal::SIGCHLD,
    Signal::SIGWINCH,
    Signal::SIGURG,
    Signal::SIGPIPE,
];

/// The supervision of a process in a container: it receives the signals that are sent to us.
pub(crate) struct Supervisor {
    signals: SignalFd,
    /// The signals that were blocked before. The process gets the same mask.
    pub(crate) before: SigSet,
}

impl Supervisor {
    /// Blocks all signals. Must be called before anything is made, or a signal in between would be
    /// lost.
    pub(crate) fn begin() -> Result<Self, Error> {
        let mut before = SigSet::empty();
        sigprocmask(
            SigmaskHow::SIG_SETMASK,
            Some(&SigSet::all()),
            Some(&mut before),
        )
        .map_err(|errno| Error::system("block signals", errno))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&SigSet::all(), flags)
            .map_err(|errno| Error::system("signalfd", errno))?;
        Ok(Self { signals, before })
    }

    /// Returns a signal that asks us to end, if one has come. Drops the other signals that have.
    pub(crate) fn ending(&self) -> Option<Signal> {
        ending(&self.signals)
    }

    /// Waits for the end of a process. Returns its exit code, or 128 plus the signal's number.
    pub(crate) fn wait(
        &self,
        pid: Pid,
        pidfd: &OwnedFd,
        mut terminal: Option<Terminal>,
    ) -> Result<u8, Error> {
        wait_for_end(&self.signals, pidfd, pid, terminal.as_mut())?;
        // Our terminal is restored before anything more is printed.
        drop(terminal);
        collect(pid)
    }
}

fn ending(signals: &SignalFd) -> Option<Signal> {
    while let Ok(Some(info)) = signals.read_signal() {
        let signal = Signal::try_from(info.ssi_signo.cast_signed());
        if let Ok(signal @ (Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM)) =
            signal
        {
            return Some(signal);
        }
    }
    None
}

/// Passes on signals and the terminal's bytes until the process ends.
fn wait_for_end(
    signals: &SignalFd,
    pidfd: &OwnedFd,
    pid: Pid,
    mut terminal: Option<&mut Terminal>,
) -> Result<(), Error> {
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        let own = fds.len();
        if let Some(terminal) = &terminal {
            fds.extend(terminal.poll());
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("poll", errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if let Some(terminal) = terminal.as_deref_mut() {
            terminal.pump(ready.get(own..).unwrap_or_default());
        }
        if ready.get(1) == Some(&true) {
            forward(signals, pid, terminal.as_deref());
        }
        if ready.first() == Some(&true) {
            if let Some(terminal) = terminal {
                terminal.drain(signals.as_fd(), || ending(signals).is_some());
            }
            return Ok(());
        }
    }
}

fn forward(signals: &SignalFd, pid: Pid, terminal: Option<&Terminal>) {
    while let Ok(Some(info)) = signals.read_signal() {
        let number = info.ssi_signo.cast_signed();
        match Signal::try_from(number) {
            Ok(Signal::SIGWINCH) => {
                if let Some(terminal) = terminal {
                    terminal.resize();
                }
            }
            Ok(signal) if OWN.contains(&signal) => {}
            // A process that has ended takes no signal; its end is seen next.
            _ => drop(sys::kill(pid, number)),
        }
    }
}

/// Collects the process's status, and that of other children if we are their reaper.
fn collect(pid: Pid) -> Result<u8, Error> {
    let status = loop {
        match waitpid(pid, None) {
            Ok(status) => break status,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("wait for the container's process", errno)),
        }
    };
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
    Ok(match status {
        WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        WaitStatus::Signaled(_, signal, _) => u8::try_from(128 + signal as i32).unwrap_or(u8::MAX),
        _ => u8::MAX,
    })
}
