//! The socket between the builder and the caller.
//!
//! One datagram each: a kind, then its text; the last one carries the namespaces.

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// What the builder says.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something the user should know.
    Note(String),
    /// There will be no session, and why.
    Failed(String),
    /// The namespaces, in the order in which they are to be entered.
    Ready(Vec<OwnedFd>),
    /// Nothing yet.
    Hello,
    /// There is a session, but no place in it, and why.
    Full(String),
    /// What an instance's starter says of it, and a handle of its first process.
    Instance { about: String, init: OwnedFd },
    /// What a session's first member said of it, and who its members are now.
    Session { about: String, members: Vec<i32> },
}

/// The longest text of a datagram, in bytes; longer words of what went wrong are cut. What a session tells of itself
/// has the paths and variables that are lent to it, and fits.
const LIMIT: usize = 96 << 10;

/// How often a datagram is sent that the kernel refuses for the moment, and how long between: while too many
/// descriptors of this user are under way (`ETOOMANYREFS`), or the other end has yet to read.
const ATTEMPTS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(5);

/// What an answer repeats of what it answers, so that it cannot have been prepared: 0 where nothing is asked.
pub(crate) type Token = u64;

/// Returns a token that nobody can foresee.
pub(crate) fn token() -> Token {
    // Keyed by what the kernel has of chance.
    RandomState::new().build_hasher().finish()
}

/// The kind and the token before a datagram's text, in bytes.
const HEAD: usize = 1 + size_of::<Token>();

/// How long one side waits for the other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

const NOTE: u8 = b'N';
const FAILED: u8 = b'F';
const READY: u8 = b'R';
const INSTANCE: u8 = b'I';
const SESSION: u8 = b'S';
const FULL: u8 = b'L';
const INTRODUCTION: u8 = b'P';
const HELLO: u8 = b'H';

/// The user namespace of the process that opens it.
pub(crate) const USER_NAMESPACE: &str = "/proc/self/ns/user";

/// The most descriptors that a datagram carries: of the user, mount, ipc and pid namespaces.
const DESCRIPTORS: usize = 4;

/// Makes a pair: the caller's end, the builder's end.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

pub(crate) fn send_note(socket: &OwnedFd, text: &str) {
    let _ = send(socket, NOTE, text, &[]);
}

pub(crate) fn send_failure(socket: &OwnedFd, text: &str) {
    let _ = send(socket, FAILED, text, &[]);
}

/// Hands the namespaces over.
///
/// # Errors
///
/// Fails when they cannot be; the other end is told so, and waits no longer.
pub(crate) fn send_ready(socket: &OwnedFd, token: Token, namespaces: &[File]) -> io::Result<()> {
    let namespaces: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
    let count = namespaces.len().to_string();
    let sent = send_as_answer(socket, READY, token, &count, &namespaces);
    or_refuse(socket, token, sent)
}

/// Hands an instance's first process over, as [`send_ready`] does.
pub(crate) fn send_instance(
    socket: &OwnedFd,
    token: Token,
    about: &str,
    init: &OwnedFd,
) -> io::Result<()> {
    let fds = [init.as_fd()];
    let sent = send_as_answer(socket, INSTANCE, token, about, &fds);
    or_refuse(socket, token, sent)
}

fn or_refuse(socket: &OwnedFd, token: Token, sent: io::Result<()>) -> io::Result<()> {
    sent.inspect_err(|error| send_full(socket, token, &sys::words(error)))
}

/// Tells that there is a session, and no place in it.
pub(crate) fn send_full(socket: &OwnedFd, token: Token, reason: &str) {
    let _ = send_as_answer(socket, FULL, token, reason, &[]);
}

/// Tells that there must be no session.
pub(crate) fn send_refusal(socket: &OwnedFd, token: Token) {
    let _ = send_as_answer(socket, FAILED, token, "", &[]);
}

/// `members` are process ids; those that do not fit are left out.
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

/// What a caller wants of a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To know.
    Look = b'?' as isize,
    /// To become a member.
    Join = b'+' as isize,
    /// That every member that is stopped goes on, and can end.
    Wake = b'!' as isize,
}

/// Greets a caller, who learns by it which process the keeper is.
pub(crate) fn send_hello(socket: &OwnedFd, token: Token) -> io::Result<()> {
    send_as_answer(socket, HELLO, token, "", &[])
}

/// Asks a keeper for something. The caller's user namespace, which no container of ours is in, says that the caller is
/// outside; `hello` is the token of the greeting, and `token` what the answers are to repeat.
pub(crate) fn send_wish(
    socket: &OwnedFd,
    wish: Wish,
    hello: Token,
    token: Token,
) -> io::Result<()> {
    let namespace = File::open(USER_NAMESPACE)?;
    let text = hello.to_string();
    send_as_answer(socket, wish as u8, token, &text, &[namespace.as_fd()])
}

