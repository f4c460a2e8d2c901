//! Running a container in the foreground: create, start, pass on signals, wait, delete.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::unistd::Pid;

use crate::create::{check, make};
use crate::endings::Endings;
use crate::pidfd::open_process;
use crate::readiness::Readiness;
use crate::shadow_bundle::{make_private, scratch};
use crate::supervise::Supervisor;
use crate::terminal::{Terminal, receive_master};
use crate::{Container, Create, Error};

/// How a container is run. The terminal of an attached container is connected to our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreground {
    /// The container is started and left to itself.
    Detached,
    /// We wait for the container's end, and then remove it unless `keep` is set.
    Attached {
        /// Whether the container's state is kept.
        keep: bool,
    },
}

/// Creates and starts a container. Returns its exit code, 128 plus the number for a signal, or 0
/// when detached.
///
/// # Errors
///
/// Fails when the container cannot be created or started. Nothing of it is left then.
pub fn run(mut request: Create, mode: Foreground) -> Result<u8, Error> {
    let prepared = check(&mut request)?;
    let manager = request.notify_socket.clone();
    let Foreground::Attached { keep } = mode else {
        let endings = Endings::hold_back()?;
        let container = make(request, &prepared)?.knowing(prepared.document);
        let (container, readiness) = open_readiness(container, manager.as_deref())?;
        if let Err(asked) = endings.check() {
            return Err(remove(container, asked));
        }
        let container = start(container)?;
        // The wait for the program's readiness can be ended; the container is complete.
        drop(endings);
        if let (Some(readiness), Some(init)) = (readiness, container.pid())
            && let Err(error) = readiness.pass_on(init)
        {
            // The container runs, whether its manager hears of it or not.
            tracing::warn!("{}", text::one_line(&error));
        }
        return Ok(0);
    };
    if request.console_socket.is_some() {
        return Err(Error::Refused(
            "a console socket is for a detached container".to_owned(),
        ));
    }
    let supervisor = Supervisor::begin()?;
    request.mask = supervisor.before;
    let listener = if prepared.document.has_terminal() {
        Some(console_socket(&mut request)?)
    } else {
        None
    };
    let container = make(request, &prepared)?.knowing(prepared.document);
    let (pid, pidfd, terminal) = match attach(&container, listener) {
        Ok(attached) => attached,
        Err(error) => return Err(remove(container, error)),
    };
    let (container, readiness) = open_readiness(container, manager.as_deref())?;
    let container = start(container)?;
    if let Some(readiness) = readiness
        && let Err(error) = pass_on_beside(&readiness, pid)
    {
        return Err(remove(container, error));
    }
    let code = supervisor.wait(pid, &pidfd, terminal)?;
    if !keep {
        container.remove_ended()?;
    }
    Ok(code)
}

fn open_readiness(
    container: Container,
    manager: Option<&Path>,
) -> Result<(Container, Option<Readiness>), Error> {
    match manager.map(|manager| container.readiness(manager)) {
        Some(Ok(readiness)) => Ok((container, readiness)),
        Some(Err(error)) => Err(remove(container, error)),
        None => Ok((container, None)),
    }
}

/// Passes on the readiness in a process of its own, which ends with us.
fn pass_on_beside(readiness: &Readiness, init: Pid) -> Result<(), Error> {
    match sys::fork_at(false, None) {
        Ok(sys::Fork::Parent(_)) => Ok(()),
        Ok(sys::Fork::Child) => {
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            let told = readiness.pass_on(init);
            sys::exit_at_once(i32::from(told.is_err()))
        }
        Err(errno) => Err(Error::system("wait for the container's readiness", errno)),
    }
}

fn start(mut container: Container) -> Result<Container, Error> {
    match container.start_created() {
        Ok(()) => Ok(container),
        Err(error) => Err(remove(container, error)),
    }
}

/// Removes a container that cannot be run, and returns why it cannot.
fn remove(container: Container, error: Error) -> Error {
    let _ = container.remove(true);
    error
}

/// Attaches the first process of a container that waits for its start. It has sent its terminal
/// already.
fn attach(
    container: &Container,
    listener: Option<(UnixListener, Scratch)>,
) -> Result<(Pid, OwnedFd, Option<Terminal>), Error> {
    let pid = container.pid().ok_or(Error::Missing)?;
    let pidfd = open_process(pid)?;
    let Some((listener, _directory)) = listener else {
        return Ok((pid, pidfd, None));
    };
    let failed = |source: io::Error| Error::system("receive the container's terminal", source);
    listener.set_nonblocking(true).map_err(failed)?;
    let (socket, _) = listener.accept().map_err(failed)?;
    let terminal = Terminal::attach(receive_master(&socket)?)?;
    Ok((pid, pidfd, Some(terminal)))
}

/// Makes a socket for the container's terminal, in a directory that is removed with the returned
/// handle.
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
    fn new(root: &Path, id: &str) -> Result<Self, Error> {
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
