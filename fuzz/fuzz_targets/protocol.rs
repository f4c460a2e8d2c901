//! Any datagram is a message of a session's socket or an error, with whatever descriptors come with it.

#![no_main]

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

// The module is private to the session crate, so it cannot be imported.
#[path = "../../crates/session/src/protocol.rs"]
#[allow(dead_code)]
mod protocol;

/// More descriptors than any message has.
const DESCRIPTORS: usize = 7;

// The first byte is the number of descriptors that are sent along, the rest the datagram.
fuzz_target!(|data: &[u8]| {
    let Some((count, datagram)) = data.split_first() else {
        return;
    };
    let file = File::open("/dev/null").expect("a file");
    let descriptors = vec![file.as_fd(); usize::from(*count) % (DESCRIPTORS + 1)];
    let received = |what: &dyn Fn(&std::os::fd::OwnedFd)| {
        let (ours, theirs) = protocol::pair().expect("a pair of sockets");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        let sent = sendmsg(
            &theirs,
            &[IoSlice::new(datagram)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
        if sent.is_ok() {
            drop(theirs);
            what(&ours);
        }
    };
    received(&|socket| {
        let _ = protocol::receive(socket);
    });
    received(&|socket| {
        if let Ok(Some(commanded)) = protocol::receive_command(socket) {
            assert_eq!(commanded.command as u8, datagram[0]);
        }
    });
    received(&|socket| {
        let _ = protocol::receive_introduction(socket, false);
    });
});
