//! Instances: sessions that somebody named, which last until they are stopped.
//!
//! Nothing is written down: an instance is its monitor's socket, under the user's and its own name.
//! What has ended is in no list, and two of one name cannot be.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::call::{self, Refusal};
use crate::name::{self, Name};
use crate::protocol::{Command, PATIENCE};
use crate::{Error, Namespaces, process};

/// What an instance is made from, besides its ground.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name; see [`Instance::is_name`].
    pub name: String,
    /// What its starter wants to be told about it later.
    pub about: String,
    /// Its program, if it has one.
    pub start: Option<Start>,
}

/// What an instance's first process starts: called in a process of its own, inside, with a session
/// and process group of its own. Returns only when the program could not be started, and then why.
#[derive(Clone)]
pub struct Start(pub Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}

/// An instance that runs.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// What its starter said.
    pub about: String,
    init: OwnedFd,
    namespaces: Namespaces,
}

/// How long the monitor may take to follow its instance.
const FAREWELL: Duration = Duration::from_secs(2);

impl Instance {
    /// The longest name, in bytes: what an abstract socket's holds besides the user's number.
    pub const LONGEST_NAME: usize = 80;

    /// Whether `name` can be an instance's: letters, digits, `-`, `.` and `_`.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (1..=Self::LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
    }

    /// Finds the caller's instance of that name, to look at; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Fails when there may be one that does not answer.
    pub fn find(name: &str) -> Result<Option<Running>, Error> {
        let end = Instant::now() + PATIENCE;
        call(name, Command::Look, end, end)
    }

    /// Finds the caller's instance of that name, to join it; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Fails when there may be one that does not answer.
    pub fn join(name: &str) -> Result<Option<Running>, Error> {
        let end = Instant::now() + PATIENCE;
        call(name, Command::Join, end, end)
    }

    /// Returns those of the caller's instances whose name is wanted, by name.
    ///
    /// # Errors
    ///
    /// Fails when the kernel's list of sockets cannot be read, and when there are too many names to ask under.
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
        // Its first process is not collected before its monitor ends.
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
    /// Returns the way in.
    #[must_use]
    pub fn namespaces(self) -> Namespaces {
        self.namespaces
    }

    /// Returns the id of its first process, as the caller's `/proc` has it; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        process::pid(&self.init)
    }

    /// Sends a signal to its first process, by number; that one passes on what is not for itself.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses; that it has ended already is no failure.
    pub fn signal(&self, number: i32) -> Result<(), Error> {
        let unknown = || Error::Signal(io::ErrorKind::InvalidInput.into());
        self.send(Signal::from_named_raw(number).ok_or_else(unknown)?)
    }

    /// Ends it and all that runs in it.
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
        // The proxy of a process inside must be able to see its end.
        let end = Instant::now() + PATIENCE;
        let _ = Name::instance(&self.name).map(|name| name.call(Command::Wake, end, end));
        Ok(())
    }

    /// Waits for its end, at most `limit`; returns whether it came. Its name is free then.
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
