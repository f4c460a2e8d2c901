//! Telling the user how members of a session fare, when nobody of ours stands beside them.

use std::fmt::Debug;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process;
use crate::protocol::{self, Introduction};

/// Says what a user should know of a session's members. It is asked by the process that keeps the session, long after
/// the caller has become the payload.
pub trait Observer: Debug {
    /// The first member's program.
    fn program(&self) -> &str;

    /// Of one that has ended, by its program and its wait status ([wait(2)]): a line.
    ///
    /// [wait(2)]: https://man7.org/linux/man-pages/man2/wait.2.html
    fn ended(&self, program: &str, status: i32) -> Option<String>;

    /// Whether it has something to say of those that run.
    fn looks(&self) -> bool;

    /// Of one that runs, by its process id: a line.
    fn running(&self, process: i32) -> Option<String>;
}

/// When the members that run are looked at, after the first has come: soon, and once slow ones have come to it.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(1500),
    Duration::from_secs(6),
    Duration::from_secs(30),
];

/// What a pipe that takes anything takes whole, in bytes (pipe(7)).
const PIPE_BUF: usize = 4096;

/// How many of the processes inside are looked at.
const MOST: usize = 64;

/// A member of a session.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) process: OwnedFd,
    introduction: State,
}

/// What is known of a member.
#[derive(Debug)]
enum State {
    /// No more than its process.
    Unknown,
    /// More is to come.
    Awaited(OwnedFd),
    /// Its program, and its standard error. Who reads that has its end with the member's.
    Known(Introduction),
}

impl Member {
    /// A member of which nothing is told.
    pub(crate) fn unknown(process: OwnedFd) -> Self {
        let introduction = State::Unknown;
        Self {
            process,
            introduction,
        }
    }

    /// A member that introduces itself on a socket, soon.
    pub(crate) fn awaited(process: OwnedFd, socket: OwnedFd) -> Self {
        let introduction = State::Awaited(socket);
        Self {
            process,
            introduction,
        }
    }

    /// A member that has introduced itself.
    pub(crate) fn known(process: OwnedFd, introduction: Introduction) -> Self {
        let introduction = State::Known(introduction);
        Self {
            process,
            introduction,
        }
    }

    /// Hears the introduction, if it has come.
    pub(crate) fn receive(&mut self) {
        if let State::Awaited(socket) = &self.introduction {
            self.introduction = match protocol::receive_introduction(socket, false) {
                Ok(introduction) => State::Known(introduction),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => State::Unknown,
            };
        }
    }

    fn introduction(&self) -> Option<&Introduction> {
        match &self.introduction {
            State::Known(introduction) => Some(introduction),
            State::Unknown | State::Awaited(_) => None,
        }
    }

    /// Returns how it ended: from the kernel's handle, or of one that nobody has collected from `/proc`.
    fn status(&self) -> Option<i32> {
        sys::exit_status(self.process.as_fd()).or_else(|| {
            let pid = process::pid(&self.process)?;
            let stat = sys::ProcessStat::of(pid.cast_unsigned()).ok()?;
            (stat.state == 'Z').then_some(stat.exit_status)
        })
    }

    /// Writes to its standard error, if that takes it at once: who reads there may have stopped, and the others wait.
    fn tell(&self, line: &str) {
        let stderr = { self.introduction() }.map(|member| &member.stderr);
        let Some(stderr) = stderr.and_then(|stderr| stderr.try_clone().ok()) else {
            return;
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let takes = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&now));
        if matches!(takes, Ok(1..)) {
            let line = line.as_bytes();
            let _ = fs::File::from(stderr).write(line.get(..PIPE_BUF).unwrap_or(line));
        }
    }
}

/// What a monitor asks its observer, and when.
pub(crate) struct Reporter<'a> {
    observer: Option<&'a dyn Observer>,
    begin: Instant,
    looks: usize,
    told: Vec<String>,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(observer: Option<&'a dyn Observer>) -> Self {
        Self {
            observer,
            begin: Instant::now(),
            looks: 0,
            told: Vec::new(),
        }
    }

    /// Whether anything is asked.
    pub(crate) fn is_wanted(&self) -> bool {
        self.observer.is_some()
    }

    /// When to look at those that run.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.observer.filter(|observer| observer.looks())?;
        LOOKS.get(self.looks).map(|after| self.begin + *after)
    }

    /// Tells of a member that has ended.
    pub(crate) fn of_end(&mut self, member: &Member) {
        let (Some(observer), Some(told)) = (self.observer, member.introduction()) else {
            return;
        };
        let status = member.status();
        let line = status.and_then(|status| observer.ended(&told.program, status));
        self.tell(member, line);
    }

    /// Tells of the processes inside, if it is time to look; `processes` finds them.
    pub(crate) fn of_running(&mut self, members: &[Member], processes: impl FnOnce() -> Vec<i32>) {
        let due = self.next().is_some_and(|next| Instant::now() >= next);
        let (Some(observer), Some(member), true) = (self.observer, members.first(), due) else {
            return;
        };
        self.looks += 1;
        let mut processes = processes().into_iter().take(MOST);
        let line = processes.find_map(|process| observer.running(process));
        if line.is_some() {
            self.looks = LOOKS.len();
        }
        self.tell(member, line);
    }

    /// What is true of one rank is told once.
    fn tell(&mut self, member: &Member, line: Option<String>) {
        if let Some(line) = line.filter(|line| !self.told.contains(line)) {
            member.tell(&line);
            self.told.push(line);
        }
    }
}
