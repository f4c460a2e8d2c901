//! Making and ending processes.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{ForkResult, Pid};

/// The side of a [`fork`] that this process is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The caller, with the id of the new process.
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
        return Err(Errno::EBUSY);
    }
    // SAFETY: there is exactly one thread (checked above), so no lock can be held by a thread that
    // is missing in the child, and the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Makes a copy of this process as [`fork`] does, but in another place ([clone3(2)]).
///
/// With `sibling`, the new process is a child of our parent, not of us. With `cgroup`, it starts in
/// the cgroup (version 2, Linux 5.7) that has this directory. Unlike a later move, this does not
/// wait for anything.
///
/// # Errors
///
/// As [`fork`], and the errno of clone3(2).
///
/// [clone3(2)]: https://man7.org/linux/man-pages/man2/clone3.2.html
pub fn fork_at(sibling: bool, cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Fork> {
    clone(if sibling { libc::CLONE_PARENT } else { 0 }, cgroup)
}

/// Makes a copy of this process as [`fork_at`] does, in new namespaces. The new process has a new id
/// in a new PID namespace, and is nobody in a new user namespace until its maps are written.
///
/// # Errors
///
/// As [`fork_at`].
pub fn fork_into(
    namespaces: CloneFlags,
    sibling: bool,
    cgroup: Option<BorrowedFd<'_>>,
) -> nix::Result<Fork> {
    let parent = if sibling { libc::CLONE_PARENT } else { 0 };
    clone(namespaces.bits() | parent, cgroup)
}

/// Makes a copy of this process as [`fork`] does, but no debugger of this process follows it
/// (`CLONE_UNTRACED`, [clone(2)]). The new process may have to answer requests of the debugger
/// itself.
///
/// # Errors
///
/// As [`fork_at`].
///
/// [clone(2)]: https://man7.org/linux/man-pages/man2/clone.2.html
pub fn fork_untraced() -> nix::Result<Fork> {
    clone(libc::CLONE_UNTRACED, None)
}

fn clone(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Fork> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    if thread_count() != 1 {
        return Err(Errno::EBUSY);
    }
    let as_u64 = |number: i32| u64::from(number.unsigned_abs());
    let sibling = flags & libc::CLONE_PARENT != 0;
    let args = libc::clone_args {
        flags: as_u64(flags)
            | if cgroup.is_some() {
                CLONE_INTO_CGROUP
            } else {
                0
            },
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        // A sibling gets the signal of the process that it is a sibling of.
        exit_signal: if sibling { 0 } else { as_u64(libc::SIGCHLD) },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| as_u64(fd.as_raw_fd())),
    };
    // SAFETY: as in `fork`; without CLONE_VM and without a stack, the child continues with a copy
    // of everything, and the kernel reads one `clone_args` during the call.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    let result = match Errno::result(result) {
        // Docker's filter cannot look at what clone3(2) is asked for, and hides it.
        Err(Errno::ENOSYS) if cgroup.is_none() => {
            let signal = if sibling { 0 } else { libc::SIGCHLD };
            // SAFETY: as above; the other arguments are pointers that the flags leave unused.
            Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags | signal, 0, 0, 0, 0) })
        }
        result => result,
    };
    match result? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(
            i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?,
        ))),
    }
}

/// Returns the number of threads: the link count of `/proc/self/task` minus two. Without `/proc`,
/// assumes that the caller is single-threaded.
fn thread_count() -> u64 {
    rustix::fs::stat("/proc/self/task").map_or(1, |stat| stat.st_nlink.saturating_sub(2))
}

/// Ends the process without running exit handlers or flushing buffers, as the child of a [`fork`]
/// must, since both belong to its parent.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}
