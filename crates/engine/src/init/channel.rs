//! The channel between the runtime and a container's first process until its program starts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socketpair};

/// Longest message, in bytes. Addresses of network devices are the longest.
const LONGEST: usize = 64 << 10;

/// A message. Those from the first process may be forged: another process of the container may be
/// able to look into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The number of the first process, from the process that made it.
    Born(i32),
    /// The first process may go on: it is in its cgroup and has its ids. Its number in the runtime's
    /// PID namespace comes with it.
    Go(i32),
    /// The hooks of the runtime's namespaces are to run now.
    Hooks,
    /// The clocks of the time namespace are to be set now.
    Clocks,
    /// The network devices are to be moved now.
    Devices,
    /// A request was carried out; the text belongs to it.
    Done(Vec<u8>),
    /// The process waits for its start.
    Ready,
    /// The process has failed, and ends.
    Failed(String),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Born(pid) => (b'b', pid.to_ne_bytes().to_vec()),
            Self::Go(pid) => (b'g', pid.to_ne_bytes().to_vec()),
            Self::Hooks => (b'h', Vec::new()),
            Self::Clocks => (b'c', Vec::new()),
            Self::Devices => (b'd', Vec::new()),
            Self::Done(text) => (b'o', text.clone()),
            Self::Ready => (b'r', Vec::new()),
            Self::Failed(text) => (b'f', text.clone().into_bytes()),
        };
        let mut bytes = vec![kind];
        bytes.extend(content);
        bytes.truncate(LONGEST);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, content) = bytes.split_first()?;
        let number = || Some(i32::from_ne_bytes(content.try_into().ok()?));
        Some(match kind {
            b'b' => Self::Born(number()?),
            b'g' => Self::Go(number()?),
            b'h' => Self::Hooks,
            b'c' => Self::Clocks,
            b'd' => Self::Devices,
            b'o' => Self::Done(content.to_vec()),
            b'r' => Self::Ready,
            b'f' => Self::Failed(String::from_utf8_lossy(content).into_owned()),
            _ => return None,
        })
    }
}

/// One end of the channel.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(one), Self(other)))
    }

    pub(super) fn send(&self, message: &Message) -> io::Result<()> {
        send(&self.0, &message.encode(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives the next message; `None` if the other end is closed.
    pub(super) fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; LONGEST];
        let length = loop {
            match recv(&self.0, &mut bytes[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Ok((_, length)) => break length,
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        match bytes.get(..length) {
            None | Some([]) => Ok(None),
            Some(bytes) => {
                let wrong = || io::Error::other("an unknown message came");
                Message::decode(bytes).map(Some).ok_or_else(wrong)
            }
        }
    }

    /// Sends a request, and returns the text of its answer.
    pub(super) fn ask(&self, request: &Message) -> io::Result<Vec<u8>> {
        self.send(request)?;
        match self.receive()? {
            Some(Message::Done(text)) => Ok(text),
            _ => Err(io::Error::other("the runtime has ended")),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let (one, other) = Channel::pair().unwrap();
        for message in [
            Message::Born(7),
            Message::Go(-1),
            Message::Hooks,
            Message::Done(vec![1, 2]),
            Message::Failed("why".to_owned()),
        ] {
            one.send(&message).unwrap();
            assert_eq!(other.receive().unwrap(), Some(message));
        }
        send(&one, b"x?", SendFlags::empty()).unwrap();
        assert!(other.receive().is_err());
        drop(one);
        assert_eq!(other.receive().unwrap(), None);
    }
}
