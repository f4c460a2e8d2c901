//! Asking for a session, and going in.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;

use crate::handover::{self, Message};
use crate::share::{Entry, Name};
use crate::{Error, Ground, builder};

/// The way into a finished session: its namespaces, in the order in which they are to be entered.
#[derive(Debug)]
pub struct Door {
    namespaces: Vec<OwnedFd>,
    joined: bool,
}

/// Builds a session and returns when it can be entered. `tell` is called with what the user should
/// know meanwhile.
///
/// The calling process must be single-threaded; it may enter only once.
///
/// # Errors
///
/// Fails with the first step that failed; nothing is left behind then. An instance that is there
/// already is a failure, too.
pub fn open(ground: &Ground<'_>, tell: &mut dyn FnMut(&str)) -> Result<Door, Error> {
    let name = match ground.private || ground.instance.is_some() {
        true => None,
        false => Name::of(ground),
    };
    let listener = match name.map(|name| name.join_or_take(ground.job.is_some())) {
        Some(Entry::Joined(namespaces)) => {
            tracing::debug!("joined a session");
            return Ok(Door::new(namespaces));
        }
        Some(Entry::Taken(listener)) => Some(listener),
        Some(Entry::Neither) | None => None,
    };
    let (socket, theirs) = handover::pair().map_err(Error::Fork)?;
    let caller = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .map_err(|errno| Error::Fork(errno.into()))?;
    // Twice forked: the payload must not find a child that it never made.
    match sys::fork().map_err(|errno| Error::Fork(errno.into()))? {
        sys::Fork::Parent(middle) => {
            drop((theirs, listener));
            // ECHILD when the caller's SIGCHLD is ignored; then the kernel has collected it.
            let _ = waitpid(middle, None);
        }
        sys::Fork::Child => {
            drop(socket);
            if let Ok(sys::Fork::Child) = sys::fork() {
                builder::run(ground, theirs, caller, listener);
            }
            sys::exit_at_once(0);
        }
    }
    loop {
        match handover::receive(&socket).map_err(Error::Handover)? {
            Message::Note(text) => tell(&text),
            Message::Failed(text) => return Err(Error::Builder(text)),
            Message::Ready(namespaces) => {
                return Ok(Door {
                    namespaces,
                    joined: false,
                });
            }
            Message::Instance { .. } | Message::Session { .. } => {
                return Err(Error::Handover(std::io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

impl Door {
    /// The way into a session that was there.
    pub(crate) fn new(namespaces: Vec<OwnedFd>) -> Self {
        Self {
            namespaces,
            joined: true,
        }
    }

    /// Whether somebody else has built the session.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Moves the calling process into the session ([setns(2)]): its root is the container's, its
    /// capabilities those of the session's user namespace, if it has one. Where the session has
    /// process ids of its own, only children of the caller have such; see
    /// [`enter_by_child`](Door::enter_by_child).
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses, as it does in a process with threads.
    ///
    /// [setns(2)]: https://man7.org/linux/man-pages/man2/setns.2.html
    pub fn enter(self) -> Result<(), Error> {
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty()).map_err(|errno| Error::Enter(errno.into()))?;
        }
        Ok(())
    }
}
