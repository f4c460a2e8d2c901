//! Standing in for a payload in another pid namespace, which only a child can enter.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;

/// `SI_KERNEL` of `asm-generic/siginfo.h`: what a terminal sends to its whole foreground group.
const FROM_THE_TERMINAL: i32 = 0x80;

/// Runs `payload` in a child, and is to the caller what that child is: passes signals on to it, stops
/// when it stops, ends as it ends. Returns its exit code.
///
/// The child goes when this process is killed.
///
/// # Errors
///
/// Fails when there can be no child.
pub fn in_child(payload: impl FnOnce() -> u8) -> Result<u8, Error> {
    let failed = |errno: Errno| Error::Fork(errno.into());
    let mut before = SigSet::empty();
    // Before there is a child, so that no signal is lost.
    let (all, how) = (SigSet::all(), SigmaskHow::SIG_SETMASK);
    sigprocmask(how, Some(&all), Some(&mut before)).map_err(failed)?;
    let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
    let signals = signals.map_err(failed)?;
    let child = match sys::fork().map_err(failed)? {
        sys::Fork::Child => {
            let _ = nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL));
            let _ = sigprocmask(how, Some(&before), None);
            sys::exit_at_once(i32::from(payload()))
        }
        sys::Fork::Parent(child) => child,
    };
    let status = attend(child, &signals);
    let _ = sigprocmask(how, Some(&before), None);
    if let WaitStatus::Signaled(_, signal, _) = status {
        sys::reset_signals();
        let _ = raise(signal);
        return Ok(u8::try_from(128 + signal as i32).unwrap_or(u8::MAX));
    }
    match status {
        WaitStatus::Exited(_, code) => Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        _ => Ok(u8::MAX),
    }
}

fn attend(child: Pid, signals: &SignalFd) -> WaitStatus {
    loop {
        let _ = poll(&mut [PollFd::new(&signals.as_fd(), PollFlags::IN)], None);
        while let Ok(Some(info)) = signals.read_signal() {
            let number = info.ssi_signo.cast_signed();
            if number != Signal::SIGCHLD as i32 && info.ssi_code != FROM_THE_TERMINAL {
                // One that has ended takes none; its end is seen next.
                let _ = sys::kill(child, number);
            }
        }
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        match waitpid(child, Some(flags)) {
            Ok(WaitStatus::Stopped(..)) => {
                let _ = raise(Signal::SIGSTOP);
                let _ = sys::kill(child, Signal::SIGCONT as i32);
            }
            Ok(WaitStatus::StillAlive | WaitStatus::Continued(_)) | Err(Errno::EINTR) => {}
            Ok(ended) => return ended,
            Err(_) => return WaitStatus::Exited(child, i32::from(u8::MAX)),
        }
    }
}
