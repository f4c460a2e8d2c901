//! Calling libcontainer from a process of its own: it can be ended with all that it has begun when a signal comes,
//! whatever libcontainer waits for, and it can be born in the container's cgroup.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::cgroup::Own;
use crate::pidfd::open_process;
use crate::shadow_bundle::{Prepared, scratch};

/// Makes the container's cgroup, where it can be ours to manage.
pub(crate) fn own_cgroup(
    prepared: &Prepared,
    root: &Path,
    id: &str,
    systemd_cgroup: bool,
) -> Option<Own> {
    let path = prepared.cgroup.as_ref()?;
    // A hook of the runtime's namespaces must not be held to the container's limits; under systemd the
    // cgroup is its.
    if systemd_cgroup || prepared.has_early_hooks() {
        return None;
    }
    let decoy = scratch(root, "cgroup", id);
    let _ = fs::remove_dir_all(&decoy);
    Own::make(path, decoy)
}

/// Has the signals that ask this process to end wait to be read, so that what is being made ends first. Returns the
/// signals that were blocked before, too.
fn hold_back_endings() -> io::Result<(SignalFd, SigSet)> {
    let mut endings = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        endings.add(signal);
    }
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&endings), Some(&mut before))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok((SignalFd::with_flags(&endings, flags)?, before))
}

/// How long killed processes may take to end, and how long between two looks.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(2);

/// The most that is read of a report, in bytes.
const REPORT: usize = 8192;

/// Has a process do something, born in the cgroup if there is one, and leave its children to us. A signal that asks us
/// to end ends it, and them.
pub(crate) fn within(
    own: Option<&Own>,
    act: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let failed =
        |source: io::Error| Error::system("start a process to create the container", source);
    let reaper =
        |on| nix::sys::prctl::set_child_subreaper(on).map_err(|errno| failed(errno.into()));
    // The container's first process becomes our child when the one in between ends.
    reaper(true)?;
    let (signals, before) = hold_back_endings().map_err(failed)?;
    let (mut reader, mut writer) = io::pipe().map_err(failed)?;
    let between = match sys::fork_at(false, own.map(Own::handle)) {
        Ok(sys::Fork::Child) => {
            drop((reader, signals));
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
            let result = act();
            if let Err(error) = &result {
                // Who reads waits for no more than this, and what is longer than a pipe for nothing.
                let text = sys::one_line(error);
                let _ = writer.write_all(text.as_bytes().get(..REPORT).unwrap_or(text.as_bytes()));
            }
            sys::exit_at_once(i32::from(result.is_err()))
        }
        Ok(sys::Fork::Parent(pid)) => pid,
        Err(errno) => return Err(failed(errno.into())),
    };
    drop(writer);
    let attended =
        open_process(between).and_then(|process| attend(own, &process, &signals).map_err(failed));
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    if !matches!(attended, Ok(None)) {
        end(between, own);
    }
    let status = waitpid(between, None);
    reaper(false)?;
    if let Some(signal) = attended? {
        return Err(Error::Interrupted(signal.as_str()));
    }
    if status == Ok(WaitStatus::Exited(between, 0)) {
        return Ok(());
    }
    end_children();
    // Neither more nor the end is waited for: who is left of the container may hold the pipe open.
    rustix::io::ioctl_fionbio(&reader, true).map_err(|errno| failed(errno.into()))?;
    let mut report = vec![0; REPORT];
    let length = match reader.read(&mut report) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        length => length.map_err(failed)?,
    };
    if length == 0 {
        return Err(failed(io::Error::other("it ended early")));
    }
    report.truncate(length);
    Err(Error::Reported(
        String::from_utf8_lossy(&report).into_owned(),
    ))
}

/// Waits until the process in between has ended, or a signal comes. As soon as libcontainer has taken the decoy of a
/// cgroup, it is removed: on a failure it would be tried in vain, for long.
fn attend(own: Option<&Own>, process: &OwnedFd, signals: &SignalFd) -> io::Result<Option<Signal>> {
    let mut decoy = own;
    loop {
        let mut fds = vec![
            PollFd::new(process, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        let pipes = decoy.into_iter().flat_map(Own::pipes);
        fds.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            return Ok(None);
        }
        if ready.get(1) == Some(&true)
            && let Ok(Some(info)) = signals.read_signal()
        {
            return Ok(Signal::try_from(info.ssi_signo.cast_signed()).ok());
        }
        if ready.iter().skip(2).any(|ready| *ready) {
            decoy.take().into_iter().for_each(Own::remove_decoy);
        }
    }
}

/// Ends the process in between, and what it has begun.
fn end(between: Pid, own: Option<&Own>) {
    if let Some(own) = own {
        own.kill();
    }
    let _ = sys::kill(between, nix::libc::SIGKILL);
    end_children();
}

/// Kills our children until there is none: those of a process that has ended become ours.
fn end_children() {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        for child in children() {
            let _ = sys::kill(child, nix::libc::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::sleep(INTERVAL),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Our children, as proc_tid_children(5) lists them.
fn children() -> Vec<Pid> {
    let list = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let numbers = list.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.map(Pid::from_raw).collect()
}
