//! Telling the user how members of a session fare, when nobody of ours stands beside them.

use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::share;

/// Says what a user should know of a session's members. It is asked by the process that keeps the session, long after
/// the caller has become the payload.
pub trait Witness: Debug {
    /// Of one that has ended, by its wait status ([wait(2)]): a line.
    ///
    /// [wait(2)]: https://man7.org/linux/man-pages/man2/wait.2.html
    fn ended(&self, status: i32) -> Option<String>;

    /// Of one that runs, by its process id: a line.
    fn running(&self, process: i32) -> Option<String>;
}

/// When the members that run are looked at, after the first has come: soon, and once slow ones have come to it.
const LOOKS: [Duration; 3] = [
    Duration::from_millis(1500),
    Duration::from_secs(6),
    Duration::from_secs(30),
];

/// How many of the processes inside are looked at.
const MOST: usize = 64;

/// A member of a session.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) process: OwnedFd,
    /// Its standard error, which it is told of by; who reads that has its end with the member's.
    stderr: Option<OwnedFd>,
}

impl Member {
    pub(crate) fn new(process: OwnedFd, stderr: Option<OwnedFd>) -> Self {
        Self { process, stderr }
    }

    /// Returns how it ended: from the kernel's handle, or of one that nobody has collected from `/proc`, field 52
    /// of [proc_pid_stat(5)].
    ///
    /// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    fn status(&self) -> Option<i32> {
        sys::exit_status(self.process.as_fd()).or_else(|| {
            let pid = share::pid(&self.process)?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, fields) = stat.rsplit_once(')')?;
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let is_zombie = fields.first() == Some(&"Z");
            fields.get(49).filter(|_| is_zombie)?.parse().ok()
        })
    }

    fn tell(&self, line: &str) {
        if let Some(stderr) = self.stderr.as_ref().and_then(|fd| fd.try_clone().ok()) {
            let _ = fs::File::from(stderr).write_all(line.as_bytes());
        }
    }
}

/// What a keeper asks its witness, and when.
pub(crate) struct Testimony<'a> {
    witness: Option<&'a dyn Witness>,
    begin: Instant,
    looks: usize,
    told: Vec<String>,
}

impl<'a> Testimony<'a> {
    pub(crate) fn new(witness: Option<&'a dyn Witness>) -> Self {
        Self {
            witness,
            begin: Instant::now(),
            looks: 0,
            told: Vec::new(),
        }
    }

    /// Whether anything is asked.
    pub(crate) fn is_wanted(&self) -> bool {
        self.witness.is_some()
    }

    /// When to look at those that run.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.witness?;
        LOOKS.get(self.looks).map(|after| self.begin + *after)
    }

    /// Tells of a member that has ended.
    pub(crate) fn of_end(&mut self, member: &Member) {
        let Some(witness) = self.witness else { return };
        let line = member.status().and_then(|status| witness.ended(status));
        self.tell(member, line);
    }

    /// Tells of the processes inside, if it is time to look; `processes` finds them.
    pub(crate) fn of_running(&mut self, members: &[Member], processes: impl FnOnce() -> Vec<i32>) {
        let due = self.next().is_some_and(|next| Instant::now() >= next);
        let (Some(witness), Some(member), true) = (self.witness, members.first(), due) else {
            return;
        };
        self.looks += 1;
        let mut processes = processes().into_iter().take(MOST);
        let line = processes.find_map(|process| witness.running(process));
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
