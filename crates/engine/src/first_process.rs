//! A container's first process, by its number.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::Error;
use crate::pidfd::{ends_within, open_process};

/// How long it may take to end once it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it is written down when the first process began.
pub(crate) const BEGIN: &str = "begin";

/// Whether the number of a container's first process has gone to another, which began at another time. Where `/proc`
/// hides it, this is not known.
pub(crate) fn is_another(pid: Pid, directory: &Path) -> bool {
    let known = fs::read_to_string(directory.join(BEGIN)).ok();
    let found = begin_of(pid);
    known
        .zip(found)
        .is_some_and(|(known, found)| known != found)
}

/// When a process began, in clock ticks since the machine did.
pub(crate) fn begin_of(pid: Pid) -> Option<String> {
    let stat = sys::ProcessStat::of(pid.as_raw().cast_unsigned()).ok()?;
    Some(stat.started.to_string())
}

/// Whether a process is there and has not ended, which nothing can hide.
pub(crate) fn is_alive(pid: Pid) -> bool {
    open_process(pid).is_ok_and(|pidfd| ends_within(&pidfd, Duration::ZERO) == Ok(false))
}

pub(crate) fn send(pid: Pid, signal: i32) -> Result<(), Errno> {
    sys::kill(pid, signal)
}

/// Kills a process and waits until it is gone.
pub(crate) fn end(pid: Pid) -> Result<(), Error> {
    let Ok(pidfd) = open_process(pid) else {
        return Ok(());
    };
    match send(pid, nix::libc::SIGKILL) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(errno) => return Err(Error::system("kill the container's process", errno)),
    }
    match ends_within(&pidfd, PATIENCE) {
        Ok(false) => Err(Error::system(
            "kill the container's process",
            io::ErrorKind::TimedOut,
        )),
        _ => Ok(()),
    }
}
