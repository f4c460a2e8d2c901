//! The protocol between a caller and the builder or monitor.
//!
//! Each message is one datagram: a kind, a token, and a text. Descriptors are named by their number
//! at the sender, which keeps them open meanwhile, and are opened through `/proc`.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use rustix::rand::{GetRandomFlags, getrandom};

/// A message of the builder.
#[derive(Debug)]
pub(crate) enum Message {
    /// A message for the user.
    Note(String),
    /// There will be no session, for this reason.
    Failed(String),
    /// The sender's descriptors of the namespaces, in the order in which they must be entered, and
    /// the description that the session's first member gave.
    Ready { namespaces: Vec<i32>, about: String },
    /// The process that builds the session.
    Begun(u32),
    /// The greeting: the sender's descriptor of its secret.
    Hello(i32),
    /// There is a session, but it has no room, for this reason.
    Full(String),
    /// The description that the session's first member gave, and its current members.
    Session { about: String, members: Vec<i32> },
}

/// Longest text of a datagram, in bytes. Longer error messages are cut. The description of a
/// session contains the paths and variables that are injected into it, and fits.
const LIMIT: usize = 96 << 10;

/// Number of attempts to send a datagram that the kernel refuses for the moment, and the time
/// between two attempts. It refuses while the other end has yet to read and, with a descriptor,
/// while too many of this user's are in flight (`ETOOMANYREFS`).
const ATTEMPTS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(5);

/// A number that a reply repeats, so that it cannot have been prepared. 0 if nothing was asked.
pub(crate) type Token = u64;

/// Returns a token that nobody can foresee.
///
/// # Errors
///
/// Fails when the kernel has no random bytes to give.
pub(crate) fn token() -> io::Result<Token> {
    let mut bytes = Token::default().to_ne_bytes();
    match getrandom(&mut bytes[..], GetRandomFlags::empty())? == bytes.len() {
        true => Ok(Token::from_ne_bytes(bytes)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Size of the kind and the token before a datagram's text, in bytes.
const HEAD: usize = 1 + size_of::<Token>();

/// Time that one side waits for the other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

const NOTE: u8 = b'N';
const FAILED: u8 = b'F';
const READY: u8 = b'R';
const SESSION: u8 = b'S';
const FULL: u8 = b'L';
const INTRODUCTION: u8 = b'P';
const HELLO: u8 = b'H';
const GREETING: u8 = b'G';
const BEGUN: u8 = b'B';

/// Largest number of descriptors that a datagram carries: a member's standard error.
const DESCRIPTORS: usize = 1;

/// Makes a pair of sockets: the caller's end, which learns the senders' ids, and the builder's end.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_passcred(&ours, true)?;
    Ok((ours, theirs))
}

pub(crate) fn send_note(socket: &OwnedFd, text: &str) {
    let _ = send(socket, NOTE, text, &[]);
}

pub(crate) fn send_begun(socket: &OwnedFd, builder: i32) {
    let _ = send(socket, BEGUN, &builder.to_string(), &[]);
}

pub(crate) fn send_failure(socket: &OwnedFd, text: &str) {
    let _ = send(socket, FAILED, text, &[]);
}

/// Sends the numbers of the descriptors by which the namespaces can be opened.
///
/// # Errors
///
/// Fails when nobody receives it.
pub(crate) fn send_ready(
    socket: &OwnedFd,
    token: Token,
    namespaces: &[File],
    about: &str,
) -> io::Result<()> {
    let numbers = namespaces.iter().map(|one| one.as_raw_fd().to_string());
    let numbers = numbers.collect::<Vec<_>>().join(" ");
    send_as_answer(socket, READY, token, &format!("{numbers}\n{about}"), &[])
}

/// Replies that there is a session, but it has no room.
pub(crate) fn send_full(socket: &OwnedFd, token: Token, reason: &str) {
    let _ = send_as_answer(socket, FULL, token, reason, &[]);
}

/// Replies that there must be no session.
pub(crate) fn send_refusal(socket: &OwnedFd, token: Token) {
    let _ = send_as_answer(socket, FAILED, token, "", &[]);
}

/// Replies with the description and the members of a session. `members` are process ids; those that
/// do not fit are left out.
pub(crate) fn send_session(
    socket: &OwnedFd,
    token: Token,
    about: &str,
    members: impl Iterator<Item = i32>,
) {
    let mut text = format!("{about}\n");
    for member in members {
        let word = format!("{member} ");
        if text.len() + word.len() > LIMIT {
            break;
        }
        text += &word;
    }
    let _ = send_as_answer(socket, SESSION, token, &text, &[]);
}

/// A caller's command to a monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Describe the session.
    Look = b'?' as isize,
    /// Make the caller a member.
    Join = b'+' as isize,
    /// Continue every stopped member, so that it can end.
    Wake = b'!' as isize,
}

/// Asks the listening process for a greeting, as soon as it can send one. Only the greeting shows
/// that it is a monitor.
pub(crate) fn ask_for_greeting(socket: &OwnedFd) -> io::Result<()> {
    send(socket, GREETING, "", &[])
}

/// Greets a caller. The greeting shows which process the monitor is, and from which of its
/// descriptors the secret is read.
pub(crate) fn send_hello(socket: &OwnedFd, secret: i32) -> io::Result<()> {
    send(socket, HELLO, &secret.to_string(), &[])
}

/// Sends a command to a monitor. `secret` shows that the caller is outside of containers, the
/// replies repeat `token`, and `age` is the time for which the caller has run.
pub(crate) fn send_command(
    socket: &OwnedFd,
    command: Command,
    secret: Token,
    token: Token,
    age: Duration,
) -> io::Result<()> {
    let text = format!("{secret} {}", age.as_nanos());
    send_as_answer(socket, command as u8, token, &text, &[])
}

/// Introduces a member to its monitor: the program that it will be, and its standard error, on
/// which it is reported. Must be sent only to a monitor.
pub(crate) fn send_introduction(socket: &OwnedFd, program: &str) -> io::Result<()> {
    send(socket, INTRODUCTION, program, &[io::stderr().as_fd()])
}

/// A command that was received.
#[derive(Debug)]
pub(crate) struct Commanded {
    pub(crate) command: Command,
    /// The number that the replies repeat.
    pub(crate) token: Token,
    /// The secret, as the caller has read it, and the time for which the caller has run.
    pub(crate) shown: Option<(Token, Duration)>,
    /// The process that sent the command, if the socket reports it.
    pub(crate) sender: Option<i32>,
}

/// Receives a command, if one has come. Returns `None` for a request for a greeting.
pub(crate) fn receive_command(socket: &OwnedFd) -> io::Result<Option<Commanded>> {
    let mut buffer = [0; 256];
    let received = receive_into(socket, &mut buffer, RecvFlags::DONTWAIT)?;
    let (kind, token, text) =
        parts(&buffer, received.length).ok_or(io::ErrorKind::UnexpectedEof)?;
    if kind == GREETING {
        return Ok(None);
    }
    let mut known = [Command::Look, Command::Join, Command::Wake].into_iter();
    let command = known.find(|command| *command as u8 == kind);
    Ok(Some(Commanded {
        command: command.ok_or(io::ErrorKind::InvalidData)?,
        token,
        shown: std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.split_once(' '))
            .and_then(|(secret, age)| {
                let age = Duration::from_nanos(age.parse().ok()?);
                Some((secret.parse().ok()?, age))
            }),
        sender: received.sender,
    }))
}

