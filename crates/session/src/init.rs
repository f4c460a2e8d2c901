//! The first process of an instance: starts its program, collects what ends, passes signals on.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::instance::Start;

/// How often an instance that is to end looks whether anybody is left.
const LOOK: Duration = Duration::from_millis(10);

/// Stays until a signal has ended all others in the pid namespace. All signals must be blocked: the
/// kernel drops what a first process neither blocks nor handles (pid_namespaces(7)).
pub(crate) fn run(start: &Start) {
    let program = match sys::fork() {
        Ok(sys::Fork::Child) => {
            let _ = setsid();
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
            (start.0)();
            sys::exit_at_once(255)
        }
        Ok(sys::Fork::Parent(pid)) => pid,
        Err(_) => return,
    };
    let _ = nix::sys::prctl::set_name(c"front: instance");
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), flags) else {
        return;
    };
    let mut ending = false;
    loop {
        let limit = Timespec::try_from(LOOK).ok().filter(|_| ending);
        let mut fds = [PollFd::new(&signals, PollFlags::IN)];
        let _ = poll(&mut fds, limit.as_ref());
        while let Ok(Some(info)) = signals.read_signal() {
            // Those about children are collected below; the kernel's own are about ourselves.
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD | Signal::SIGURG | Signal::SIGPIPE) | Err(_) => {}
                Ok(signal) => {
                    pass_on(program, signal);
                    ending |= ends(signal);
                }
            }
        }
        collect();
        if ending && is_alone() {
            return;
        }
    }
}

/// Tells the program's process group; once that is gone, everybody who is left.
fn pass_on(program: Pid, signal: Signal) {
    if killpg(program, signal) == Err(Errno::ESRCH) {
        let _ = kill(Pid::from_raw(-1), signal);
    }
}

/// Whether a signal asks an instance to end, once it has ended what runs in it.
fn ends(signal: Signal) -> bool {
    use Signal::{SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    [SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&signal)
}

fn collect() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Whether nobody else is left in the pid namespace (kill(2) with -1).
fn is_alone() -> bool {
    kill(Pid::from_raw(-1), None) == Err(Errno::ESRCH)
}
