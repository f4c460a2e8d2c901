//! Processes of ours that somebody has stopped. A payload that is not apart from the host's processes may signal those
//! of its user, and SIGSTOP cannot be blocked: nobody must wait for one that is stopped.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sys::ProcessStat;

use crate::process;

/// How long is waited for word of a process before it is looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How deep below a builder its processes are.
const DEPTH: u32 = 4;

/// Has a handle's process go on if it is stopped; returns whether it was.
pub(crate) fn continue_stopped(process: &OwnedFd) -> bool {
    let is_stopped = is_stopped(process);
    if is_stopped {
        let _ = pidfd_send_signal(process, Signal::CONT);
    }
    is_stopped
}

fn is_stopped(process: &OwnedFd) -> bool {
    process::pid(process).is_some_and(|pid| has_stopped(pid.cast_unsigned()))
}

fn has_stopped(pid: u32) -> bool {
    ProcessStat::of(pid).is_ok_and(|stat| stat.state == 'T')
}

/// Looks at a builder and the processes below it each time that it was silent for a while.
#[derive(Debug)]
pub(crate) struct Watch {
    builder: u32,
    /// Those that were stopped at the last look.
    stopped: Vec<u32>,
}

impl Watch {
    pub(crate) fn new(builder: u32) -> Self {
        Self {
            builder,
            stopped: Vec::new(),
        }
    }

    /// Ends the processes that were stopped at the last look and are now; returns whether there was one. Whoever is
    /// stopped with us, as by a terminal, is continued with us.
    pub(crate) fn end_stopped(&mut self) -> bool {
        let mut all = Vec::new();
        below(self.builder, DEPTH, &mut all);
        all.retain(|pid| has_stopped(*pid));
        let (again, new): (Vec<u32>, Vec<u32>) =
            all.into_iter().partition(|pid| self.stopped.contains(pid));
        self.stopped = new;
        for pid in &again {
            let handle = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            let handle = handle.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            // What has the number now is still the same.
            if let Some(handle) = handle.filter(is_stopped) {
                let _ = pidfd_send_signal(&handle, Signal::KILL);
            }
        }
        !again.is_empty()
    }
}

/// A process and those below it, as far as the kernel lists them (proc_pid_task(5), `children`).
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

    use super::*;

    #[test]
    fn what_is_stopped_twice_is_ended() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60; true"])
            .spawn()
            .unwrap();
        let mut watch = Watch::new(shell.id());
        let children = format!("/proc/{0}/task/{0}/children", shell.id());
        let child = loop {
            let found = fs::read_to_string(&children).unwrap();
            if let Ok(child) = found.trim().parse::<i32>() {
                break Pid::from_raw(child).unwrap();
            }
        };
        assert!(!watch.end_stopped());
        rustix::process::kill_process(child, Signal::STOP).unwrap();
        while !has_stopped(child.as_raw_nonzero().get().cast_unsigned()) {}
        // One that goes on at once is let go on.
        assert!(!watch.end_stopped());
        rustix::process::kill_process(child, Signal::CONT).unwrap();
        assert!(!watch.end_stopped());
        rustix::process::kill_process(child, Signal::STOP).unwrap();
        while !has_stopped(child.as_raw_nonzero().get().cast_unsigned()) {}
        assert!(!watch.end_stopped());
        assert!(watch.end_stopped());
        assert!(shell.wait().unwrap().success());
    }
}
