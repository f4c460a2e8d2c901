//! Signals by number, including real-time signals, for which nix has no names.

use nix::errno::Errno;
use nix::unistd::Pid;

/// Sends a signal to one process ([kill(2)]). Signal 0 only checks that the process exists.
///
/// # Errors
///
/// Returns the errno of kill(2); `EINVAL` for a pid that means more than one process.
///
/// [kill(2)]: https://man7.org/linux/man-pages/man2/kill.2.html
pub fn kill(pid: Pid, signal: i32) -> nix::Result<()> {
    if pid.as_raw() <= 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: kill(2) takes two numbers and touches no memory of ours.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop)
}
