//! A proxy for a payload in another pid namespace, which only a child can enter.

use std::fs::File;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::process::{self, detach_stdio};
use crate::{Error, Namespaces};

/// `SI_KERNEL` of `asm-generic/siginfo.h`.
const FROM_THE_KERNEL: i32 = 0x80;

/// Signals that a terminal sends to its whole foreground group, to which the payload belongs.
const OF_THE_TERMINAL: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

impl Namespaces {
    /// Runs `payload` in a child inside the session and mirrors it: passes signals on to it, stops
    /// when it stops, and ends as it ends. Returns its exit code.
    ///
    /// The child is killed when this process is killed.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses, or the session has ended.
    pub fn enter_by_child(self, payload: impl FnOnce() -> u8) -> Result<u8, Error> {
        let failed = |errno: Errno| Error::Fork(errno.into());
        let inherited = sys::Inherited::find();
        let mut before = SigSet::empty();
        // Before there is a child, so that no signal is lost.
        let (all, how) = (SigSet::all(), SigmaskHow::SIG_SETMASK);
        sigprocmask(how, Some(&all), Some(&mut before)).map_err(failed)?;
        let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let signals = signals.map_err(failed)?;
        let terminal = Terminal::open();
        let this = process::open_own().map_err(Error::Fork)?;
        // This process stays in the container's namespaces.
        sys::load_no_name_service();
        self.enter()?;
        // If the signal is ignored, a child ends without leaving its status.
        let children = sys::heed_children();
        let child = match sys::fork() {
            Ok(sys::Fork::Child) => {
                // Until the exec, the child's memory is that of a process outside.
                let _ = nix::sys::prctl::set_dumpable(false);
                if process::end_with(&this).is_err() {
                    sys::exit_at_once(1);
                }
                children.restore();
                let _ = sigprocmask(how, Some(&before), None);
                sys::exit_at_once(i32::from(payload()))
            }
            Ok(sys::Fork::Parent(child)) => child,
            // A pid namespace whose first process has ended accepts no other process
            // (pid_namespaces(7)).
            Err(Errno::ENOMEM) => return Err(Error::Ended),
            Err(errno) => return Err(failed(errno)),
        };
        // A reader of the payload's output must see its end.
        detach_stdio();
        inherited.close();
        let status = supervise(child, &signals, terminal.as_ref());
        if let Some(terminal) = terminal {
            terminal.take_back();
        }
        let _ = sigprocmask(how, Some(&before), None);
        Ok(match status {
            WaitStatus::Signaled(_, signal, _) => {
                sys::reset_signals();
                let _ = raise(signal);
                u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
            }
            WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
            _ => u8::MAX,
        })
    }
}

fn supervise(child: Pid, signals: &SignalFd, terminal: Option<&Terminal>) -> WaitStatus {
    loop {
        let _ = poll(&mut [PollFd::new(&signals.as_fd(), PollFlags::IN)], None);
        while let Ok(Some(info)) = signals.read_signal() {
            let number = info.ssi_signo.cast_signed();
            let of_the_terminal = info.ssi_code == FROM_THE_KERNEL
                && OF_THE_TERMINAL
                    .iter()
                    .any(|signal| *signal as i32 == number);
            if number != Signal::SIGCHLD as i32 && !of_the_terminal {
                // A process that has ended takes no signal; its end is seen next.
                let _ = sys::kill(child, number);
            }
        }
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        match waitpid(child, Some(flags)) {
            Ok(WaitStatus::Stopped(..)) => {
                let foreground = terminal.and_then(|terminal| tcgetpgrp(&terminal.device).ok());
                let _ = raise(Signal::SIGSTOP);
                if let (Some(terminal), Some(group)) = (terminal, foreground)
                    && tcgetpgrp(&terminal.device) == Ok(getpgrp())
                {
                    let _ = tcsetpgrp(&terminal.device, group);
                }
                let _ = sys::kill(child, Signal::SIGCONT as i32);
            }
            Ok(WaitStatus::StillAlive | WaitStatus::Continued(_)) | Err(Errno::EINTR) => {}
            Ok(ended) => return ended,
            Err(_) => return WaitStatus::Exited(child, i32::from(u8::MAX)),
        }
    }
}

/// The terminal, if this process was in its foreground. A shell inside cannot hand the terminal
/// back: the group that had it has no number inside.
struct Terminal {
    device: File,
}

impl Terminal {
    fn open() -> Option<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        (tcgetpgrp(&device) == Ok(getpgrp())).then_some(Self { device })
    }

    /// Makes our group the foreground group again. The kernel sends SIGTTOU to a background process
    /// that does this; the signal is blocked here.
    fn take_back(&self) {
        let _ = tcsetpgrp(&self.device, getpgrp());
    }
}
