//! Reports to the user how the members of a session fare, because no process of ours stands beside
//! them.

use std::fmt::Debug;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process;
use crate::protocol::{self, Introduction};

/// Composes messages about a session's members. The monitor calls it, long after the caller has
/// become the payload.
pub trait Observer: Debug {
    /// Returns the first member's program.
    fn program(&self) -> &str;

    /// Returns a line about a member that has ended, from its program and its wait status
    /// ([wait(2)]).
    ///
    /// [wait(2)]: https://man7.org/linux/man-pages/man2/wait.2.html
    fn ended(&self, program: &str, status: i32) -> Option<String>;

    /// Whether the observer has messages about running members.
    fn looks(&self) -> bool;

    /// Returns a line about a running member, from its process id.
    fn running(&self, process: i32) -> Option<String>;
}

/// The times at which running members are inspected, after the first has come: soon, and again when
/// slow ones have got that far.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(1500),
    Duration::from_secs(6),
    Duration::from_secs(30),
];

/// Number of bytes that a pipe accepts as a whole if it accepts any (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Largest number of processes inside that are inspected.
const MOST: usize = 64;

/// A member of a session.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) process: OwnedFd,
    introduction: State,
}

/// The known facts about a member.
#[derive(Debug)]
enum State {
    /// Only the process is known.
    Unknown,
    /// The introduction is yet to come, on this socket.
    Awaited(OwnedFd),
    /// The program and the standard error are known. The latter is closed when the member has
    /// ended, so that its reader sees the end.
    Known(Introduction),
}

impl Member {
    /// Returns a member without an introduction.
    pub(crate) fn unknown(process: OwnedFd) -> Self {
        let introduction = State::Unknown;
        Self {
            process,
            introduction,
        }
    }

    /// Returns a member that will soon introduce itself on a socket.
    pub(crate) fn awaited(process: OwnedFd, socket: OwnedFd) -> Self {
        let introduction = State::Awaited(socket);
        Self {
            process,
            introduction,
        }
    }

    /// Returns a member that has introduced itself.
    pub(crate) fn known(process: OwnedFd, introduction: Introduction) -> Self {
        let introduction = State::Known(introduction);
        Self {
            process,
            introduction,
        }
    }

    /// Receives the introduction, if it has come.
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

    /// Returns the member's wait status: from the kernel's handle, or from `/proc` if nobody has
    /// collected the process.
    fn status(&self) -> Option<i32> {
        sys::exit_status(self.process.as_fd()).or_else(|| {
            let pid = process::pid(&self.process)?;
            let stat = sys::ProcessStat::of(pid.cast_unsigned()).ok()?;
            (stat.state == 'Z').then_some(stat.exit_status)
        })
    }

    /// Writes to the member's standard error, if that accepts the line at once. Its reader may have
    /// stopped, and the other members wait.
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

/// Asks a monitor's observer about its members at the right times.
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

    /// Whether there is an observer.
    pub(crate) fn is_wanted(&self) -> bool {
        self.observer.is_some()
    }

    /// Returns when to inspect the running members next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.observer.filter(|observer| observer.looks())?;
        LOOKS.get(self.looks).map(|after| self.begin + *after)
    }

    /// Reports a member that has ended.
    pub(crate) fn of_end(&mut self, member: &Member) {
        let (Some(observer), Some(told)) = (self.observer, member.introduction()) else {
            return;
        };
        let status = member.status();
        let line = status.and_then(|status| observer.ended(&told.program, status));
        self.tell(member, line);
    }

    /// Reports on the processes inside, if it is time to inspect them. `processes` finds them.
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

    /// Writes a line, unless it was already written to some member.
    fn tell(&mut self, member: &Member, line: Option<String>) {
        if let Some(line) = line.filter(|line| !self.told.contains(line)) {
            member.tell(&line);
            self.told.push(line);
        }
    }
}
