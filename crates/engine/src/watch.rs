//! Waiting for events of a container.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::pidfd::{open_process, timespec};
use crate::{Container, Error, cgroup};

/// An event of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing happened in the given time.
    Quiet,
    /// A process was killed for lack of memory.
    OutOfMemory,
    /// The container has ended.
    Ended,
}

/// The source of the kernel's reports about lack of memory.
enum Memory {
    /// An eventfd of the old hierarchy, and the file that it is registered for, which stays open
    /// with it.
    Eventfd(
        OwnedFd,
        #[expect(dead_code, reason = "keeps the registration")] File,
    ),
    /// `memory.events` of the unified hierarchy, and the last number of kills in it.
    Events(File, u64),
}

/// Waits for the events of one container.
pub struct Watch {
    pidfd: OwnedFd,
    memory: Option<Memory>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Begins to watch a container.
    ///
    /// # Errors
    ///
    /// Fails when the container does not run.
    pub fn new(container: &Container) -> Result<Self, Error> {
        let pid = container
            .pid()
            .filter(|_| container.status() != crate::Status::Stopped)
            .ok_or_else(|| Error::WrongStatus("container not running".into()))?;
        Ok(Self {
            pidfd: open_process(pid)?,
            memory: cgroup::memory_directory(pid).and_then(memory),
        })
    }

    /// Waits for the next event, at most for `time`.
    ///
    /// # Errors
    ///
    /// Fails when the kernel cannot wait.
    pub fn next(&mut self, time: Duration) -> Result<Event, Error> {
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        match &self.memory {
            Some(Memory::Eventfd(fd, _)) => fds.push(PollFd::new(fd, PollFlags::IN)),
            Some(Memory::Events(file, _)) => fds.push(PollFd::new(file, PollFlags::PRI)),
            None => {}
        }
        match poll(&mut fds, Some(&timespec(time))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::system("poll", errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let ended = ready.first() == Some(&true);
        let outputs = ready.get(1) == Some(&true) && self.out_of_memory();
        Ok(match (outputs, ended) {
            (true, _) => Event::OutOfMemory,
            (false, true) => Event::Ended,
            (false, false) => Event::Quiet,
        })
    }

    fn out_of_memory(&mut self) -> bool {
        match &mut self.memory {
            Some(Memory::Eventfd(fd, _)) => {
                rustix::io::read(fd.as_fd(), &mut [0; 8]).is_ok_and(|count| count == 8)
            }
            Some(Memory::Events(file, before)) => {
                let now = kills(file);
                std::mem::replace(before, now) < now
            }
            None => false,
        }
    }
}

fn memory(directory: PathBuf) -> Option<Memory> {
    if let Ok(mut file) = File::open(directory.join("memory.events")) {
        let before = kills(&mut file);
        return Some(Memory::Events(file, before));
    }
    let control = File::open(directory.join("memory.oom_control")).ok()?;
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    fs::write(directory.join("cgroup.event_control"), line).ok()?;
    Some(Memory::Eventfd(fd, control))
}

/// Returns the number of killed processes, cgroup-v2.rst, `memory.events`.
fn kills(file: &mut File) -> u64 {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.lines()
        .filter(|_| read.is_ok())
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}
