//! The process that makes a container, and the processes that it has started for this.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cgroup::{INTERVAL, deadline};
use crate::first_process::{PATIENCE, is_alive, send};
use crate::workers::{EMPTY_LOOKS, Report, holds};

/// The process that makes a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maker {
    pid: i32,
    /// The time of the claim, in clock ticks since the machine started. A later process with the
    /// same id starts after it. Earlier versions recorded the start time of the process, which serves
    /// as well.
    #[serde(alias = "started")]
    claimed: u64,
    /// The inode of the PID namespace in which the id is valid.
    namespace: u64,
    /// The device and inode of its program. Its workers have the same one.
    program: Program,
    /// The inode of the [`Report`], if there is one.
    report: Option<u64>,
}

/// A program file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    device: u64,
    inode: u64,
}

impl Program {
    fn of(process: i32) -> io::Result<Self> {
        let status = fs::metadata(format!("/proc/{process}/exe"))?;
        Ok(Self {
            device: status.dev(),
            inode: status.ino(),
        })
    }
}

fn own_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// Returns the time since the machine started in clock ticks, of which a second has 100 in every
/// file of the kernel (`USER_HZ`), as the start time in proc_pid_stat(5).
fn now() -> u64 {
    const TICK: i64 = 1_000_000_000 / 100;
    let now = clock_gettime(ClockId::Boottime);
    let ticks = now.tv_sec * 100 + now.tv_nsec / TICK;
    ticks.cast_unsigned()
}

impl Maker {
    /// Describes the calling process.
    pub(crate) fn this(report: Option<&Report>) -> Result<Self, Error> {
        let failed = |source| Error::system("examine this process", source);
        let pid = std::process::id().cast_signed();
        Ok(Self {
            pid,
            claimed: now(),
            namespace: own_namespace().map_err(failed)?,
            program: Program::of(pid).map_err(failed)?,
            report: report.map(Report::inode).transpose()?,
        })
    }

    /// Whether the process is of another PID namespace, so that we cannot know whether it is alive.
    pub(super) fn is_elsewhere(&self) -> bool {
        own_namespace().is_ok_and(|own| own != self.namespace)
    }

    /// Whether the process is still there.
    pub(super) fn is_alive(&self) -> bool {
        let stat = sys::ProcessStat::of(self.pid.cast_unsigned());
        !self.is_elsewhere()
            && stat.is_ok_and(|stat| stat.started <= self.claimed)
            && is_alive(Pid::from_raw(self.pid))
    }

    /// Ends the process. It removes all that it has made when it is asked to end; if it does not
    /// end soon, it is killed.
    ///
    /// # Errors
    ///
    /// Fails when it does not end even then: it may be frozen.
    pub(super) fn end(&self) -> Result<(), Error> {
        for signal in [nix::libc::SIGTERM, nix::libc::SIGKILL] {
            let end = Instant::now() + PATIENCE / 2;
            if self.is_alive() {
                let _ = send(Pid::from_raw(self.pid), signal);
            }
            while self.is_alive() && Instant::now() < end {
                std::thread::sleep(INTERVAL);
            }
        }
        match self.is_alive() {
            true => Err(Error::system(
                "end the process that makes the container",
                io::ErrorKind::TimedOut,
            )),
            false => Ok(()),
        }
    }

    /// Kills the processes that a killed maker has left, until none is there.
    pub(super) fn end_orphans(&self) -> Result<(), Error> {
        let end = deadline();
        let mut empty_looks = 0;
        loop {
            let orphans = self.orphans();
            empty_looks = match orphans.is_empty() {
                true => empty_looks + 1,
                false => 0,
            };
            if empty_looks == EMPTY_LOOKS {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::system(
                    "kill the processes of an interrupted creation",
                    io::ErrorKind::TimedOut,
                ));
            }
            for orphan in orphans {
                let _ = send(orphan, nix::libc::SIGKILL);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Returns the workers that a killed maker has left: younger processes of its program that hold
    /// its pipe. Anybody who may look into one of them can take the pipe, and give it to a process
    /// of another program. Processes that we may not examine are left out.
    fn orphans(&self) -> Vec<Pid> {
        let Some(report) = self.report else {
            return Vec::new();
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let is_orphan = |pid: &i32| {
            let stat = sys::ProcessStat::of(pid.cast_unsigned());
            stat.is_ok_and(|stat| stat.started >= self.claimed)
                && Program::of(*pid).is_ok_and(|program| program == self.program)
                && holds(Pid::from_raw(*pid), report) == Some(true)
        };
        numbers.filter(is_orphan).map(Pid::from_raw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_holds_the_pipe_is_found() {
        let report = Report::new().unwrap();
        let maker = Maker::this(Some(&report)).unwrap();
        assert!(maker.is_alive());
        // This process is older than its claim.
        let orphaned = Maker {
            claimed: 0,
            ..maker.clone()
        };
        assert_eq!(orphaned.orphans(), [Pid::this()]);
        drop(report);
        assert_eq!(orphaned.orphans(), []);
        let elsewhere = Maker {
            namespace: 1,
            ..maker.clone()
        };
        assert!(elsewhere.is_elsewhere() && !elsewhere.is_alive());
        let earlier = Maker {
            claimed: 0,
            ..maker
        };
        assert!(!earlier.is_alive(), "another process of the same id");
    }
}
