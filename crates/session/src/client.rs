//! Asking for a session, and going in.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use image::RootFs;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::call::{Entry, open_namespaces};
use crate::name::{self, Name};
use crate::protocol::{self, Message};
use crate::stopped::Watch;
use crate::{Error, SessionSpec, Shared, builder, connections, process};

/// The way into a finished session: its namespaces, in the order in which they are to be entered.
#[derive(Debug)]
pub struct Namespaces {
    namespaces: Vec<OwnedFd>,
}

/// What a rank gets that asks for its job's session.
#[derive(Debug)]
pub enum Lookup {
    /// The session, and what its first member said of it.
    Joined(Namespaces, String),
    /// The right to build it: the job's other ranks wait.
    First(BuildPermit),
    /// No place in it, for this reason: a container of its own is what is left.
    Full(String),
    /// Nothing: another rank found that there must be none, and has said why.
    Refused,
}

/// The right to build a session that others wait for. They go on when this is dropped.
#[derive(Debug)]
pub struct BuildPermit(Option<name::Open>);

impl BuildPermit {
    /// Tells the job's other ranks that there must be no session; `others` is how many there are on this
    /// machine, as far as known.
    pub fn refuse(self, others: Option<u32>) {
        connections::refuse(self.0, others);
    }
}

/// Asks for the session that a job's ranks share on this machine: those who ask for the same image in the
/// same words. Waits while another rank builds it. `program` is what the rank is told of by, and `began` a time when
/// this process ran already: it sees the image as it was then, or later.
///
/// A name that is no [job's](crate::Shared::is_job) has none, and whoever asks builds their own.
#[must_use]
pub fn lookup(job: &str, root: &RootFs, words: &str, program: &str, began: Instant) -> Lookup {
    let known = Shared::is_job(job).then(|| Name::of_job(job, root, words));
    let known = known.flatten();
    match known.map(|name| name.join_or_take(Some(program), began)) {
        Some(Entry::Joined(namespaces, about)) => {
            Lookup::Joined(Namespaces::new(namespaces), about)
        }
        Some(Entry::Taken(open)) => Lookup::First(BuildPermit(Some(open))),
        Some(Entry::Refused) => Lookup::Refused,
        Some(Entry::Full(reason)) => Lookup::Full(reason),
        Some(Entry::Neither) => {
            Lookup::Full("the process that has its name does not answer".to_owned())
        }
        None => Lookup::First(BuildPermit(None)),
    }
}

/// Builds a session, or joins one that is the same, and returns when it can be entered. `turn` is what a rank
/// got by [looking it up](lookup). `tell` is called with what the user should know meanwhile.
///
/// The calling process must be single-threaded; it may enter only once.
///
/// # Errors
///
/// Fails with the first step that failed; nothing is left behind then. An instance that is there
/// already is a failure, too.
pub fn open(
    session: &SessionSpec<'_>,
    permit: Option<BuildPermit>,
    tell: &mut dyn FnMut(&str),
) -> Result<Namespaces, Error> {
    let is_private = session.private || session.instance.is_some() || permit.is_some();
    let name = if is_private { None } else { Name::of(session) };
    let open = match name.map(|name| name.join_or_take(None, Instant::now())) {
        Some(Entry::Joined(namespaces, _)) => {
            tracing::debug!("joined a session");
            return Ok(Namespaces::new(namespaces));
        }
        Some(Entry::Taken(open)) => Some(open),
        Some(Entry::Neither | Entry::Refused | Entry::Full(_)) | None => {
            permit.and_then(|BuildPermit(open)| open)
        }
    };
    let (socket, theirs) = protocol::pair().map_err(Error::Fork)?;
    let caller = process::open(Pid::this().as_raw()).map_err(Error::Fork)?;
    // Before any process is in a container. One that joins executes its program without looking a name up.
    sys::load_no_name_service();
    // Twice forked: the payload must not find a child that it never made. Nor must a debugger of the payload stop the
    // server of its image, whose pages it asks for itself.
    match sys::fork_untraced().map_err(|errno| Error::Fork(errno.into()))? {
        sys::Fork::Parent(middle) => {
            drop((theirs, open));
            // ECHILD when the caller's SIGCHLD is ignored; then the kernel has collected it.
            while let Ok(WaitStatus::Stopped(..)) = waitpid(middle, Some(WaitPidFlag::WUNTRACED)) {
                let _ = kill(middle, Signal::SIGCONT);
            }
        }
        sys::Fork::Child => {
            drop(socket);
            match sys::fork() {
                Ok(sys::Fork::Child) => builder::run(session, theirs, caller, open),
                Ok(sys::Fork::Parent(builder)) => protocol::send_begun(&theirs, builder.as_raw()),
                // The socket ends with this process.
                Err(_) => {}
            }
            sys::exit_at_once(0);
        }
    }
    let mut watch = None::<Watch>;
    loop {
        let has_ended = watch.as_mut().is_some_and(|watch| !watch.wait(&socket));
        let was_stopped = watch.as_ref().is_some_and(Watch::was_stopped);
        let received = match has_ended {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => protocol::receive_from(&socket),
        };
        let (message, origin) = received.map_err(|error| match was_stopped {
            true => Error::Stopped,
            false => Error::Protocol(error),
        })?;
        match message {
            Message::Begun(builder) => watch = Watch::new(builder).ok(),
            Message::Failed(_) if was_stopped => return Err(Error::Stopped),
            Message::Note(text) => tell(&text),
            Message::Failed(text) | Message::Full(text) => return Err(Error::Builder(text)),
            Message::Ready {
                namespaces: numbers,
                ..
            } => {
                let builder = origin.pid.ok_or(io::ErrorKind::InvalidData);
                let namespaces = builder
                    .map_err(io::Error::from)
                    .and_then(|builder| open_namespaces(builder, &numbers))
                    .map_err(Error::OpenNamespaces)?;
                if let Some(observer) = session.observer {
                    let _ = protocol::send_introduction(&socket, observer.program());
                }
                return Ok(Namespaces::new(namespaces));
            }
            Message::Hello(_) | Message::Session { .. } => {
                return Err(Error::Protocol(std::io::ErrorKind::InvalidData.into()));
            }
        }
    }
}

impl Namespaces {
    pub(crate) fn new(namespaces: Vec<OwnedFd>) -> Self {
        Self { namespaces }
    }

    /// Moves the calling process into the session ([setns(2)]): its root is the container's, its
    /// capabilities those of the session's user namespace, if it has one. Where the session has
    /// process ids of its own, only children of the caller have such; see
    /// [`enter_by_child`](Namespaces::enter_by_child).
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses, as it does in a process with threads.
    ///
    /// [setns(2)]: https://man7.org/linux/man-pages/man2/setns.2.html
    pub fn enter(self) -> Result<(), Error> {
        // From here on the payloads inside are of the same user namespace: they must not look into this process, whose
        // memory and files are the caller's. The program is not affected: it is looked at anew by its exec.
        let _ = nix::sys::prctl::set_dumpable(false);
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty()).map_err(|errno| Error::Enter(errno.into()))?;
        }
        Ok(())
    }
}
