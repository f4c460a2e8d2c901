//! Calling a monitor: joining a session that is there already, in place of building another.
//!
//! The first to come has the name before it builds, so that those who come at the same time wait for it.
//!
//! A caller reads the secret of the process that listens, through `/proc`, and sends it with what it wishes for: only one
//! outside of containers can. Where that process can not be looked into for the moment, the monitor greets, and says by
//! which of its descriptors its secret can be read. The answer repeats the caller's token, and names the monitor's
//! descriptors of the namespaces. The caller looks at the process that has answered: it is believed only if it has the
//! same secret. Its descriptors are opened through `/proc`, too, so that none is ever under way, of which the kernel
//! allows each user a number.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};

use crate::name::{self, Name};
use crate::peer::{self, Listener, Standing};
use crate::process;
use crate::protocol::{self, Command, Message, PATIENCE, Token};
use crate::secret::{self, Secret};

impl Name {
    /// Calls the monitor of that name, and waits for it until `end`, in its queue until `busy`; `None` when there is none
    /// of ours.
    ///
    /// # Errors
    ///
    /// Fails as a wait does that is over, when there may be one that has not answered.
    pub(crate) fn call(
        &self,
        command: Command,
        end: Instant,
        busy: Instant,
    ) -> io::Result<Option<Call>> {
        // Others may have taken any number of names: who listens is looked at before anything is waited for.
        match self.reach((command, Instant::now()), end, busy, true) {
            Ok(Reached::Answering(call)) => Ok(Some(call)),
            Err(error) if is_late(&error) => Err(error),
            _ => Ok(None),
        }
    }

    /// Joins the session of that name, or takes the name. A rank of a job, which is told of by `program`, waits for
    /// whoever builds the session. `began` is a time when this process ran already: the image is seen as it was then, or
    /// later.
    pub(crate) fn join_or_take(&self, program: Option<&str>, began: Instant) -> Entry {
        let patience = match program {
            Some(_) => PATIENCE_IN_JOB,
            None => PATIENCE,
        };
        let end = Instant::now() + patience;
        // Whoever has the name and does not answer is not of ours.
        let mut silence = Instant::now() + PATIENCE;
        while Instant::now() < silence.min(end) {
            let busy = end.min(Instant::now() + PATIENCE_WHILE_BUSY);
            match self.reach((Command::Join, began), end, busy, false) {
                Ok(Reached::Answering(call)) => {
                    match call.reply() {
                        Reply::Joined(namespaces, about) => {
                            if let Some(program) = program {
                                // Not before it is known whom it goes to.
                                let _ = protocol::send_introduction(&call.socket, program);
                            }
                            return Entry::Joined(namespaces, about);
                        }
                        Reply::Refused => return Entry::Refused,
                        Reply::Full(reason) => return Entry::Full(reason),
                        Reply::Unproved => return Entry::Neither,
                        // It has ended, or was never finished; a payload hangs up as often as it likes.
                        Reply::Ended if call.is_ours.get() => silence = Instant::now() + PATIENCE,
                        Reply::Ended | Reply::Silent => {}
                    }
                }
                Ok(Reached::Others) => return Entry::Neither,
                Err(_) => {}
            }
            if let Some(open) = self.take().and_then(name::open) {
                return Entry::Taken(open);
            }
            // Taken meanwhile, and opened the next moment.
            std::thread::sleep(Duration::from_millis(1));
        }
        Entry::Neither
    }

    /// Connects, waiting in a full queue until `busy`, and says what is wished for.
    fn reach(
        &self,
        command: (Command, Instant),
        end: Instant,
        busy: Instant,
        is_wary: bool,
    ) -> io::Result<Reached> {
        let socket = self.connect(busy)?;
        let peer = socket_peercred(&socket)?;
        if peer.uid.as_raw() != geteuid().as_raw() {
            return Ok(Reached::Others);
        }
        // One that is gone has nobody to answer.
        let listener = Listener::of(&socket, peer.pid.as_raw_nonzero().get())?;
        if is_wary && listener.standing() == Standing::Stranger {
            listener.continue_stopped();
            return Ok(Reached::Others);
        }
        match Call::begin(socket, command, listener, end) {
            Ok(call) => Ok(Reached::Answering(call)),
            Err(error) if is_of_others(&error) => Ok(Reached::Others),
            Err(error) => Err(error),
        }
    }
}

/// Whether a process turned out to be none of ours.
fn is_of_others(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, PermissionDenied};
    matches!(error.kind(), InvalidData | PermissionDenied)
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