/// A member's introduction.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// The member's program.
    pub(crate) program: String,
    /// The member's standard error.
    pub(crate) stderr: OwnedFd,
}

/// Receives a member's introduction. If `waits` is set, waits for it, but not for long.
pub(crate) fn receive_introduction(socket: &OwnedFd, waits: bool) -> io::Result<Introduction> {
    let flags = match waits {
        true => {
            set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
            RecvFlags::empty()
        }
        false => RecvFlags::DONTWAIT,
    };
    let mut buffer = [0; 4096];
    let received = receive_into(socket, &mut buffer, flags)?;
    match parts(&buffer, received.length) {
        Some((INTRODUCTION, _, program)) => Ok(Introduction {
            program: String::from_utf8_lossy(program).into_owned(),
            stderr: { received.fds }.pop().ok_or(io::ErrorKind::InvalidData)?,
        }),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Sends a message that is not a reply. A caller that is gone cannot be told; the monitor notices
/// by itself.
fn send(socket: &OwnedFd, kind: u8, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_as_answer(socket, kind, 0, text, fds)
}

fn send_as_answer(
    socket: &OwnedFd,
    kind: u8,
    token: Token,
    text: &str,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = text.as_bytes();
    let text = text.get(..LIMIT).unwrap_or(text);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    let (kind, token) = ([kind], token.to_ne_bytes());
    let slices = [
        IoSlice::new(&kind),
        IoSlice::new(&token),
        IoSlice::new(text),
    ];
    // No process of ours waits for one that has stopped reading.
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let mut attempt = 0;
    loop {
        match sendmsg(socket, &slices, &mut ancillary, flags) {
            Err(Errno::AGAIN | Errno::TOOMANYREFS | Errno::INTR) if attempt < ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(INTERVAL);
            }
            sent => return Ok(sent.map(|_| ())?),
        }
    }
}

/// Returns the kind, the token and the text of a datagram.
fn parts(buffer: &[u8], length: usize) -> Option<(u8, Token, &[u8])> {
    let (head, text) = buffer.get(..length)?.split_first_chunk::<HEAD>()?;
    let [kind, token @ ..] = *head;
    Some((kind, Token::from_ne_bytes(token), text))
}

/// The origin of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The process that sent it, if the socket asks the kernel for it (`SO_PASSCRED`).
    pub(crate) pid: Option<i32>,
    /// The number that the message repeats.
    pub(crate) token: Token,
}

