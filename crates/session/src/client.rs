//! Looking up a session, and entering it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
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

/// The namespaces of a finished session, in the order in which they must be entered.
#[derive(Debug)]
pub struct Namespaces {
    namespaces: Vec<OwnedFd>,
}

/// The result of a rank's lookup of its job's session.
#[derive(Debug)]
pub enum Lookup {
    /// The session, and the description that its first member gave.
    Joined(Namespaces, String),
    /// The right to build the session. The job's other ranks wait.
    First(BuildPermit),
    /// The session has no room, for this reason: the rank needs a container of its own.
    Full(String),
    /// Another rank found that there must be no session, and has reported why.
    Refused,
}

/// The right to build a session that others wait for. They go on when this is dropped.
#[derive(Debug)]
pub struct BuildPermit(Option<name::Open>);

impl BuildPermit {
    /// Tells the job's other ranks that there must be no session. `others` is their number on this
    /// machine, as far as known.
    pub fn refuse(self, others: Option<u32>) {
        connections::refuse(self.0, others);
    }
}

/// Looks up the session that a job's ranks share on this machine: those that request the same image
/// with the same `words`. Waits while another rank builds it. `program` is the name under which the
/// rank is reported. `began` is a time at which this process already ran: it sees the image as it
/// was then, or later.
///
/// If `job` is not a [job's name](crate::Shared::is_job), there is no shared session, and each
/// caller builds its own.
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
            Lookup::Full("the process that holds its socket name does not answer".to_owned())
        }
        None => Lookup::First(BuildPermit(None)),
    }
}

/// Builds a session, or joins an identical one, and returns when it can be entered. `permit` is the
/// result of a rank's [lookup]. `tell` is called with messages for the user meanwhile.
///
/// The calling process must be single-threaded; it may enter only once.
///
/// # Errors
///
/// Fails at the first step that fails, and leaves nothing behind then. Also fails if the instance
/// already exists.
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
    // Before any process is in a container. A process that joins a session looks up no name before
    // it executes its program.
    sys::load_no_name_service();
    // Forks twice, so that the payload does not find a child that it never made. Untraced, so that
    // a debugger of the payload cannot stop the server of the image: the debugger itself needs the
    // image's pages.
    match sys::fork_untraced().map_err(|errno| Error::Fork(errno.into()))? {
        sys::Fork::Parent(middle) => {
            drop((theirs, open));
            // ECHILD if the caller ignores SIGCHLD; the kernel has collected the child then.
            while let Ok(WaitStatus::Stopped(..)) = waitpid(middle, Some(WaitPidFlag::WUNTRACED)) {
                let _ = kill(middle, Signal::SIGCONT);
            }
        }
        sys::Fork::Child => {
            drop(socket);
            match sys::fork() {
                Ok(sys::Fork::Child) => builder::run(session, theirs, caller, open),
                Ok(sys::Fork::Parent(builder)) => protocol::send_begun(&theirs, builder.as_raw()),
                // The caller sees the socket close when this process ends.
                Err(_) => {}
            }
            sys::exit_at_once(0);
        }
    }
    receive(session, &socket, tell)
}

/// Receives the session from its builder, with messages for the user in between.
fn receive(
    session: &SessionSpec<'_>,
    socket: &OwnedFd,
    tell: &mut dyn FnMut(&str),
) -> Result<Namespaces, Error> {
    let mut watch = None::<Watch>;
    loop {
        let has_ended = watch.as_mut().is_some_and(|watch| !watch.wait(socket));
        let was_stopped = watch.as_ref().is_some_and(Watch::was_stopped);
        let received = match has_ended {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => protocol::receive_from(socket),
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
                    let _ = protocol::send_introduction(socket, observer.program());
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
    /// Returns the namespaces' names, such as `pid:[4026531836]`.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathBuf> {
        let links = self.namespaces.iter();
        let links = links.map(|one| format!("/proc/self/fd/{}", one.as_raw_fd()));
        links.filter_map(|link| std::fs::read_link(link).ok())
    }

    pub(crate) fn new(namespaces: Vec<OwnedFd>) -> Self {
        Self { namespaces }
    }

    /// Moves the calling process into the session ([setns(2)]). Its root is then the container's,
    /// and its capabilities are those of the session's user namespace, if it has one. If the
    /// session has process ids of its own, only children of the caller get such ids; see
    /// [`enter_by_child`](Namespaces::enter_by_child).
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses, as it does in a process with threads.
    ///
    /// [setns(2)]: https://man7.org/linux/man-pages/man2/setns.2.html
    pub fn enter(self) -> Result<(), Error> {
        // From here on, the payloads inside are in the same user namespace. They must not look into
        // this process, whose memory and files are the caller's. The program is not affected,
        // because its exec decides anew.
        let _ = nix::sys::prctl::set_dumpable(false);
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty()).map_err(|errno| Error::Enter(errno.into()))?;
        }
        Ok(())
    }
}
