//! Calling a keeper: joining a session that is there already, in place of building another.
//!
//! The first to come has the name before it builds, so that those who come at the same time wait for it.
//!
//! A keeper greets, and says by which of its descriptors its secret can be read. A caller looks at the process that has
//! greeted, reads the secret through `/proc`, and sends it with what it wishes for: only one outside of containers can.
//! The answer repeats the caller's token, and names the keeper's descriptors of the namespaces; the caller opens them
//! through `/proc`, too. So no descriptor is ever under way, of which the kernel allows each user a number.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::handover::{self, Message, PATIENCE, Token, Wish};
use crate::name::{self, Name};
use crate::peer::{self, Listener};
use crate::process;
use crate::secret::Secret;

impl Name {
    /// Calls the keeper of that name, and waits for it until `end`, in its queue until `busy`; `None` when there is none
    /// of ours.
    ///
    /// # Errors
    ///
    /// Fails as a wait does that is over, when there may be one that has not answered.
    pub(crate) fn call(&self, wish: Wish, end: Instant, busy: Instant) -> io::Result<Option<Call>> {
        // Others may have taken any number of names: who listens is looked at before anything is waited for.
        match self.reach(wish, end, busy, true) {
            Ok(Reached::Answering(call)) => Ok(Some(call)),
            Err(error) if is_late(&error) => Err(error),
            _ => Ok(None),
        }
    }

    /// Joins the session of that name, or takes the name. A rank of a job, which is told of by `program`, waits for
    /// whoever builds the session.
    pub(crate) fn join_or_take(&self, program: Option<&str>) -> Entry {
        let patience = match program {
            Some(_) => PATIENCE_IN_JOB,
            None => PATIENCE,
        };
        let end = Instant::now() + patience;
        // Whoever has the name and does not answer is not of ours.
        let mut silence = Instant::now() + PATIENCE;
        while Instant::now() < silence.min(end) {
            let busy = end.min(Instant::now() + PATIENCE_WHILE_BUSY);
            match self.reach(Wish::Join, end, busy, false) {
                Ok(Reached::Answering(call)) => {
                    match call.welcome() {
                        Welcome::Joined(namespaces, about) => {
                            if let Some(program) = program {
                                // Not before it is known whom it goes to.
                                let _ = handover::send_introduction(&call.socket, program);
                            }
                            return Entry::Joined(namespaces, about);
                        }
                        Welcome::Refused => return Entry::Refused,
                        Welcome::Full(reason) => return Entry::Full(reason),
                        Welcome::Unproved => return Entry::Neither,
                        // It has ended, or was never finished.
                        Welcome::Ended => silence = Instant::now() + PATIENCE,
                        Welcome::Silent => {}
                    }
                }
                Ok(Reached::Others) => return Entry::Neither,
                Err(_) => {}
            }
            if let Some(listener) = self.take().and_then(name::open) {
                return Entry::Taken(listener);
            }
            // Taken meanwhile, and opened the next moment.
            std::thread::sleep(Duration::from_millis(1));
        }
        Entry::Neither
    }

    /// Connects, waiting in a full queue until `busy`, and says what is wished for.
    fn reach(&self, wish: Wish, end: Instant, busy: Instant, is_wary: bool) -> io::Result<Reached> {
        let socket = self.connect(busy)?;
        let peer = socket_peercred(&socket)?;
        if peer.uid.as_raw() != geteuid().as_raw() {
            return Ok(Reached::Others);
        }
        let listener = Listener::of(&socket, peer.pid.as_raw_nonzero().get());
        if is_wary && listener.is_stranger() {
            listener.continue_stopped();
            return Ok(Reached::Others);
        }
        Ok(match Call::begin(socket, wish, &listener, end)? {
            Some(call) => Reached::Answering(call),
            None => Reached::Others,
        })
    }
}

/// Whether a wait was over before anything came.
pub(crate) fn is_late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The process that was reached under a name.
enum Reached {
    /// A process of the same user.
    Answering(Call),
    /// Somebody else.
    Others,
}

/// A call to a keeper of ours.
#[derive(Debug)]
pub(crate) struct Call {
    socket: OwnedFd,
    end: Instant,
    keeper: i32,
    /// A handle of the keeper's process: as long as that is there, its number is no other's.
    process: OwnedFd,
    /// Its answers repeat this.
    token: Token,
}

impl Call {
    /// Waits to be greeted, and says what is wished for; `None` when that is not by a keeper of ours. While a session is
    /// built, that takes its time, for as long as `listener` is a process that may build it.
    fn begin(
        socket: OwnedFd,
        wish: Wish,
        listener: &Listener,
        end: Instant,
    ) -> io::Result<Option<Self>> {
        let mut waits = 0;
        let (message, origin) = loop {
            let patience = if waits == 0 { AT_FIRST } else { PATIENCE };
            limit(&socket, end.min(Instant::now() + patience))?;
            match handover::receive_from(&socket) {
                Err(error) if is_late(&error) => {
                    waits += 1;
                    // A payload has no business here, and would let its callers wait.
                    if listener.is_stranger() {
                        listener.continue_stopped();
                        return Ok(None);
                    }
                    if Instant::now() >= end || waits > MOST_WAITS && !listener.may_be_building() {
                        return Err(error);
                    }
                }
                received => break received?,
            }
        };
        let (Message::Hello(secret), Some(keeper)) = (message, origin.pid) else {
            return Ok(None);
        };
        let number = rustix::process::Pid::from_raw(keeper).ok_or(Errno::SRCH)?;
        // The handle first: what is found out about the number is about this process then, or it has ended.
        let process = pidfd_open(number, PidfdFlags::empty())?;
        if !peer::is_keeper(keeper) {
            let may_end = !peer::is_contained(keeper);
            return match may_end && process::ends_within(&process, A_MOMENT) {
                true => Err(Errno::SRCH.into()),
                false => Ok(None),
            };
        }
        let secret = Secret::read(&peer::open_descriptor(keeper, secret)?)?;
        let token = handover::token();
        handover::send_wish(&socket, wish, origin.token, secret, token)?;
        Ok(Some(Self {
            socket,
            end,
            keeper,
            process,
            token,
        }))
    }

