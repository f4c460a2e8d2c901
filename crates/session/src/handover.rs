//! The socket between the builder and the caller.
//!
//! One datagram each: a kind, then its text; the last one carries the namespaces.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

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
    /// What an instance's starter says of it, and a handle of its first process.
    Instance { about: String, init: OwnedFd },
    /// What a session's first member said of it, and who its members are now.
    Session { about: String, members: Vec<i32> },
}

/// Text is cut at this length, in bytes, so that a datagram always fits.
const LIMIT: usize = 16 << 10;

/// How long one side waits for the other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

const NOTE: u8 = b'N';
const FAILED: u8 = b'F';
const READY: u8 = b'R';
const INSTANCE: u8 = b'I';
const SESSION: u8 = b'S';

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

pub(crate) fn send_ready(socket: &OwnedFd, namespaces: &[File]) {
    let namespaces: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
    let _ = send(socket, READY, "", &namespaces);
}

pub(crate) fn send_instance(socket: &OwnedFd, about: &str, init: &OwnedFd) {
    let _ = send(socket, INSTANCE, about, &[init.as_fd()]);
}

/// `members` are process ids; those that do not fit are left out.
pub(crate) fn send_session(socket: &OwnedFd, about: &str, members: impl Iterator<Item = i32>) {
    let mut text = format!("{about}\n");
    for member in members {
        let word = format!("{member} ");
        if text.len() + word.len() > LIMIT {
            break;
        }
        text += &word;
    }
    let _ = send(socket, SESSION, &text, &[]);
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

/// Asks a keeper for something. Who joins names the program that it will be, and hands over its standard error, by which
/// it is told of.
pub(crate) fn send_wish(socket: &OwnedFd, wish: Wish, program: &str) -> io::Result<()> {
    let stderr = io::stderr();
    let stderr = [stderr.as_fd()];
    let fds = if wish == Wish::Join { &stderr[..] } else { &[] };
    send(socket, wish as u8, program, fds)
}

/// What a caller asks for.
#[derive(Debug)]
pub(crate) struct Wished {
    pub(crate) wish: Wish,
    /// The program of one who joins.
    pub(crate) program: String,
    /// The standard error of one who joins.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Hears what a caller asks for; one who says nothing, as who was stopped, is not waited for.
pub(crate) fn receive_wish(socket: &OwnedFd) -> io::Result<Wished> {
    set_socket_timeout(socket, Timeout::Recv, Some(PATIENCE))?;
    let mut buffer = [0; 256];
    let (received, fds) = receive_into(socket, &mut buffer)?;
    let [kind, program @ ..] = buffer.get(..received).unwrap_or_default() else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let wish = [Wish::Look, Wish::Join, Wish::Wake].into_iter();
    let wish = { wish }.find(|wish| *wish as u8 == *kind);
    Ok(Wished {
        wish: wish.ok_or(io::ErrorKind::InvalidData)?,
        program: String::from_utf8_lossy(program).into_owned(),
        stderr: fds.into_iter().next(),
    })
}

/// A caller that is gone cannot be told; the keeper finds out by itself.
fn send(socket: &OwnedFd, kind: u8, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = text.as_bytes();
    let text = text.get(..LIMIT).unwrap_or(text);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&[kind]), IoSlice::new(text)],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Waits for the next message.
pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Message> {
    let mut buffer = vec![0; LIMIT + 1];
    let (received, mut fds) = receive_into(socket, &mut buffer)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match buffer.get(..received).unwrap_or_default() {
        [NOTE, rest @ ..] => Ok(Message::Note(text(rest))),
        [FAILED, rest @ ..] => Ok(Message::Failed(text(rest))),
        [READY, ..] if !fds.is_empty() => Ok(Message::Ready(fds)),
        [INSTANCE, rest @ ..] if fds.len() == 1 => Ok(Message::Instance {
            about: text(rest),
            init: fds.remove(0),
        }),
        [SESSION, rest @ ..] => {
            let text = text(rest);
            let (about, members) = text.split_once('\n').unwrap_or((&text, ""));
            let members = members.split_whitespace();
            Ok(Message::Session {
                about: about.to_owned(),
                members: members.filter_map(|word| word.parse().ok()).collect(),
            })
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Waits for a datagram; returns its length and what descriptors came with it.
fn receive_into(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut slices = [IoSliceMut::new(buffer)];
        match recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let fds = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    Ok((received, fds.collect()))
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
        send_ready(&builder, &[file(), file(), file()]);
        send_instance(&builder, "about", &file().into());
        assert!(matches!(receive(&caller).unwrap(), Message::Note(text) if text == "hello"));
        assert!(matches!(receive(&caller).unwrap(), Message::Failed(text) if text.len() == LIMIT));
        assert!(matches!(receive(&caller).unwrap(), Message::Ready(all) if all.len() == 3));
        let instance = receive(&caller).unwrap();
        assert!(matches!(instance, Message::Instance { about, .. } if about == "about"));
        drop(builder);
        assert_eq!(
            receive(&caller).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
