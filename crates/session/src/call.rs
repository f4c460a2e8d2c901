//! Calling a monitor: joining an existing session instead of building another.
//!
//! The first caller takes the name before it builds the session, so that later callers wait for it.
//!
//! A caller reads the secret of the listening process through `/proc`, and sends it with its
//! command. Only a process outside of containers can read it. If the listening process cannot be
//! inspected at the moment, the monitor sends a greeting, which names the descriptor from which its
//! secret can be read. The reply repeats the caller's token, and names the monitor's descriptors of
//! the namespaces. The caller inspects the process that replied, and believes it only if it has the
//! same secret. The namespaces are opened through `/proc`, too, so that no descriptor is ever in
//! flight: the kernel limits their number for each user.

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
    /// Calls the monitor of that name. Waits for it until `end`, and in its queue until `busy`.
    /// Returns `None` if no monitor of ours has the name.
    ///
    /// # Errors
    ///
    /// Returns a timeout if there may be a monitor that has not replied.
    pub(crate) fn call(
        &self,
        command: Command,
        end: Instant,
        busy: Instant,
    ) -> io::Result<Option<Call>> {
        // Others may have taken any number of names, so the listener is inspected before anything
        // is waited for.
        let reach = || self.reach((command, Instant::now()), end, busy, true);
        let reached = match reach() {
            // It answers now.
            Ok(Reached::Continued) => reach(),
            reached => reached,
        };
        match reached {
            Ok(Reached::Answering(call)) => Ok(Some(call)),
            Err(error) if is_late(&error) => Err(error),
            _ => Ok(None),
        }
    }

    /// Whether a process that is not one of ours, but is outside of all containers, listens at the name:
    /// another version of this program.
    pub(crate) fn is_of_another_version(&self, busy: Instant) -> bool {
        let look = || -> io::Result<bool> {
            let socket = self.connect(busy)?;
            let peer = socket_peercred(&socket)?;
            let is_own = peer.uid.as_raw() == geteuid().as_raw();
            let listener = Listener::of(&socket, peer.pid.as_raw_nonzero().get())?;
            let is_beside = peer::is_beside_containers(listener.pid);
            Ok(is_own && is_beside && !process::has_ended(&listener.process))
        };
        look().unwrap_or(false)
    }

    /// Joins the session of that name, or takes the name. A rank of a job, which is reported as
    /// `program`, waits for the process that builds the session. `began` is a time at which this
    /// process already ran: the image is seen as it was then, or later.
    pub(crate) fn join_or_take(&self, program: Option<&str>, began: Instant) -> Entry {
        let patience = match program {
            Some(_) => PATIENCE_IN_JOB,
            None => PATIENCE,
        };
        let end = Instant::now() + patience;
        // A process that has the name and does not reply is not one of ours.
        let mut silence = Instant::now() + PATIENCE;
        while Instant::now() < silence.min(end) {
            let busy = end.min(Instant::now() + PATIENCE_WHILE_BUSY);
            match self.reach((Command::Join, began), end, busy, false) {
                Ok(Reached::Answering(call)) => {
                    match call.reply() {
                        Reply::Joined(namespaces, about) => {
                            if let Some(program) = program {
                                // Sent only now, because the receiver was not known before.
                                let _ = protocol::send_introduction(&call.socket, program);
                            }
                            return Entry::Joined(namespaces, about);
                        }
                        Reply::Refused => return Entry::Refused,
                        Reply::Full(reason) => return Entry::Full(reason),
                        Reply::Unproved => return Entry::Neither,
                        // The process has ended, or never finished its session. The time is
                        // extended only for a process of ours: a payload may hang up as often as it
                        // likes.
                        Reply::Ended if call.is_ours.get() => silence = Instant::now() + PATIENCE,
                        Reply::Ended | Reply::Silent => {}
                    }
                }
                Ok(Reached::Others | Reached::Continued) => return Entry::Neither,
                Err(_) => {}
            }
            if let Some(open) = self.take().and_then(name::open) {
                return Entry::Taken(open);
            }
            // The name was taken meanwhile, and will be open in a moment.
            std::thread::sleep(Duration::from_millis(1));
        }
        Entry::Neither
    }

    /// Connects, waiting in a full queue until `busy`, and sends the command.
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
        // A process that is gone cannot reply.
        let listener = Listener::of(&socket, peer.pid.as_raw_nonzero().get())?;
        if is_wary && listener.standing() == Standing::Stranger {
            return Ok(match listener.continue_stopped() {
                true => Reached::Continued,
                false => Reached::Others,
            });
        }
        match Call::begin(socket, command, listener, end) {
            Ok(call) => Ok(Reached::Answering(call)),
            Err(error) if is_of_others(&error) => Ok(Reached::Others),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error means that a process is not one of ours.
fn is_of_others(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, PermissionDenied};
    matches!(error.kind(), InvalidData | PermissionDenied)
}

/// Whether an error means that the time was over before anything came.
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
    /// A process of ours that was stopped, and that has been continued.
    Continued,
    /// A process that is not ours.
    Others,
}

/// A call to a monitor.
#[derive(Debug)]
pub(crate) struct Call {
    socket: OwnedFd,
    end: Instant,
    listener: Listener,
    /// The number of the monitor's descriptor of its secret, and the secret.
    secret: (i32, Token),
    /// The number that the replies repeat.
    token: Token,
    /// Whether the listener was found to be one of ours while it was waited for.
    is_ours: Cell<bool>,
}

