//! Processes of ours that somebody has stopped. A payload that shares the host's process ids may
//! signal the processes of its user, and SIGSTOP cannot be blocked. So no process may wait for one
//! that is stopped.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::pidfd_send_signal;
use sys::ProcessStat;

use crate::process::{self, has_ended};

/// Children of this process that are continued whenever somebody stops them. The process has
/// blocked SIGCHLD.
#[derive(Debug)]
pub(crate) struct Children {
    processes: Vec<OwnedFd>,
    changes: SignalFd,
}

impl Children {
    pub(crate) fn new(processes: Vec<OwnedFd>) -> io::Result<Self> {
        let of_children = SigSet::from(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            processes,
            changes: SignalFd::with_flags(&of_children, flags)?,
        })
    }

    /// Returns a descriptor that is readable when a child was stopped.
    pub(crate) fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Returns handles that are readable when a child has ended.
    pub(crate) fn processes(&self) -> &[OwnedFd] {
        &self.processes
    }

    /// Continues the children that are stopped.
    pub(crate) fn tend(&self) {
        while let Ok(Some(_)) = self.changes.read_signal() {}
        let stops = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
        for process in &self.processes {
            let stopped = waitid(Id::PIDFd(process.as_fd()), stops);
            if let Ok(WaitStatus::Stopped(..)) = stopped {
                let _ = pidfd_send_signal(process, rustix::process::Signal::CONT);
            }
        }
    }
}

/// Time to wait for a builder's message before its processes are inspected.
const LOOK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Greatest depth of the processes below a builder.
const DEPTH: u32 = 4;

/// A builder whose processes are inspected each time that it has been silent for a while.
#[derive(Debug)]
pub(crate) struct Watch {
    builder: OwnedFd,
    pid: u32,
    /// The processes that were stopped at the last look.
    stopped: Vec<Known>,
    /// Whether a stopped process was ended.
    was_stopped: bool,
}

/// A process, by its id and start time, because the id may be reused.
type Known = (u32, u64);

impl Watch {
    pub(crate) fn new(builder: u32) -> io::Result<Self> {
        Ok(Self {
            builder: open(builder)?,
            pid: builder,
            stopped: Vec::new(),
            was_stopped: false,
        })
    }

    /// Whether one of the builder's processes was ended because it was stopped.
    pub(crate) fn was_stopped(&self) -> bool {
        self.was_stopped
    }

    /// Waits for a message of the builder. Returns `false` once it has ended without one.
    pub(crate) fn wait(&mut self, socket: &OwnedFd) -> bool {
        loop {
            let (message, end) = {
                let mut fds = [socket, &self.builder].map(|fd| PollFd::new(fd, PollFlags::IN));
                match poll(&mut fds, Some(&LOOK)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    // The read reports the error.
                    Err(_) => return true,
                }
                let [message, end] = fds.map(|fd| !fd.revents().is_empty());
                (message, end)
            };
            if message || end {
                return message;
            }
            self.was_stopped |= self.end_stopped();
        }
    }

    /// Ends the processes that were stopped at the last look and still are. Returns whether there
    /// was one. A process that is stopped together with us, for example by a terminal, is also
    /// continued with us.
    fn end_stopped(&mut self) -> bool {
        let mut all = Vec::new();
        below(self.pid, DEPTH, &mut all);
        let stopped = all.iter().copied().filter_map(stopped_at);
        let (again, new): (Vec<Known>, Vec<Known>) =
            stopped.partition(|known| self.stopped.contains(known));
        self.stopped = new;
        if again.iter().any(|(pid, _)| *pid == self.pid) {
            // Without the builder, nobody could find its children any more, which may have been
            // stopped since.
            all.iter()
                .skip(1)
                .rev()
                .for_each(|pid| end_child(*pid, &all));
        }
        for (pid, _) in &again {
            // If another process has the id now, nothing is done.
            let handle = open(*pid);
            let is_same = stopped_at(*pid).is_some_and(|found| again.contains(&found));
            if let Ok(handle) = handle
                && is_same
                && !has_ended(&self.builder)
            {
                let _ = pidfd_send_signal(&handle, rustix::process::Signal::KILL);
            }
        }
        !again.is_empty()
    }
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    process::open(pid.cast_signed())
}

/// Ends a process that is a child of one of `parents`.
fn end_child(pid: u32, parents: &[u32]) {
    // The handle is opened first, so that what is then read under the id belongs to this process.
    if let Ok(handle) = open(pid)
        && ProcessStat::of(pid).is_ok_and(|stat| parents.contains(&stat.parent))
    {
        let _ = pidfd_send_signal(&handle, rustix::process::Signal::KILL);
    }
}

/// Returns a process if it is stopped.
fn stopped_at(pid: u32) -> Option<Known> {
    let stat = ProcessStat::of(pid).ok()?;
    (stat.state == 'T').then_some((pid, stat.started))
}

/// Lists a process and those below it, as far as the kernel lists them (proc_pid_task(5),
/// `children`).
fn below(pid: u32, depth: u32, all: &mut Vec<u32>) {
    all.push(pid);
    if depth == 0 {
        return;
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        if let Ok(child) = child.parse() {
            below(child, depth - 1, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::signal::{SigmaskHow, kill, sigprocmask};

    use super::*;

    fn until_stopped(pid: u32) {
        while stopped_at(pid).is_none() {}
    }

    fn signal(pid: u32, signal: Signal) {
        kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).unwrap();
    }

    #[test]
    fn what_is_stopped_twice_is_ended() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60; true"])
            .spawn()
            .unwrap();
        let mut watch = Watch::new(shell.id()).unwrap();
        let child = loop {
            let mut all = Vec::new();
            below(shell.id(), 1, &mut all);
            if let [_, child] = all.as_slice() {
                break *child;
            }
        };
        assert!(!watch.end_stopped());
        signal(child, Signal::SIGSTOP);
        until_stopped(child);
        // A process that is continued at once is left alone.
        assert!(!watch.end_stopped());
        signal(child, Signal::SIGCONT);
        assert!(!watch.end_stopped());
        signal(child, Signal::SIGSTOP);
        until_stopped(child);
        assert!(!watch.end_stopped());
        assert!(watch.end_stopped());
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn an_end_without_a_word_is_noticed() {
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        let mut watch = Watch::new(process.id()).unwrap();
        // The other end stays open.
        let (ours, _theirs) = crate::protocol::pair().unwrap();
        process.kill().unwrap();
        assert!(!watch.wait(&ours));
        process.wait().unwrap();
    }

    #[test]
    fn a_child_goes_on_whenever_it_is_stopped() {
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&Signal::SIGCHLD.into()), None).unwrap();
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        let child = Children::new(vec![open(process.id()).unwrap()]).unwrap();
        for _ in 0..3 {
            signal(process.id(), Signal::SIGSTOP);
            until_stopped(process.id());
            child.tend();
            assert!(stopped_at(process.id()).is_none());
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
