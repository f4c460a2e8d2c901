//! Where a keeper hears its callers: many at once, and none that keeps the others waiting.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::caller::{self, Admitted, Caller};
use crate::handover::{self, PATIENCE, Token, Wish};

/// How many callers may be silent at once; more wait in the socket's queue.
const MOST: usize = 128;

/// How many callers are let in before those are heard that were: others may call without end.
const AT_ONCE: usize = 32;

/// How long a silent caller has its place to itself when there is no other.
const A_TURN: Duration = Duration::from_millis(100);

/// Why one more cannot be let in.
pub(crate) const NO_DESCRIPTORS: &str =
    "its keeper may not have more files open; raise `ulimit -n`";

/// A listening socket, and those who have called and not said yet what they wish for.
pub(crate) struct Reception {
    listener: Option<OwnedFd>,
    pending: Vec<Caller>,
    secret: Option<Secret>,
    /// Given up for a moment when there is no other descriptor to answer a caller with.
    spare: Option<File>,
}

/// What a caller must know, and can only read who may look into this process: none that is in a container.
#[derive(Debug)]
pub(crate) struct Secret {
    /// Has the word.
    file: File,
    /// Nobody can foresee it.
    pub(crate) word: Token,
}

impl Secret {
    fn new() -> io::Result<Self> {
        let word = handover::token();
        let mut file = File::from(memfd_create("front", MemfdFlags::CLOEXEC)?);
        file.write_all(&word.to_ne_bytes())?;
        Ok(Self { file, word })
    }

    /// By which of this process's descriptors it can be read.
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Reads it, through a descriptor of one's own.
    pub(crate) fn read(file: &OwnedFd) -> io::Result<Token> {
        let mut word = Token::default().to_ne_bytes();
        match rustix::io::pread(file, &mut word[..], 0)? == word.len() {
            true => Ok(Token::from_ne_bytes(word)),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Reception {
    pub(crate) fn new(listener: Option<OwnedFd>) -> Self {
        Self {
            // Without it nobody is let in.
            secret: listener.as_ref().and_then(|_| Secret::new().ok()),
            listener,
            pending: Vec::new(),
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
        let patience = if self.pending.len() < MOST {
            PATIENCE
        } else {
            A_TURN
        };
        Some(first + patience)
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

    /// Greets some of those who have come, and returns those who have said what they wish for.
    pub(crate) fn hear(&mut self) -> Vec<(Caller, Wish)> {
        let Some(secret) = &self.secret else {
            return Vec::new();
        };
        for _ in 0..AT_ONCE {
            let Some(listener) = self.listener.as_ref().filter(|_| self.pending.len() < MOST)
            else {
                break;
            };
            match caller::admit(listener, secret) {
                Admitted::Caller(caller) => self.pending.push(caller),
                Admitted::Stranger => {}
                Admitted::Nobody => break,
                Admitted::Waiting => {
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
            match caller.wish(secret) {
                None => self.pending.push(caller),
                Some(Ok(wish)) => heard.push((caller, wish)),
                Some(Err(())) => {}
            }
        }
        // Those are all silent, and others wait.
        if self.pending.len() >= MOST {
            self.pending
                .retain(|caller| caller.since().elapsed() < A_TURN);
        }
        heard
    }
}
