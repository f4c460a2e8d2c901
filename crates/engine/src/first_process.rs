//! A container's first process, by its process id.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::pidfd::{ends_within, open_process};

/// Longest time that the process may take to end after it is killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the file that records when the first process began.
pub(crate) const BEGIN: &str = "begin";

/// Whether the id of a container's first process now belongs to another process, which began at
/// another time. Unknown, and so `false`, if `/proc` hides the process.
pub(crate) fn is_another(pid: Pid, directory: &Path) -> bool {
    let known = fs::read_to_string(directory.join(BEGIN)).ok();
    // A full disk may have left an empty file.
    let known = known.filter(|known| known.parse::<u64>().is_ok());
    let found = begin_of(pid);
    known
        .zip(found)
        .is_some_and(|(known, found)| known != found)
}

/// Returns when a process began, in clock ticks since the machine started.
pub(crate) fn begin_of(pid: Pid) -> Option<String> {
    let stat = sys::ProcessStat::of(pid.as_raw().cast_unsigned()).ok()?;
    Some(stat.started.to_string())
}

/// Whether a process exists and has not ended. Nothing can hide this.
pub(crate) fn is_alive(pid: Pid) -> bool {
    open_process(pid).is_ok_and(|pidfd| ends_within(&pidfd, Duration::ZERO) == Ok(false))
}

pub(crate) fn send(pid: Pid, signal: i32) -> Result<(), Errno> {
    sys::kill(pid, signal)
}
