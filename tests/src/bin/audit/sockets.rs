//! Sockets: those of `front`, and those of others.

use std::fs::{self};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};

use crate::{Audit, name_of};

impl Audit {
    pub(crate) fn sockets(&mut self) {
        let table = fs::read("/proc/net/unix").unwrap_or_default();
        let table = String::from_utf8_lossy(&table).into_owned();
        for line in table.lines().skip(1) {
            // Num RefCount Protocol Flags Type St Inode Path
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, _, _, flags, kind, _, _, name] = words.as_slice() else {
                continue;
            };
            let listens = *flags == "00010000";
            self.tried();
            match (name.strip_prefix('@'), *kind) {
                (Some(name), "0001") if listens => self.call(name, SocketType::STREAM),
                (Some(name), "0005") if listens => self.call(name, SocketType::SEQPACKET),
                (Some(name), "0002") => self.call(name, SocketType::DGRAM),
                (None, "0001") if listens && UnixStream::connect(name).is_ok() => {
                    self.got("socket", name, "");
                }
                (None, "0002") => {
                    let called = UnixDatagram::unbound().and_then(|own| own.connect(name));
                    if called.is_ok() {
                        self.got("socket", name, "");
                    }
                }
                _ => {}
            }
        }
    }

    /// Connects to an abstract socket. A monitor of `front`'s is asked for its description by one
    /// byte.
    fn call(&mut self, name: &str, kind: SocketType) {
        let called = socket_with(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK, None).and_then(
            |socket| {
                let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
                connect(&socket, &address)?;
                Ok(socket)
            },
        );
        let Ok(socket) = called else { return };
        let peer = socket_peercred(&socket);
        let peer = peer.map_or_else(
            |_| "nobody known".to_owned(),
            |peer| {
                let pid = peer.pid.as_raw_nonzero().get();
                format!("of uid {} pid {pid} {}", peer.uid.as_raw(), name_of(pid))
            },
        );
        self.got("abstract-socket", &format!("@{name}"), &peer);
        if !name.starts_with("front/") || kind != SocketType::SEQPACKET {
            return;
        }
        for (length, descriptors) in ask(&socket) {
            let detail = format!("{length} bytes and {descriptors} descriptors");
            self.got("answer", &format!("@{name}"), &detail);
        }
    }
}

/// Asks a monitor for its description. Returns the length of each answer, and the number of
/// descriptors that come with it.
fn ask(socket: &OwnedFd) -> Vec<(usize, usize)> {
    let waiting = rustix::io::ioctl_fionbio(socket, false)
        .and_then(|()| set_socket_timeout(socket, Timeout::Recv, Some(Duration::from_millis(500))))
        .and_then(|()| send(socket, b"?", SendFlags::NOSIGNAL));
    let mut answers = Vec::new();
    while waiting.is_ok() && answers.len() < 4 {
        let mut buffer = vec![0; 32 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let Some(length) = received
            .ok()
            .map(|received| received.bytes)
            .filter(|length| *length > 0)
        else {
            break;
        };
        let descriptors = ancillary.drain().map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.count(),
            _ => 0,
        });
        answers.push((length, descriptors.sum()));
    }
    answers
}
