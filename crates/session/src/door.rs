//! Asking for a session, and going in.

use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;

use crate::handover::{self, Message};
use crate::share::{Name, Wish};
use crate::{Error, Ground, builder};

/// The way into a finished session: its namespaces, in the order in which they are to be entered.
#[derive(Debug)]
pub struct Door(Vec<OwnedFd>);

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
    let name = match ground.instance {
        Some(instance) => Name::instance(&instance.name),
        // Processes of its own end with the one that asks for them.
        None if ground.private || ground.has_own_processes() => None,
        None => Name::of(ground),
    };
    let shared = name.as_ref().filter(|_| ground.instance.is_none());
    if let Some(door) = shared.and_then(join) {
        tracing::debug!("joined a session");
        return Ok(door);
    }
    let (socket, theirs) = handover::pair().map_err(Error::Fork)?;
    let caller = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .map_err(|errno| Error::Fork(errno.into()))?;
    // Twice forked: the payload must not find a child that it never made.
    match sys::fork().map_err(|errno| Error::Fork(errno.into()))? {
        sys::Fork::Parent(middle) => {
            drop(theirs);
            // ECHILD when the caller's SIGCHLD is ignored; then the kernel has collected it.
            let _ = waitpid(middle, None);
        }
        sys::Fork::Child => {
            drop(socket);
            if let Ok(sys::Fork::Child) = sys::fork() {
                builder::run(ground, theirs, caller, name.as_ref());
            }
            sys::exit_at_once(0);
        }
    }
    loop {
        match handover::receive(&socket).map_err(Error::Handover)? {
            Message::Note(text) => tell(&text),
            Message::Failed(text) => return Err(Error::Builder(text)),
            Message::Ready(namespaces) => return Ok(Door(namespaces)),
            Message::Instance { .. } => {
                return Err(Error::Handover(std::io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

/// Joins the session of that name, if there is one. One that ends this very moment is none.
fn join(name: &Name) -> Option<Door> {
    let socket = name.call(Wish::Join)?;
    match handover::receive(&socket) {
        Ok(Message::Ready(namespaces)) => Some(Door(namespaces)),
        _ => None,
    }
}

impl Door {
    pub(crate) fn new(namespaces: Vec<OwnedFd>) -> Self {
        Self(namespaces)
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
        for namespace in &self.0 {
            setns(namespace, CloneFlags::empty()).map_err(|errno| Error::Enter(errno.into()))?;
        }
        Ok(())
    }
}
