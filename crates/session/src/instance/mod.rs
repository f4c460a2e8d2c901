//! Instances: named sessions, which last until they are stopped.
//!
//! Nothing is stored: an instance is its monitor's socket, whose name contains the user and the
//! instance's name. So an ended instance is in no list, and two of the same name cannot exist.

pub(crate) mod init;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::call::{self, Refusal};
use crate::name::{self, Name};
use crate::protocol::{Command, PATIENCE};
use crate::{Error, Namespaces, process};

/// The parameters of an instance, besides the session specification.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The instance's name; see [`Instance::is_name`].
    pub name: String,
    /// The starter's description of the instance, for later calls.
    pub about: String,
    /// The instance's program, if it has one.
    pub start: Option<Start>,
}

/// The function that starts an instance's program. It is called in a process of its own, inside,
/// with a session and process group of its own. Returns only when the program could not be started,
/// with the reason.
#[derive(Clone)]
pub struct Start(pub Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}

/// A running instance.
#[derive(Debug)]
pub struct Running {
    /// The instance's name.
    pub name: String,
    /// The starter's description.
    pub about: String,
    init: OwnedFd,
    namespaces: Namespaces,
}

/// Time that the monitor may take to end after its instance.
const FAREWELL: Duration = Duration::from_secs(2);

impl Instance {
    /// Longest name, in bytes: the space in an abstract socket's name besides the user's id.
    pub const LONGEST_NAME: usize = 80;

    /// Whether `name` is a valid name of an instance: letters, digits, `-`, `.` and `_`.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (1..=Self::LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
    }

    /// Finds the caller's instance of that name, to inspect it. Returns `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails when there may be an instance that does not answer.
    pub fn find(name: &str) -> Result<Option<Running>, Error> {
        let end = Instant::now() + PATIENCE;
        call(name, Command::Look, end, end)
    }

    /// Finds the caller's instance of that name, to join it. Returns `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails when there may be an instance that does not answer.
    pub fn join(name: &str) -> Result<Option<Running>, Error> {
        let end = Instant::now() + PATIENCE;
        call(name, Command::Join, end, end)
    }

    /// Returns those of the caller's instances for whose name `wanted` is true, by name.
    ///
    /// # Errors
    ///
    /// Fails when the kernel's list of sockets cannot be read, or there are too many names to ask
    /// under.
    pub fn all(wanted: impl Fn(&str) -> bool) -> Result<Vec<Running>, Error> {
        let names = name::names(&name::instances()).map_err(Error::Instances)?;
        let names = names.iter().filter(|name| wanted(name));
        name::ask_all(names, |name, end, busy| {
            call(name, Command::Look, end, busy).ok().flatten()
        })
    }
}

fn call(
    name: &str,
    command: Command,
    end: Instant,
    busy: Instant,
) -> Result<Option<Running>, Error> {
    let answer = || -> io::Result<Option<Running>> {
        let Some(called) = Name::instance(name) else {
            return Ok(None);
        };
        let Some(call) = called.call(command, end, busy)? else {
            return Ok(None);
        };
        let joined = match call.namespaces()? {
            Ok(told) => told,
            Err(Refusal::Refused) => return Ok(None),
            Err(Refusal::Full(reason)) => return Err(io::Error::other(reason)),
        };
        // The instance's first process is not collected before its monitor ends, so its id is not
        // reused.
        let (init, about) = joined
            .about
            .split_once('\n')
            .ok_or(io::ErrorKind::InvalidData)?;
        let init = init.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Some(Running {
            name: name.to_owned(),
            about: about.to_owned(),
            init: joined.monitor.open_process(init)?,
            namespaces: Namespaces::new(joined.namespaces),
        }))
    };
    match answer() {
        Ok(found) => Ok(found),
        Err(error) if call::is_late(&error) => Err(Error::Busy(name.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::Other => Err(Error::OpenNamespaces(error)),
        Err(_) => Ok(None),
    }
}

impl Running {
    /// Returns the instance's namespaces.
    #[must_use]
    pub fn namespaces(self) -> Namespaces {
        self.namespaces
    }

    /// Returns the name of the instance's namespace of process ids, as `/proc/PID/ns/pid` shows it.
    #[must_use]
    pub fn pid_namespace(&self) -> Option<PathBuf> {
        self.namespaces.names().find(|name| {
            let name = name.to_string_lossy();
            name.starts_with("pid:")
        })
    }

    /// Returns the id of the instance's first process in the caller's `/proc`; `None` once it has
    /// ended.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        process::pid(&self.init)
    }

    /// Sends a signal, by number, to the instance's first process, which passes on signals that are
    /// not for itself.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses. It is not an error if the process has already ended.
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        let unknown = || Error::Signal(io::ErrorKind::InvalidInput.into());
        self.send(Signal::from_named_raw(number).ok_or_else(unknown)?)
    }

    /// Kills the instance and all processes in it.
    ///
    /// # Errors
    ///
    /// As [`Running::signal`].
    pub fn kill(&self) -> Result<(), Error> {
        self.send(Signal::KILL)
    }

    fn send(&self, signal: Signal) -> Result<(), Error> {
        match pidfd_send_signal(&self.init, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(Error::Signal(errno.into())),
        }
        // A stopped proxy of a process inside must be able to see the end of that process.
        let end = Instant::now() + PATIENCE;
        let _ = Name::instance(&self.name).map(|name| name.call(Command::Wake, end, end));
        Ok(())
    }

    /// Waits for the instance's end, at most `limit`. Returns whether it has ended; its name is
    /// free then.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        let mut fds = [PollFd::new(&self.init, PollFlags::IN)];
        if !matches!(poll(&mut fds, limit.as_ref()), Ok(1..)) {
            return false;
        }
        let ended = Instant::now();
        let there = || {
            let end = ended + FAREWELL;
            let call = Name::instance(&self.name).map(|name| name.call(Command::Look, end, end));
            !matches!(call, Some(Ok(None)) | None)
        };
        while there() && ended.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["web", "a", "A-b.c_9", &"x".repeat(80)] {
            assert!(Instance::is_name(name), "{name}");
        }
        for name in ["", "a/b", "a b", "é", "a\n", "a*", &"x".repeat(81)] {
            assert!(!Instance::is_name(name), "{name}");
        }
        assert!(Name::instance(&"x".repeat(80)).is_some());
    }

    #[test]
    fn there_is_no_other() {
        assert!(matches!(
            Instance::find("nobody-ever-started-this"),
            Ok(None)
        ));
    }
}
