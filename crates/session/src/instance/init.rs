//! The first process of an instance: it starts the program, collects ended processes and passes
//! signals on.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::instance::Start;
use crate::process::{detach_stdio, ignore_signals};
use crate::protocol;

/// Interval at which an instance that is ending checks whether any process is left.
const LOOK: Duration = Duration::from_millis(10);

/// Starts the program and reports success or the reason of a failure. Stays until a signal has
/// ended all other processes in the pid namespace.
pub(crate) fn run(start: Option<&Start>, report: &OwnedFd) {
    // The open files and the memory of this process belong to the starter, not to the container.
    // The program is dumpable again by its exec.
    let _ = nix::sys::prctl::set_dumpable(false);
    // The kernel drops signals that a first process neither blocks nor handles (pid_namespaces(7)).
    ignore_signals();
    detach_stdio();
    let _ = nix::sys::prctl::set_name(c"front: instance");
    let program = match start.map(begin).transpose() {
        Ok(program) => {
            protocol::send_note(report, "");
            program
        }
        Err(reason) => return protocol::send_failure(report, &reason),
    };
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), flags) else {
        return;
    };
    // The signal that asked for the end, and whether every process has received it.
    let mut ending: Option<(Signal, bool)> = None;
    loop {
        let limit = Timespec::try_from(LOOK).ok().filter(|_| ending.is_some());
        let mut fds = [PollFd::new(&signals, PollFlags::IN)];
        let _ = poll(&mut fds, limit.as_ref());
        while let Ok(Some(info)) = signals.read_signal() {
            // Signals about children are dealt with below; the kernel's own are about this process.
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD | Signal::SIGURG | Signal::SIGPIPE) | Err(_) => {}
                Ok(signal) => {
                    let all = !tell(program, signal);
                    if ends(signal) {
                        ending = Some((signal, all));
                    }
                }
            }
        }
        collect();
        if let Some((signal, all)) = &mut ending {
            // Processes that joined get the signal once the program has ended.
            if !*all && !tell(program, None) {
                let _ = kill(EVERYBODY, *signal);
                *all = true;
            }
            if is_alone() {
                return;
            }
        }
    }
}

/// Starts the program. Returns its id, or why it could not be started.
fn begin(start: &Start) -> Result<Pid, String> {
    let failed = |error: std::io::Error| text::message(&error);
    let (mut reader, mut writer) = std::io::pipe().map_err(failed)?;
    let program = match sys::fork().map_err(|errno| failed(errno.into()))? {
        sys::Fork::Child => {
            drop(reader);
            let _ = setsid();
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
            let reason = (start.0)();
            let _ = writer.write_all(reason.as_bytes());
            sys::exit_at_once(255)
        }
        sys::Fork::Parent(pid) => pid,
    };
    drop(writer);
    // The pipe is closed by the exec, since nobody else holds it.
    let mut reason = String::new();
    let _ = reader.read_to_string(&mut reason);
    match reason.as_str() {
        "" => Ok(program),
        _ => Err(reason),
    }
}

const EVERYBODY: Pid = Pid::from_raw(-1);

/// Signals the program's process group, or every process if the group is gone. Returns whether the
/// group exists.
fn tell(program: Option<Pid>, signal: impl Into<Option<Signal>>) -> bool {
    let signal = signal.into();
    let there = program.is_some_and(|program| killpg(program, signal) != Err(Errno::ESRCH));
    if !there && let Some(signal) = signal {
        let _ = kill(EVERYBODY, signal);
    }
    there
}

/// Whether a signal asks an instance to end once it has ended the processes in it.
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

/// Whether no other process is left in the pid namespace (kill(2) with -1).
fn is_alone() -> bool {
    kill(EVERYBODY, None) == Err(Errno::ESRCH)
}
