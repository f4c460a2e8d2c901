//! The processes that we start to make a container, or to enter one: down to the first process
//! until it becomes its program.
//!
//! All of them hold a pipe, through which they report. Nothing else does: hooks and programs have
//! closed it, and other children of ours never had it. So no other process is continued or killed
//! here, not even one that a hook leaves to us.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use crate::Error;
use crate::cgroup::is_frozen;
use crate::descendants::{children, children_of};
use crate::first_process::send;

/// Time after which processes that do not go on are looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// Number of looks in a row that may find a stopped process. A container could stop it again at
/// once.
const MOST_STOPS: u32 = 6;

/// Longest time that killed processes may take to end, and the time between two looks.
const PATIENCE: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(2);

/// Number of looks in a row after which no process is left. A list of the kernel's can have a process
/// that has ended since, but not yet the child that it made just before.
pub(crate) const EMPTY_LOOKS: u32 = 3;

/// The pipe.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) reader: PipeReader,
    pub(crate) writer: PipeWriter,
}

impl Report {
    pub(crate) fn new() -> Result<Self, Error> {
        let (reader, writer) = io::pipe().map_err(|source| Error::system("pipe", source))?;
        Ok(Self { reader, writer })
    }

    /// Returns the inode of the pipe.
    pub(crate) fn inode(&self) -> Result<u64, Error> {
        let status = rustix::fs::fstat(self.writer.as_fd());
        status
            .map(|status| status.st_ino)
            .map_err(|errno| Error::system("examine a pipe", errno))
    }
}

/// Whether a process holds a pipe. `None` if we may not see this.
pub(crate) fn holds(process: Pid, inode: u64) -> Option<bool> {
    let name = format!("pipe:[{inode}]");
    let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let targets = files.flatten().map(|file| fs::read_link(file.path()));
    let mut is_hidden = false;
    for target in targets {
        match target {
            Ok(target) if target.as_os_str() == name.as_str() => return Some(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => is_hidden = true,
            _ => {}
        }
    }
    (!is_hidden).then_some(false)
}

/// The processes that we start for one purpose.
#[derive(Debug)]
pub(crate) struct Workers {
    report: u64,
    /// The children that we had before: a shell may become this program while it has some.
    others: Vec<Pid>,
    stops: u32,
}

impl Workers {
    /// Must be called before the first of them is started.
    pub(crate) fn new(report: &Report) -> Result<Self, Error> {
        Ok(Self {
            report: report.inode()?,
            others: children(),
            stops: 0,
        })
    }

    /// Returns our descendants that belong to the work: our children, and the children of those that
    /// belong to it. One that we may not examine counts.
    fn all(&self) -> Vec<Pid> {
        let is_worker =
            |process: Pid| holds(process, self.report) != Some(false) || is_ending(process);
        let mut found = Vec::new();
        let mut left = self.new_children();
        while let Some(process) = left.pop() {
            if !found.contains(&process) && is_worker(process) {
                left.extend(children_of(process));
                found.push(process);
            }
        }
        found.retain(|process| state_of(*process) != Some('Z'));
        found
    }

    /// Continues those that were stopped.
    ///
    /// # Errors
    ///
    /// Fails when one of them is in a frozen cgroup, unless `may_be_frozen`, or one is found stopped
    /// again and again, also by a tracer.
    pub(crate) fn look(&mut self, may_be_frozen: bool) -> io::Result<()> {
        let mut is_any_stopped = false;
        for process in self.all() {
            if !may_be_frozen && is_frozen(process) {
                return Err(io::Error::other("its cgroup was frozen meanwhile"));
            }
            if matches!(state_of(process), Some('T' | 't')) {
                is_any_stopped = true;
                let _ = send(process, nix::libc::SIGCONT);
            }
        }
        self.stops = match is_any_stopped {
            true => self.stops + 1,
            false => 0,
        };
        if self.stops > MOST_STOPS {
            return Err(io::Error::other("it is stopped (SIGSTOP) again and again"));
        }
        Ok(())
    }

    /// Whether none of them is left: nobody will report anything any more.
    pub(crate) fn are_done(&self) -> bool {
        self.all().is_empty()
    }

    /// Returns our children, except those that we had before.
    fn new_children(&self) -> Vec<Pid> {
        let mut ours = children();
        ours.retain(|child| !self.others.contains(child));
        ours
    }

    /// Whether a process is a child of ours that we did not have before. The kernel says so: a
    /// process in the container may claim any number.
    pub(crate) fn has_child(&self, process: Pid) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !self.others.contains(&process) && waitid(Id::Pid(process), flags).is_ok()
    }

    /// Kills and collects our children, except those that we had before.
    pub(crate) fn end_children(&self) {
        for child in self.new_children() {
            let _ = send(child, nix::libc::SIGKILL);
            let _ = waitpid(child, None);
        }
    }

    /// Collects those of our children that have ended, except those that we had before.
    fn collect(&self) {
        for child in self.new_children() {
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Kills all of them, and waits until they are gone. When a process has ended, its children can
    /// become ours. While processes end, the kernel's lists of children can lack others (proc_tid_children(5)),
    /// so only several looks that find none are believed.
    pub(crate) fn end(&self) {
        let end = Instant::now() + PATIENCE;
        let mut killed = BTreeSet::new();
        let mut empty_looks = 0;
        while Instant::now() < end && empty_looks < EMPTY_LOOKS {
            let all = self.all();
            for process in &all {
                let _ = send(*process, nix::libc::SIGKILL);
                killed.insert(process.as_raw());
            }
            // One that has ended may still be the child of another one that ends.
            killed.retain(|process| state_of(Pid::from_raw(*process)).is_some());
            self.collect();
            empty_looks = match all.is_empty() && killed.is_empty() {
                true => empty_looks + 1,
                false => 0,
            };
            std::thread::sleep(INTERVAL);
        }
    }
}

/// Whether a process has begun to end: it has no program any more, and no descriptors either.
fn is_ending(process: Pid) -> bool {
    let program = fs::read_link(format!("/proc/{process}/exe"));
    program.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns the state of a process: `T` is stopped by a signal, `t` by a tracer, `Z` has ended
/// (proc_pid_stat(5)).
fn state_of(process: Pid) -> Option<char> {
    let stat = sys::ProcessStat::of(process.as_raw().cast_unsigned());
    stat.ok().map(|stat| stat.state)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_new_child_is_believed_to_be_one() {
        let mut other = Command::new("sleep").arg("100").spawn().unwrap();
        let report = Report::new().unwrap();
        let workers = Workers::new(&report).unwrap();
        let mut new = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = |child: &std::process::Child| Pid::from_raw(child.id().cast_signed());
        assert!(workers.has_child(pid(&new)));
        for stranger in [
            pid(&other),
            Pid::parent(),
            Pid::from_raw(0),
            Pid::from_raw(-1),
        ] {
            assert!(!workers.has_child(stranger), "{stranger}");
        }
        for child in [&mut other, &mut new] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn only_a_process_that_holds_the_pipe_belongs() {
        let mut other = Command::new("sleep").arg("100").spawn().unwrap();
        let report = Report::new().unwrap();
        let workers = Workers::new(&report).unwrap();
        let mut hook = Command::new("sleep").arg("100").spawn().unwrap();
        assert_eq!(holds(Pid::this(), workers.report), Some(true));
        workers.end();
        for child in [&mut other, &mut hook] {
            assert_eq!(child.try_wait().unwrap(), None);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