/// The process that replied, and was found to be a monitor of ours.
#[derive(Debug)]
pub(crate) struct Monitor {
    pid: i32,
    /// A handle. As long as the process exists, its id is not reused.
    process: OwnedFd,
    /// The monitor's user namespace, which is the session's; `None` if it is the caller's.
    user: Option<OwnedFd>,
}

impl Call {
    /// Sends the command.
    fn begin(
        socket: OwnedFd,
        (command, began): (Command, Instant),
        listener: Listener,
        end: Instant,
    ) -> io::Result<Self> {
        let secret = match Secret::read(listener.pid, secret::DESCRIPTOR) {
            // The id may have been reused by another process, whose secret this is.
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

    /// Waits for the next reply of a monitor of ours.
    pub(crate) fn next(&self) -> io::Result<Message> {
        self.receive().map(|(message, _)| message)
    }

    /// Does the same as [`next`](Self::next), and returns the monitor. The reply repeats the
    /// caller's token. So it cannot have been prepared by a process that has ended since, and whose
    /// id a monitor has now.
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
            // A process that is ending cannot be inspected for a moment before it has ended.
            _ if !peer::is_contained(pid) && process::ends_within(&process, A_MOMENT) => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            _ => return Err(io::ErrorKind::PermissionDenied.into()),
        };
        Ok((message, Monitor { pid, process, user }))
    }

    /// Waits for the namespaces and opens them. Also returns the session's description and its
    /// monitor.
    pub(crate) fn namespaces(&self) -> io::Result<Result<Joined, Refusal>> {
        Ok(match self.receive()? {
            (Message::Ready { namespaces, about }, monitor) => match monitor.open(&namespaces) {
                // The descriptors are certainly the monitor's only if it still exists.
                _ if process::has_ended(&monitor.process) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(namespaces) => Ok(Joined {
                    namespaces,
                    about,
                    monitor,
                }),
                Err(error) => Err(Refusal::Full(text::message(&error))),
            },
            (Message::Failed(_), _) => Err(Refusal::Refused),
            (Message::Full(reason), _) => Err(Refusal::Full(reason)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    /// Waits for a monitor's reply to a caller that joins.
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
    /// Opens the namespaces that the monitor names. Its user namespace comes first, if the session
    /// has one.
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

    /// Opens a handle of a process that does not end before the monitor.
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
    /// The namespaces, in the order in which they must be entered.
    pub(crate) namespaces: Vec<OwnedFd>,
    /// The description that the session's first member gave.
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
    /// The session has no room, for this reason.
    Full(String),
}

/// Waits for the greeting. Returns the number of the descriptor from which the secret can be read,
/// and the secret.
fn greeting(socket: &OwnedFd, listener: &Listener, end: Instant) -> io::Result<(i32, Token)> {
    // If the listener is one of ours, the greeting comes from its builder. Any other process could
    // name a process of ours, and learn its secret. A listener that was ours until now has left its
    // name to its builder. One that cannot be inspected at the moment is asked again.
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

/// Waits for a message as long as `listener` is one of ours, because building a session takes time.
/// Sets `is_ours` then. Other listeners are waited for only briefly: the first rank becomes a
/// payload when its session is built, and the monitor may have other callers to answer first.
///
/// # Errors
///
/// Besides errors of the socket, returns a permission error if the process is not one of ours.
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
                    // This may be a payload, which has no business here and would let its callers
                    // wait.
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

/// Limits the next wait on a socket to the end of the call.
fn limit(socket: &OwnedFd, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    Ok(set_socket_timeout(socket, Timeout::Recv, Some(left))?)
}

/// A monitor's reply to a caller that joins.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The session's namespaces, and the description that its first member gave.
    Joined(Vec<OwnedFd>, String),
    /// There must be no session.
    Refused,
    /// The session has no room, for this reason.
    Full(String),
    /// No reply: the monitor has ended.
    Ended,
    /// No reply yet.
    Silent,
    /// A reply from a process that is not a monitor of ours.
    Unproved,
}

/// The outcome of joining a session or taking its name.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The namespaces of the session that has the name, and the description that its first member
    /// gave.
    Joined(Vec<OwnedFd>, String),
    /// The name was taken and is open: callers wait there until the session is built.
    Taken(name::Open),
    /// The owner of the name replied that there must be no session.
    Refused,
    /// The session has no room, for this reason.
    Full(String),
    /// The name belongs to somebody else, or nobody replies there.
    Neither,
}

/// Longest wait in a full queue, which may be a stranger's.
const PATIENCE_WHILE_BUSY: Duration = Duration::from_secs(4);

/// Time that a process that is about to end may take.
const A_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// Number of further waits for a process that does not seem to be ours.
const MOST_STRANGE: u32 = 1;

/// Time to wait for a message before the process that should send it is inspected.
const AT_FIRST: Duration = Duration::from_millis(250);

/// Number of waits for a monitor that has built its session and sends nothing.
const MOST_WAITS: u32 = 4;

/// Time that a job's rank waits for the session that another rank builds. Without it, the rank
/// could not work with the others. An image that must be extracted takes time.
const PATIENCE_IN_JOB: Duration = Duration::from_secs(600);