/// A call to a monitor.
#[derive(Debug)]
pub(crate) struct Call {
    socket: OwnedFd,
    end: Instant,
    listener: Listener,
    /// The monitor's descriptor of its secret, and that.
    secret: (i32, Token),
    /// The answers repeat this.
    token: Token,
    /// Whether the listener was found to be one of ours, while it was waited for.
    is_ours: Cell<bool>,
}

/// The process that has answered, and was found to be a monitor of ours.
#[derive(Debug)]
pub(crate) struct Monitor {
    pid: i32,
    /// As long as it is there, its number is no other's.
    process: OwnedFd,
    /// Its user namespace, which is the session's, unless it is the caller's.
    user: Option<OwnedFd>,
}

impl Call {
    /// Says what is wished for.
    fn begin(
        socket: OwnedFd,
        (command, began): (Command, Instant),
        listener: Listener,
        end: Instant,
    ) -> io::Result<Self> {
        let secret = match Secret::read(listener.pid, secret::DESCRIPTOR) {
            // Another process may have got its number, and the secret is that one's.
            Ok(_) if process::has_ended(&listener.process) => return Err(Errno::SRCH.into()),
            Ok(word) => (secret::DESCRIPTOR, word),
            Err(_) => greeting(&socket, &listener, end)?,
        };
        let token = protocol::token()?;
        protocol::send_command(&socket, command, secret.1, token, began.elapsed())?;
        Ok(Self {
            socket,
            end,
            listener,
            secret,
            token,
            is_ours: Cell::new(false),
        })
    }

    /// Waits for the next answer of a monitor of ours.
    pub(crate) fn next(&self) -> io::Result<Message> {
        self.receive().map(|(message, _)| message)
    }

    /// As [`next`](Self::next), with the monitor. It repeats what was asked, so that it cannot have been prepared by a process
    /// that has ended since, and has its number taken by a monitor.
    fn receive(&self) -> io::Result<(Message, Monitor)> {
        let (message, origin) = wait(&self.socket, &self.listener, &self.is_ours, self.end)?;
        let pid = origin.pid.filter(|_| origin.token == self.token);
        let pid = pid.ok_or(io::ErrorKind::PermissionDenied)?;
        let is_listener = pid == self.listener.pid && !process::has_ended(&self.listener.process);
        let process = match is_listener {
            true => self.listener.process.try_clone()?,
            false => process::open(pid)?,
        };
        let has_secret =
            || Secret::read(pid, self.secret.0).is_ok_and(|word| word == self.secret.1);
        let user = match peer::look(pid) {
            Ok(user) if is_listener || has_secret() => user,
            // One that ends can no longer be looked at for a moment before it has ended.
            _ if !peer::is_contained(pid) && process::ends_within(&process, A_MOMENT) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            _ => return Err(io::ErrorKind::PermissionDenied.into()),
        };
        Ok((message, Monitor { pid, process, user }))
    }