    /// Waits for the next answer. It repeats what was asked after the keeper was found to be ours: what was prepared by a
    /// process that has ended since, and has its number taken by a keeper, does not.
    pub(crate) fn next(&self) -> io::Result<Message> {
        let message = self.receive()?;
        // It is looked at again, as it may have executed another program since: a payload. One that refuses may end
        // meanwhile, and can no longer be looked at for a moment before it has ended.
        self.look_again(&message)?;
        Ok(message)
    }

    fn look_again(&self, message: &Message) -> io::Result<()> {
        if self.is_keepers() {
            return Ok(());
        }
        let has_ended = process::ends_within(&self.process, A_MOMENT);
        match message {
            Message::Failed(_) | Message::Full(_) if has_ended => Ok(()),
            _ if has_ended => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    fn receive(&self) -> io::Result<Message> {
        limit(&self.socket, self.end.min(Instant::now() + PATIENCE))?;
        let (message, origin) = handover::receive_from(&self.socket)?;
        match origin.pid == Some(self.keeper) && origin.token == self.token {
            true => Ok(message),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Waits for the namespaces, and opens them; returns what is said of the session, too.
    pub(crate) fn namespaces(&self) -> io::Result<Result<(Vec<OwnedFd>, String), Refusal>> {
        // Whatever is opened is the keeper's, if that is there afterwards.
        let message = self.receive()?;
        let opened = match &message {
            Message::Ready { namespaces, .. } => open_namespaces(self.keeper, namespaces),
            _ => Ok(Vec::new()),
        };
        self.look_again(&message)?;
        Ok(match (message, opened) {
            (Message::Ready { about, .. }, Ok(namespaces)) => Ok((namespaces, about)),
            (Message::Ready { .. }, Err(error)) => Err(Refusal::Full(sys::words(&error))),
            (Message::Failed(_), _) => Err(Refusal::Refused),
            (Message::Full(reason), _) => Err(Refusal::Full(reason)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    /// Opens a handle of a process that does not go before its keeper.
    pub(crate) fn open_process(&self, pid: i32) -> io::Result<OwnedFd> {
        let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        match self.is_keepers() {
            true => Ok(process),
            false => Err(Errno::SRCH.into()),
        }
    }

    /// Whether the process that was called is still there, and a keeper of ours.
    fn is_keepers(&self) -> bool {
        peer::is_keeper(self.keeper) && !process::has_ended(&self.process)
    }

    /// Waits for what a keeper answers to who joins.
    pub(crate) fn welcome(&self) -> Welcome {
        match self.namespaces() {
            Ok(Ok((namespaces, about))) => Welcome::Joined(namespaces, about),
            Ok(Err(Refusal::Refused)) => Welcome::Refused,
            Ok(Err(Refusal::Full(reason))) => Welcome::Full(reason),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Welcome::Unproved,
            Err(error) if is_late(&error) => Welcome::Silent,
            Err(_) => Welcome::Ended,
        }
    }
}

/// Opens the namespaces that a process of ours has open.
pub(crate) fn open_namespaces(pid: i32, numbers: &[i32]) -> io::Result<Vec<OwnedFd>> {
    let open = |number: &i32| peer::open_descriptor(pid, *number);
    numbers.iter().map(open).collect()
}

/// Why a keeper hands no namespaces out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There must be no session.
    Refused,
    /// There is no place in it, for this reason.
    Full(String),
}

/// Has the next wait on a socket end with the call.
fn limit(socket: &OwnedFd, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    Ok(set_socket_timeout(socket, Timeout::Recv, Some(left))?)
}

/// A keeper's answer to a caller that joins.
#[derive(Debug)]
pub(crate) enum Welcome {
    /// The session's namespaces, and what its first member said of it.
    Joined(Vec<OwnedFd>, String),
    /// That there must be none.
    Refused,
    /// That there is no place in it, and why.
    Full(String),
    /// Nothing: it has ended.
    Ended,
    /// Nothing yet.
    Silent,
    /// Something, and it is no keeper of ours.
    Unproved,
}

/// The outcome of asking for a name.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The namespaces of the session that has it, and what its first member said of it.
    Joined(Vec<OwnedFd>, String),
    /// The name, open: callers wait there until the session is built.
    Taken(OwnedFd),
    /// Nothing: who has it says that there must be no session.
    Refused,
    /// Nothing: there is no place in the session, for this reason.
    Full(String),
    /// Nothing: it is somebody else's, or nobody answers there.
    Neither,
}

/// How long one stands in a full queue, which may be a stranger's.
const PATIENCE_WHILE_BUSY: Duration = Duration::from_secs(4);

/// How long a process may take to end that is about to.
const A_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// How long one waits to be greeted before one looks at who is to do it.
const AT_FIRST: Duration = Duration::from_millis(50);

/// How often a keeper is waited for that has built its session, and greets nobody.
const MOST_WAITS: u32 = 4;

/// How long a job's rank waits for the session that another builds: without it, it could not work with
/// the others. An image that must be extracted takes its time.
const PATIENCE_IN_JOB: Duration = Duration::from_secs(600);
