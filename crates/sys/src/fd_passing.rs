//! Passing descriptors to other processes, over unix sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
    socket_with,
};

/// Connects to a listening socket. Fails instead of waiting when the listener's queue is full.
///
/// # Errors
///
/// Fails when nobody listens, or cannot be reached.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Sends a descriptor with a text, which must not be empty (`SCM_RIGHTS`, unix(7)).
///
/// # Errors
///
/// Fails when the other end is closed.
pub fn send_fd(socket: impl AsFd, text: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let text = [IoSlice::new(text)];
    sendmsg(socket, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a text of at most a page, and the descriptor that came with it, if any. An empty text
/// means that the other end is closed.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn receive_with_fd(socket: impl AsFd) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut text = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut text)];
    let got = recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fd = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            fd = fds.next();
        }
    }
    text.truncate(got.bytes);
    Ok((text, fd))
}

/// A received descriptor. The text that came with it is dropped.
#[derive(Debug)]
pub struct Received {
    /// The descriptor, close-on-exec.
    pub fd: OwnedFd,
    /// The id of the process that sent it, as we see it, if the socket asks for it
    /// (`SO_PASSCRED`).
    pub sender: Option<i32>,
}

/// Receives a descriptor.
///
/// # Errors
///
/// Fails when the other end is closed, or sends none.
pub fn receive_fd(socket: impl AsFd) -> io::Result<Received> {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut text)];
    recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let (mut fd, mut sender) = (None, None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fd = fds.next(),
            RecvAncillaryMessage::ScmCredentials(credentials) => {
                sender = Some(credentials.pid.as_raw_nonzero().get());
            }
            _ => {}
        }
    }
    let fd = fd.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Received { fd, sender })
}
