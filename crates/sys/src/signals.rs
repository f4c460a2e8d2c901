//! Signal dispositions.

/// Gives every signal its default disposition, as a program expects after exec(2). Ignored signals
/// stay ignored across exec, and Rust's start-up ignores SIGPIPE.
pub fn reset_signals() {
    // 1 to 64: NSIG of Linux. SIGKILL, SIGSTOP and two signals of the C library cannot be changed,
    // which is fine.
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours, so no handler can be left dangling.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Makes SIGHUP, SIGINT, SIGQUIT and SIGTERM end this process, also as the first of its PID namespace,
/// whose default dispositions do nothing ([pid_namespaces(7)]). [`reset_signals`] undoes it.
///
/// [pid_namespaces(7)]: https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
pub fn end_by_signals() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit(2) may be called in a handler, and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler is a function of this program's, which stays as long as it.
        unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
    }
}

/// Whether this process ignores a signal, as one under nohup(1) does.
#[must_use]
pub fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all bytes zero are a valid `sigaction`, which the kernel overwrites.
    let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed; the kernel writes into a value that outlives the call.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut found) };
    result == 0 && found.sa_sigaction == libc::SIG_IGN
}

/// Gives SIGPIPE its default disposition, which Rust's start-up took away.
pub fn reset_broken_pipe() {
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// The treatment of the ends of children before [`heed_children`].
#[derive(Debug)]
pub struct Children {
    ignored: bool,
}

/// Has the ends of children reported. The process that started this one may have switched this off.
#[must_use]
pub fn heed_children() -> Children {
    // SAFETY: as above.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    Children {
        ignored: before == libc::SIG_IGN,
    }
}

impl Children {
    /// Restores the previous treatment.
    pub fn restore(self) {
        if self.ignored {
            // SAFETY: SIG_IGN runs no code of ours.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        }
    }
}