    /// Waits for the namespaces, and opens them; returns what is said of the session, too, and who keeps it.
    pub(crate) fn namespaces(&self) -> io::Result<Result<Joined, Refusal>> {
        Ok(match self.receive()? {
            (Message::Ready { namespaces, about }, monitor) => match monitor.open(&namespaces) {
                // What was opened is the monitor's, as that is there still.
                _ if process::has_ended(&monitor.process) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(namespaces) => Ok(Joined {
                    namespaces,
                    about,
                    monitor,
                }),
                Err(error) => Err(Refusal::Full(sys::words(&error))),
            },
            (Message::Failed(_), _) => Err(Refusal::Refused),
            (Message::Full(reason), _) => Err(Refusal::Full(reason)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    /// Waits for what a monitor answers to who joins.
    pub(crate) fn reply(&self) -> Reply {
        match self.namespaces() {
            Ok(Ok(joined)) => Reply::Joined(joined.namespaces, joined.about),
            Ok(Err(Refusal::Refused)) => Reply::Refused,
            Ok(Err(Refusal::Full(reason))) => Reply::Full(reason),
            Err(error) if is_of_others(&error) => Reply::Unproved,
            Err(error) if is_late(&error) => Reply::Silent,
            Err(_) => Reply::Ended,
        }
    }
}

impl Monitor {
    /// Opens the namespaces that it names; its user namespace comes first where the session has one.
    fn open(&self, numbers: &[i32]) -> io::Result<Vec<OwnedFd>> {
        match (&self.user, numbers) {
            (Some(user), [_, others @ ..]) => {
                let mut namespaces = vec![user.try_clone()?];
                namespaces.extend(open_namespaces(self.pid, others)?);
                Ok(namespaces)
            }
            _ => open_namespaces(self.pid, numbers),
        }
    }

    /// Opens a handle of a process that does not go before it.
    pub(crate) fn open_process(&self, pid: i32) -> io::Result<OwnedFd> {
        let process = process::open(pid)?;
        match process::has_ended(&self.process) {
            true => Err(Errno::SRCH.into()),
            false => Ok(process),
        }
    }
}

/// A session that was joined.
#[derive(Debug)]
pub(crate) struct Joined {
    /// In the order in which they are to be entered.
    pub(crate) namespaces: Vec<OwnedFd>,
    /// What its first member said of it.
    pub(crate) about: String,
    pub(crate) monitor: Monitor,
}

/// Opens the namespaces that a process of ours has open.
pub(crate) fn open_namespaces(pid: i32, numbers: &[i32]) -> io::Result<Vec<OwnedFd>> {
    let open = |number: &i32| peer::open_descriptor(pid, *number);
    numbers.iter().map(open).collect()
}

/// Why a monitor hands no namespaces out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There must be no session.
    Refused,
    /// There is no place in it, for this reason.
    Full(String),
}

/// Waits to be greeted; returns by which descriptor the secret can be read, and that.
fn greeting(socket: &OwnedFd, listener: &Listener, end: Instant) -> io::Result<(i32, Token)> {
    // What greets in the place of one of ours is its builder. Any other could name a process of ours, and learn the secret
    // of that; one that was ours until now has left its name to its builder, and one that cannot be looked into for the
    // moment is asked again.
    if listener.standing() != Standing::Ours {
        listener.continue_stopped();
        return Err(Errno::CONNREFUSED.into());
    }
    protocol::ask_for_greeting(socket)?;
    let (Message::Hello(descriptor), origin) = wait(socket, listener, &Cell::new(true), end)?
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let pid = origin.pid.ok_or(io::ErrorKind::InvalidData)?;
    let process = process::open(pid)?;
    let secret = Secret::read(pid, descriptor)?;
    peer::look(pid)?;
    match process::has_ended(&process) {
        true => Err(Errno::SRCH.into()),
        false => Ok((descriptor, secret)),
    }
}

/// Waits for a message, for as long as `listener` is one of ours, which `is_ours` tells: while a session is built, it takes
/// its time. Others are waited for a little: the first rank becomes a payload when its session is built, and the monitor
/// may have others to answer first.
///
/// # Errors
///
/// Besides those of the socket, one of permission: the process is none of ours.
fn wait(
    socket: &OwnedFd,
    listener: &Listener,
    is_ours: &Cell<bool>,
    end: Instant,
) -> io::Result<(Message, protocol::Origin)> {
    let (mut waits, mut strange) = (0, 0);
    loop {
        let patience = if waits == 0 { AT_FIRST } else { PATIENCE };
        limit(socket, end.min(Instant::now() + patience))?;
        match protocol::receive_from(socket) {
            Err(error) if is_late(&error) => {
                waits += 1;
                match listener.standing() {
                    Standing::Ours => {
                        is_ours.set(true);
                        strange = 0;
                    }
                    // A payload has no business here, and would let its callers wait.
                    Standing::Stranger | Standing::Unknown => {
                        listener.continue_stopped();
                        strange += 1;
                    }
                }
                if strange > MOST_STRANGE {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                if Instant::now() >= end || waits > MOST_WAITS && !listener.may_be_building() {
                    return Err(error);
                }
            }
            received => return received,
        }
    }
}

/// Has the next wait on a socket end with the call.
fn limit(socket: &OwnedFd, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    Ok(set_socket_timeout(socket, Timeout::Recv, Some(left))?)
}

/// A monitor's answer to a caller that joins.
#[derive(Debug)]
pub(crate) enum Reply {
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
    /// Something, and it is no monitor of ours.
    Unproved,
}

/// The outcome of asking for a name.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The namespaces of the session that has it, and what its first member said of it.
    Joined(Vec<OwnedFd>, String),
    /// The name, open: callers wait there until the session is built.
    Taken(name::Open),
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

/// How often a process is waited for that is none of ours, as far as can be told.
const MOST_STRANGE: u32 = 1;

/// How long one waits for a word before one looks at the process that is to say it.
const AT_FIRST: Duration = Duration::from_millis(250);

/// How often a monitor is waited for that has built its session, and says nothing.
const MOST_WAITS: u32 = 4;

/// How long a job's rank waits for the session that another builds: without it, it could not work with
/// the others. An image that must be extracted takes its time.
const PATIENCE_IN_JOB: Duration = Duration::from_secs(600);
