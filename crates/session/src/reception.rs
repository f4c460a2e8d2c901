//! Where a keeper hears its callers: many at once, and none that keeps the others waiting.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::handover::{PATIENCE, Wish};
use crate::share::{self, Admitted, Caller};

/// How many callers may be silent at once; more wait in the socket's queue.
const MOST: usize = 128;

/// Why one more cannot be let in.
pub(crate) const NO_DESCRIPTORS: &str =
    "its keeper may not have more files open; raise `ulimit -n`";

/// A listening socket, and those who have called and not said yet what they wish for.
pub(crate) struct Reception {
    listener: Option<OwnedFd>,
    pending: Vec<Caller>,
    /// The user namespace that callers are in.
    outside: Option<(u64, u64)>,
    /// Given up for a moment when there is no other descriptor to answer a caller with.
    spare: Option<File>,
}

impl Reception {
    pub(crate) fn new(listener: Option<OwnedFd>, outside: Option<(u64, u64)>) -> Self {
        Self {
            listener,
            pending: Vec::new(),
            outside,
            spare: File::open("/dev/null").ok(),
        }
    }

    /// Gives the name up; those who have called see that there is nobody.
    pub(crate) fn close(&mut self) {
        self.listener = None;
        self.pending.clear();
    }

    /// How many have called and not said yet what they wish for.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The descriptors to wait for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let listener = self.listener.iter();
        let listener = listener.filter(|_| self.pending.len() < MOST);
        listener.chain(self.pending.iter().map(|caller| &caller.socket))
    }

    /// When the first of the silent is given up.
    pub(crate) fn next(&self) -> Option<Instant> {
        let first = self.pending.iter().map(Caller::since).min()?;
        Some(first + PATIENCE)
    }

    /// Waits until somebody comes or says something, one of the silent is to be given up, or `end`.
    pub(crate) fn wait(&self, end: Instant) {
        let next = self.next().map_or(end, |next| next.min(end));
        let limit = next.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(limit).ok();
        let mut fds: Vec<_> = { self.descriptors() }
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let _ = poll(&mut fds, limit.as_ref());
    }

    /// Greets those who have come, and returns those who have said what they wish for.
    pub(crate) fn hear(&mut self) -> Vec<(Caller, Wish)> {
        while let Some(listener) = self.listener.as_ref().filter(|_| self.pending.len() < MOST) {
            match share::admit(listener) {
                Admitted::Caller(caller) => self.pending.push(caller),
                Admitted::Stranger => {}
                Admitted::Nobody => break,
                Admitted::Waiting => {
                    self.spare = None;
                    share::turn_away(listener, NO_DESCRIPTORS);
                    self.spare = File::open("/dev/null").ok();
                    break;
                }
            }
        }
        let mut heard = Vec::new();
        for mut caller in std::mem::take(&mut self.pending) {
            match caller.wish(self.outside) {
                None => self.pending.push(caller),
                Some(Ok(wish)) => heard.push((caller, wish)),
                Some(Err(())) => {}
            }
        }
        heard
    }
}
