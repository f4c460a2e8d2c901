//! Making and ending processes.

use nix::unistd::{ForkResult, Pid};

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The caller; the new process has this id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Makes a copy of this process ([fork(2)]).
///
/// # Errors
///
/// Returns the errno of fork(2), and `EBUSY` when the process has more than one thread: the copy
/// would hold the locks of threads that it does not have.
///
/// [fork(2)]: https://man7.org/linux/man-pages/man2/fork.2.html
pub fn fork() -> nix::Result<Fork> {
    if thread_count() != 1 {
        return Err(nix::errno::Errno::EBUSY);
    }
    // SAFETY: there is exactly one thread (checked above), so no lock can be held by a thread that
    // is missing in the child, and the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// The link count of `/proc/self/task` is the number of threads plus two; without `/proc` the
/// caller is believed to be single-threaded.
fn thread_count() -> u64 {
    rustix::fs::stat("/proc/self/task").map_or(1, |stat| stat.st_nlink.saturating_sub(2))
}

/// Ends the process without running exit handlers or flushing buffers, as the child of a [`fork`]
/// must, since both belong to its parent.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}
