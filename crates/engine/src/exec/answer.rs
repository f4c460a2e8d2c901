//! The answer of the processes that enter a container.

use std::io::{ErrorKind, Read};
use std::time::Instant;

use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use crate::Error;
use crate::pidfd::timespec;
use crate::supervise::Supervisor;
use crate::workers::{LOOK, Workers};

/// The messages of the processes that enter a container: the id of the new process, and an error.
/// Each is written at once, in any order: a byte for its kind, two for its length, and its content.
///
/// A process of the container that has `CAP_SYS_PTRACE` can open the pipe and write to it, too. So a
/// message is only believed as far as it is checked, and too many of them are an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) pids: Vec<Pid>,
    pub(super) error: Option<String>,
}

impl Answer {
    pub(super) const PID: u8 = b'p';
    pub(super) const ERROR: u8 = b'e';

    /// Largest content of a message: what a pipe takes at once, pipe(7).
    const MOST: usize = 4000;

    /// Largest size of all messages: those of both processes, with an error of each.
    const LONGEST: usize = 3 * (Self::MOST + 3);

    pub(super) fn message(kind: u8, content: &[u8]) -> Vec<u8> {
        let content = content.get(..Self::MOST).unwrap_or(content);
        let length = u16::try_from(content.len()).unwrap_or_default();
        [&[kind][..], &length.to_ne_bytes(), content].concat()
    }

    fn parse(mut bytes: &[u8]) -> Self {
        let mut answer = Self::default();
        while let [kind, first, second, rest @ ..] = bytes {
            let length = usize::from(u16::from_ne_bytes([*first, *second]));
            let Some((content, rest)) = rest.split_at_checked(length) else {
                break;
            };
            match (*kind, <[u8; 4]>::try_from(content)) {
                (Self::PID, Ok(pid)) => answer.pids.push(Pid::from_raw(i32::from_ne_bytes(pid))),
                _ => answer.error = Some(String::from_utf8_lossy(content).into_owned()),
            }
            bytes = rest;
        }
        answer
    }
}

/// The processes that enter a container, and what they have answered.
pub(super) struct Entering {
    pub(super) reader: std::io::PipeReader,
    pub(super) workers: Workers,
    pub(super) may_be_frozen: bool,
    pub(super) messages: Vec<u8>,
}

impl Entering {
    /// Reads the answer. It is complete when nobody holds the pipe any more, or none of our
    /// processes does.
    ///
    /// A container can stop the processes, freeze them if it may write to its cgroup, and hold the
    /// pipe if it may look into them. So they are looked at if no answer comes. Where the caller
    /// allowed a frozen container, a signal ends the wait.
    pub(super) fn receive(&mut self, supervisor: Option<&Supervisor>) -> Result<Answer, Error> {
        let failed =
            |source: std::io::Error| Error::system("start a process in the container", source);
        let mut next_look = Instant::now() + LOOK;
        loop {
            let left = next_look.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if let Some(signal) = supervisor.and_then(Supervisor::ending) {
                    return Err(Error::Interrupted(signal.as_str()));
                }
                if self.workers.are_done() {
                    return Ok(Answer::parse(&self.messages));
                }
                self.workers.look(self.may_be_frozen).map_err(failed)?;
                next_look = Instant::now() + LOOK;
                continue;
            }
            let mut fds = [PollFd::new(&self.reader, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(failed(errno.into())),
                Ok(_) => {}
            }
            let mut part = [0; 1024];
            match self.reader.read(&mut part) {
                Ok(0) => return Ok(Answer::parse(&self.messages)),
                Ok(count) => self.messages.extend(part.iter().take(count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            if self.messages.len() > Answer::LONGEST {
                let error = "a process of the container disturbs its start";
                return Err(Error::Exec(error.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_any_order_and_perhaps_in_part() {
        let pid = Answer::message(Answer::PID, &7_i32.to_ne_bytes());
        let error = Answer::message(Answer::ERROR, b"no such file");
        let both = Answer {
            pids: vec![Pid::from_raw(7)],
            error: Some("no such file".to_owned()),
        };
        assert_eq!(Answer::parse(&[&pid[..], &error].concat()), both);
        assert_eq!(Answer::parse(&[&error[..], &pid].concat()), both);
        assert_eq!(Answer::parse(&pid[..5]), Answer::default());
        let long = Answer::message(Answer::ERROR, &[b'x'; 9000]);
        let long = Answer::parse(&long).error.unwrap();
        assert_eq!(long.len(), Answer::MOST);
    }
}