/// Introduces a member to its keeper: the program that it will be, and its standard error, by which it is told of. To be
/// sent to a keeper alone.
pub(crate) fn send_introduction(socket: &OwnedFd, program: &str) -> io::Result<()> {
    send(socket, INTRODUCTION, program, &[io::stderr().as_fd()])
}

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct Wished {
    pub(crate) wish: Wish,
    /// What the answers repeat.
    pub(crate) token: Token,
    /// The token of the greeting that it answers.
    pub(crate) hello: Option<Token>,
    /// The caller's user namespace.
    pub(crate) namespace: OwnedFd,
    /// The process that asked, if the socket tells.
    pub(crate) sender: Option<i32>,
}

/// Hears what a caller asks for, if it has been said.
pub(crate) fn receive_wish(socket: &OwnedFd) -> io::Result<Wished> {
    let mut buffer = [0; 256];
    let received = receive_into(socket, &mut buffer, RecvFlags::DONTWAIT)?;
    let (kind, token, text) =
        parts(&buffer, received.length).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut known = [Wish::Look, Wish::Join, Wish::Wake].into_iter();
    let wish = known.find(|wish| *wish as u8 == kind);
    Ok(Wished {
        wish: wish.ok_or(io::ErrorKind::InvalidData)?,
        token,
        hello: std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok()),
        namespace: { received.fds }.pop().ok_or(io::ErrorKind::InvalidData)?,
        sender: received.sender,
    })
}

/// What a member says of itself.
#[derive(Debug)]
pub(crate) struct Introduction {
    /// Its program.
    pub(crate) program: String,
    /// Its standard error.
    pub(crate) stderr: OwnedFd,
}

/// Takes a member's introduction, waiting for it if `waits`, and not for long.
pub(crate) fn receive_introduction(socket: &OwnedFd, waits: bool) -> io::Result<Introduction> {
    set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
    let flags = match waits {
        true => RecvFlags::empty(),
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

/// A caller that is gone cannot be told; the keeper finds out by itself.
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
    // Nobody of ours waits for one that has stopped to read.
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

/// The kind, the token and the text of a datagram.
fn parts(buffer: &[u8], length: usize) -> Option<(u8, Token, &[u8])> {
    let (head, text) = buffer.get(..length)?.split_first_chunk::<HEAD>()?;
    let [kind, token @ ..] = *head;
    Some((kind, Token::from_ne_bytes(token), text))
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The process that sent it, if the socket asks the kernel for it (`SO_PASSCRED`).
    pub(crate) pid: Option<i32>,
    /// What it repeats.
    pub(crate) token: Token,
}

/// Waits for the next message.
pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Message> {
    receive_from(socket).map(|(message, _)| message)
}

/// As [`receive`], with where it comes from.
pub(crate) fn receive_from(socket: &OwnedFd) -> io::Result<(Message, Origin)> {
    let mut buffer = vec![0; LIMIT + HEAD];
    let Received {
        length: received,
        mut fds,
        sender,
    } = receive_into(socket, &mut buffer, RecvFlags::empty())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, token, rest) = parts(&buffer, received).ok_or(io::ErrorKind::UnexpectedEof)?;
    let message: io::Result<Message> = match kind {
        NOTE => Ok(Message::Note(text(rest))),
        FAILED => Ok(Message::Failed(text(rest))),
        FULL => Ok(Message::Full(text(rest))),
        HELLO => Ok(Message::Hello),
        // The kernel leaves out what the receiver may not open, and one that enters some of a session's namespaces
        // would be outside in the others.
        READY if text(rest) == fds.len().to_string() => Ok(Message::Ready(fds)),
        READY => Err(io::Error::other(
            "this process may not have so many files open; raise `ulimit -n`",
        )),
        INSTANCE if fds.len() == 1 => Ok(Message::Instance {
            about: text(rest),
            init: fds.remove(0),
        }),
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

/// A datagram.
struct Received {
    length: usize,
    fds: Vec<OwnedFd>,
    sender: Option<i32>,
}

/// Waits for a datagram; tells what came with it.
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
        send_ready(&builder, 0, &[file(), file(), file()]).unwrap();
        send_instance(&builder, 0, "about", &file().into()).unwrap();
        assert!(matches!(receive(&caller).unwrap(), Message::Note(text) if text == "hello"));
        assert!(matches!(receive(&caller).unwrap(), Message::Failed(text) if text.len() == LIMIT));
        assert!(matches!(receive(&caller).unwrap(), Message::Ready(all) if all.len() == 3));
        let instance = receive(&caller).unwrap();
        assert!(matches!(instance, Message::Instance { about, .. } if about == "about"));
        let long = "x".repeat(90 << 10);
        send_session(&builder, 7, &long, [1, 2].into_iter());
        let (session, origin) = receive_from(&caller).unwrap();
        assert_eq!(origin.token, 7);
        assert!(
            matches!(session, Message::Session { about, members } if about == long && members == [1, 2])
        );
        // One that may not open what comes must not enter a part of it.
        let few = { [file(), file()] }.map(OwnedFd::from);
        send(&builder, READY, "3", &few.each_ref().map(AsFd::as_fd)).unwrap();
        assert!(receive(&caller).is_err());
        drop(builder);
        assert_eq!(
            receive(&caller).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
