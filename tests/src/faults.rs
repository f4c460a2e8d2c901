//! A faulty connection to a server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// The fault of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Each ends after this number of bytes from the server.
    Cut(u64),
    /// The first ones, as many as the first number says, are cut after this number of bytes. The
    /// others are not cut.
    CutFirst(usize, u64),
    /// The byte at this offset of each is changed.
    Corrupt(u64),
}

/// A proxy that listens on one port and forwards to another.
#[derive(Debug)]
pub struct Faulty {
    port: u16,
    ended: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    /// The number of bytes that were forwarded.
    bytes: Arc<AtomicU64>,
}

impl Faulty {
    /// Makes a proxy in front of a port of this machine.
    ///
    /// # Panics
    ///
    /// Panics when no port is free.
    #[must_use]
    pub fn before(port: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let faulty = Self {
            port: listener.local_addr().expect("it has an address").port(),
            ended: Arc::default(),
            connections: Arc::default(),
            bytes: Arc::default(),
        };
        let ended = Arc::clone(&faulty.ended);
        let connections = Arc::clone(&faulty.connections);
        let bytes = Arc::clone(&faulty.bytes);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let number = connections.fetch_add(1, Ordering::Relaxed);
                let fault = match fault {
                    Fault::CutFirst(count, after) if number < count => Some(Fault::Cut(after)),
                    Fault::CutFirst(..) => None,
                    other => Some(other),
                };
                let bytes = Arc::clone(&bytes);
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)) {
                    thread::spawn(move || lead(&client, &server, fault, &bytes));
                }
            }
        });
        faulty
    }

    /// Returns the proxy's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes from the server that were forwarded.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lead(client: &TcpStream, server: &TcpStream, fault: Option<Fault>, passed: &AtomicU64) {
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut chunk = [0; 4096];
    let mut at = 0_u64;
    let (mut server, mut client) = (server, client);
    while let Ok(count) = server.read(&mut chunk) {
        let Some(part) = chunk.get_mut(..count).filter(|part| !part.is_empty()) else {
            break;
        };
        let end = at + count as u64;
        let mut length = count;
        match fault {
            Some(Fault::Cut(after)) if end > after => {
                length = usize::try_from(after.saturating_sub(at)).unwrap_or(0);
            }
            Some(Fault::Corrupt(place)) if (at..end).contains(&place) => {
                let place = usize::try_from(place - at).unwrap_or(0);
                if let Some(byte) = part.get_mut(place) {
                    *byte ^= 0xff;
                }
            }
            _ => {}
        }
        at = end;
        passed.fetch_add(length as u64, Ordering::Relaxed);
        let written = client.write_all(part.get(..length).unwrap_or_default());
        if written.is_err() || length < count {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
