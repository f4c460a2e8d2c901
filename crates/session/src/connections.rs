//! The connections of a monitor to its callers: many at once, and none that delays the others.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::caller::{self, Accepted, Caller};
use crate::name::Open;
use crate::protocol::{self, Command, PATIENCE};

/// Largest number of callers that may be silent at once; more wait in the socket's queue.
const MOST: usize = 128;

/// Number of callers that are accepted before the accepted ones are served: others may call without
/// end.
const AT_ONCE: usize = 32;

/// Time that a silent caller keeps its place when all places are taken.
const A_TURN: Duration = Duration::from_millis(100);

/// The reason why no further member can be accepted.
pub(crate) const NO_DESCRIPTORS: &str =
    "its monitor has reached its limit of open files; raise `ulimit -n`";

/// A listening socket, and the callers whose command is yet to come.
pub(crate) struct Connections {
    open: Option<Open>,
    pending: Vec<Caller>,
    /// Closed for a moment when there is no other descriptor to answer a caller with.
    spare: Option<File>,
}

impl Connections {
    pub(crate) fn new(open: Option<Open>) -> Self {
        Self {
            open,
            pending: Vec::new(),
            spare: File::open("/dev/null").ok(),
        }
    }

    /// Gives the name up. Callers whose command is yet to come see that nobody is there.
    pub(crate) fn close(&mut self) {
        self.open = None;
        self.pending.clear();
    }

    /// Returns the number of callers whose command is yet to come.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the descriptors to wait for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let listener = self.open.iter().map(|open| &open.listener);
        let listener = listener.filter(|_| self.pending.len() < MOST);
        listener.chain(self.pending.iter().map(|caller| &caller.socket))
    }

    /// Returns when the first silent caller is given up.
    pub(crate) fn next(&self) -> Option<Instant> {
        let first = self.pending.iter().map(Caller::since).min()?;
        let patience = if self.pending.len() < MOST {
            PATIENCE
        } else {
            A_TURN
        };
        Some(first + patience)
    }

    /// Waits until a caller comes or sends something, a silent caller has to be given up, or `end`
    /// is reached.
    pub(crate) fn wait(&self, end: Instant) {
        let next = self.next().map_or(end, |next| next.min(end));
        let limit = next.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(limit).ok();
        let mut fds: Vec<_> = { self.descriptors() }
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let _ = poll(&mut fds, limit.as_ref());
    }

    /// Accepts some of the callers that have come, and returns those that have sent their command.
    pub(crate) fn receive(&mut self) -> Vec<(Caller, Command)> {
        let Some(Open { listener, secret }) = &self.open else {
            return Vec::new();
        };
        for _ in 0..AT_ONCE {
            if self.pending.len() >= MOST {
                break;
            }
            match caller::accept(listener) {
                Accepted::Caller(caller) => self.pending.push(caller),
                Accepted::Stranger => {}
                Accepted::Nobody => break,
                Accepted::Waiting => {
                    self.spare = None;
                    caller::turn_away(listener, secret, NO_DESCRIPTORS);
                    self.spare = File::open("/dev/null").ok();
                    break;
                }
            }
        }
        let mut heard = Vec::new();
        let mut fds: Vec<_> = { self.pending.iter() }
            .map(|caller| PollFd::new(&caller.socket, PollFlags::IN))
            .collect();
        let _ = poll(&mut fds, Some(&Timespec::default()));
        let speak: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (mut caller, speaks) in std::mem::take(&mut self.pending).into_iter().zip(speak) {
            if !speaks && caller.since().elapsed() <= PATIENCE {
                self.pending.push(caller);
                continue;
            }
            match caller.command(secret) {
                None => self.pending.push(caller),
                Some(Ok(command)) => heard.push((caller, command)),
                Some(Err(())) => {}
            }
        }
        // All of these are silent, and others wait.
        if self.pending.len() >= MOST {
            self.pending
                .retain(|caller| caller.since().elapsed() < A_TURN);
        }
        heard
    }
}

/// Time that a refusing rank waits for one more caller if it does not know how many there are.
const FAREWELL: Duration = Duration::from_millis(500);

/// Longest time that a rank informs the others. The last rank of a busy machine may start that much
/// later than the first.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);

/// Tells the callers at `open` that there must be no session.
pub(crate) fn refuse(open: Option<Open>, others: Option<u32>) {
    if open.is_none() {
        return;
    }
    let mut connections = Connections::new(open);
    let mut told = Vec::new();
    let mut left = others.unwrap_or(u32::MAX);
    let last = Instant::now() + LONGEST_FAREWELL;
    let mut end = others.map_or_else(|| Instant::now() + FAREWELL, |_| last);
    while left > 0 && Instant::now() < end {
        connections.wait(end);
        for (caller, command) in connections.receive() {
            protocol::send_refusal(&caller.socket, caller.token);
            if command == Command::Join {
                left = left.saturating_sub(1);
            }
            if others.is_none() {
                end = last.min(Instant::now() + FAREWELL);
            }
            told.push(caller);
        }
    }
    // The callers inspect this process before they believe it, and then hang up.
    let end = Instant::now() + FAREWELL;
    for caller in told {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let _ = poll(
            &mut [PollFd::new(&caller.socket, PollFlags::IN)],
            left.as_ref(),
        );
    }
}
