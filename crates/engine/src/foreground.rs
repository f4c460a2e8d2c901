//! Running a container in the foreground: create, start, pass on signals, wait, delete.

use std::os::unix::net::UnixListener;

use crate::create::{check, make};
use crate::pidfd::open_process;
use crate::shadow_bundle::{make_private, scratch};
use crate::supervise::Attendance;
use crate::terminal::{Terminal, receive_master};
use crate::{Create, Error};

/// How a container is run. The terminal of an attached one is connected to our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreground {
    /// It is started and left to itself.
    Detached,
    /// We wait for its end, and remove it then unless `keep`.
    Attached {
        /// Whether its state stays.
        keep: bool,
    },
}

/// Creates and starts a container; returns its exit code, 128 and the number for a signal, 0 when
/// detached.
///
/// # Errors
///
/// Fails when it cannot be created or started; nothing is left of it then.
pub fn run(mut request: Create, mode: Foreground) -> Result<u8, Error> {
    let prepared = check(&mut request)?;
    let (root, id) = (request.root.clone(), request.id.clone());
    let Foreground::Attached { keep } = mode else {
        start(make(request, &prepared)?, &root, &id)?;
        return Ok(0);
    };
    if request.console_socket.is_some() {
        return Err(Error::Refused(
            "a console socket is for a detached container".to_owned(),
        ));
    }
    let attendance = Attendance::begin()?;
    request.mask = attendance.before;
    let listener = if prepared.terminal {
        Some(console_socket(&mut request)?)
    } else {
        None
    };
    let container = make(request, &prepared)?;
    let pid = container.pid().ok_or(Error::Missing)?;
    let terminal = match listener {
        Some((listener, _directory)) => {
            let (socket, _) = listener
                .accept()
                .map_err(|source| Error::system("receive the container's terminal", source))?;
            Some(Terminal::attach(receive_master(&socket)?)?)
        }
        None => None,
    };
    let pidfd = open_process(pid)?;
    start(container, &root, &id)?;
    let code = attendance.wait(pid, &pidfd, terminal)?;
    if !keep {
        crate::Container::load(&root, &id)?.delete(true)?;
    }
    Ok(code)
}

fn start(mut container: crate::Container, root: &std::path::Path, id: &str) -> Result<(), Error> {
    container.start().inspect_err(|_| {
        if let Ok(container) = crate::Container::load(root, id) {
            let _ = container.delete(true);
        }
    })
}

/// Makes a socket for the container's terminal, in a directory that goes with the returned handle.
fn console_socket(request: &mut Create) -> Result<(UnixListener, Scratch), Error> {
    let directory = Scratch::new(&request.root, &request.id)?;
    let path = directory.0.join("console");
    let listener = UnixListener::bind(&path).map_err(Error::state("bind", &path))?;
    request.console_socket = Some(path);
    Ok((listener, directory))
}

/// A directory that is removed when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(root: &std::path::Path, id: &str) -> Result<Self, Error> {
        let path = scratch(root, "console", id);
        let _ = std::fs::remove_dir_all(&path);
        make_private(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
