//! The readiness that a container's program reports to the service manager of the host
//! ([sd_notify(3)]), as runc passes it on.
//!
//! The program gets a socket of the runtime's in place of the manager's. The runtime passes on
//! `READY`, and tells the manager which process is the service's main one.
//!
//! [sd_notify(3)]: https://man7.org/linux/man-pages/man3/sd_notify.3.html

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;

use crate::pidfd::{open_process, timespec};
use crate::{Document, Error};

/// The socket's directory in the container, and its name there.
const INSIDE: &str = "/run/notify";
const NAME: &str = "notify.sock";

/// Time in which a manager must have room for a message.
const QUEUE: Duration = Duration::from_secs(5);
/// Longest time that the manager may take to confirm that it has read everything before.
const BARRIER: Duration = Duration::from_secs(30);

/// Returns the directory of a container's socket in its state.
pub(crate) fn directory(state: &Path) -> PathBuf {
    state.join("notify")
}

/// Makes the directory.
pub(crate) fn make_directory(state: &Path) -> Result<(), Error> {
    let directory = directory(state);
    let made = DirBuilder::new().mode(0o755).create(&directory);
    made.map_err(Error::state("create", &directory))
}

/// Gives a container the socket, in place of the one that its process has in its environment.
pub(crate) fn give(document: &mut Document, state: &Path) {
    let mount = json!({
        "destination": INSIDE,
        "type": "bind",
        "source": directory(state),
        "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
    });
    let mounts = &mut document["mounts"];
    match mounts.as_array_mut() {
        Some(list) => list.push(mount),
        None => *mounts = json!([mount]),
    }
    let environment = &mut document["process"]["env"];
    let mut variables = environment.as_array().cloned().unwrap_or_default();
    variables.push(json!(format!("NOTIFY_SOCKET={INSIDE}/{NAME}")));
    *environment = variables.into();
}

/// The socket of a container that is about to start.
#[derive(Debug)]
pub(crate) struct Readiness {
    socket: UnixDatagram,
    manager: PathBuf,
}

impl Readiness {
    /// Opens the socket of a container, if the container was made with one. `manager` is the
    /// manager's socket.
    pub(crate) fn open(state: &Path, manager: &Path) -> Result<Option<Self>, Error> {
        let directory = directory(state);
        if !directory.is_dir() {
            return Ok(None);
        }
        let path = directory.join(NAME);
        let opened = || -> io::Result<UnixDatagram> {
            // The path may be longer than the name of a socket.
            let open = fs::File::open(&directory)?;
            let short = format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd());
            let socket = UnixDatagram::bind(short)?;
            fs::set_permissions(&path, Permissions::from_mode(0o777))?;
            Ok(socket)
        };
        Ok(Some(Self {
            socket: opened().map_err(Error::state("listen at", &path))?,
            manager: manager.to_owned(),
        }))
    }

    /// Waits until the program is ready, and tells the manager. The end of the first process ends the
    /// wait.
    pub(crate) fn pass_on(&self, init: Pid) -> Result<(), Error> {
        let failed =
            |source: io::Error| Error::system("wait for the container's readiness", source);
        let process = open_process(init)?;
        loop {
            let mut fds = [
                PollFd::new(&process, PollFlags::IN),
                PollFd::new(&self.socket, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(rustix::io::Errno::INTR) => continue,
                polled => polled.map_err(|errno| failed(errno.into()))?,
            };
            let [ended, told] = fds.map(|fd| !fd.revents().is_empty());
            if told && let Some(line) = self.receive().map_err(failed)? {
                return self
                    .tell(&line, init)
                    .map_err(Error::state("notify", &self.manager));
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Receives a message, and returns its line about readiness.
    fn receive(&self) -> io::Result<Option<String>> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes)?;
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
        let mut lines = text.lines();
        Ok(lines
            .find(|line| line.starts_with("READY="))
            .map(str::to_owned))
    }

    fn tell(&self, line: &str, init: Pid) -> io::Result<()> {
        let manager = UnixDatagram::unbound()?;
        // A manager that reads nothing has a full queue.
        manager.set_write_timeout(Some(QUEUE))?;
        let name = self
            .manager
            .to_str()
            .and_then(|path| path.strip_prefix('@'));
        match name {
            Some(name) => manager.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => manager.connect(&self.manager)?,
        }
        manager.send(format!("{line}\n").as_bytes())?;
        manager.send(format!("MAINPID={init}\n").as_bytes())?;
        // The manager closes its end when it has read all messages before.
        let (mut reader, writer) = io::pipe()?;
        sys::send_fd(&manager, b"BARRIER=1", writer.as_fd())?;
        drop(writer);
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        if poll(&mut fds, Some(&timespec(BARRIER)))? > 0 {
            let _ = reader.read(&mut [0])?;
        }
        Ok(())
    }
}