/// Waits for the next message.
pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Message> {
    receive_from(socket).map(|(message, _)| message)
}

/// Does the same as [`receive`], and returns the message's origin.
pub(crate) fn receive_from(socket: &OwnedFd) -> io::Result<(Message, Origin)> {
    // Asks for the length first: most messages are short, and space for the longest costs more than
    // asking.
    let length = loop {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
        match recv(socket, &mut [0_u8; 1][..], flags) {
            Err(Errno::INTR) => {}
            peeked => break peeked?.1,
        }
    };
    let mut buffer = vec![0; length.min(LIMIT + HEAD)];
    let Received {
        length: received,
        sender,
        ..
    } = receive_into(socket, &mut buffer, RecvFlags::empty())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, token, rest) = parts(&buffer, received).ok_or(io::ErrorKind::UnexpectedEof)?;
    let message: io::Result<Message> = match kind {
        NOTE => Ok(Message::Note(text(rest))),
        FAILED => Ok(Message::Failed(text(rest))),
        FULL => Ok(Message::Full(text(rest))),
        HELLO => number(&text(rest)).map(Message::Hello),
        BEGUN => number(&text(rest)).map(|pid| Message::Begun(pid.cast_unsigned())),
        READY => {
            let text = text(rest);
            let (numbers, about) = text.split_once('\n').ok_or(io::ErrorKind::InvalidData)?;
            let numbers: io::Result<_> = numbers.split_whitespace().map(number).collect();
            numbers.map(|namespaces| Message::Ready {
                namespaces,
                about: about.to_owned(),
            })
        }
        SESSION => {
            let text = text(rest);
            let (about, members) = text.split_once('\n').unwrap_or((&text, ""));
            let members = members.split_whitespace();
            Ok(Message::Session {
                about: about.to_owned(),
                members: members.filter_map(|word| word.parse().ok()).collect(),
            })
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    };
    Ok((message?, Origin { pid: sender, token }))
}

fn number(text: &str) -> io::Result<i32> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A datagram that was received.
struct Received {
    length: usize,
    fds: Vec<OwnedFd>,
    sender: Option<i32>,
}

/// Receives a datagram, with the descriptors and the sender's id.
fn receive_into(socket: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(socket, &mut slices, &mut ancillary, flags) {
            Ok(received) => break received.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let (mut fds, mut sender) = (Vec::new(), None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            RecvAncillaryMessage::ScmCredentials(credentials) => {
                sender = Some(credentials.pid.as_raw_nonzero().get());
            }
            _ => {}
        }
    }
    Ok(Received {
        length: received,
        fds,
        sender,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_words_and_namespaces() {
        let (caller, builder) = pair().unwrap();
        send_note(&builder, "hello");
        send_failure(&builder, &"x".repeat(LIMIT * 2));
        let file = || File::open("/dev/null").unwrap();
        let files = [file(), file(), file()];
        send_ready(&builder, 0, &files, "about\nit").unwrap();
        assert!(matches!(receive(&caller).unwrap(), Message::Note(text) if text == "hello"));
        assert!(matches!(receive(&caller).unwrap(), Message::Failed(text) if text.len() == LIMIT));
        let numbers = files.each_ref().map(AsRawFd::as_raw_fd);
        assert!(
            matches!(receive(&caller).unwrap(), Message::Ready { namespaces, about }
            if namespaces == numbers && about == "about\nit")
        );
        let long = "x".repeat(90 << 10);
        send_session(&builder, 7, &long, [1, 2].into_iter());
        let (session, origin) = receive_from(&caller).unwrap();
        assert_eq!(origin.token, 7);
        assert!(
            matches!(session, Message::Session { about, members } if about == long && members == [1, 2])
        );
        for wrong in ["", "3", "x\n", "-1\n", "3 x\n"] {
            send(&builder, READY, wrong, &[]).unwrap();
            assert!(receive(&caller).is_err(), "{wrong}");
        }
        drop(builder);
        assert_eq!(
            receive(&caller).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
