//! Signal dispositions.

/// Gives every signal its default disposition, as a program expects after exec(2): ignored signals
/// stay ignored over it, and Rust's start-up ignores SIGPIPE.
pub fn reset_signals() {
    // 1 to 64: NSIG of Linux. SIGKILL, SIGSTOP and the C library's own two refuse; that is fine.
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours, so no handler can be left dangling.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Gives SIGPIPE its default disposition, which Rust's start-up took away.
pub fn reset_broken_pipe() {
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// How this process treated the ends of its children before [`heed_children`].
#[derive(Debug)]
pub struct Children {
    ignored: bool,
}

/// Has the ends of children reported, which whoever started this process may have switched off.
#[must_use]
pub fn heed_children() -> Children {
    // SAFETY: as above.
    let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    Children {
        ignored: before == libc::SIG_IGN,
    }
}

impl Children {
    /// Treats them as before.
    pub fn restore(self) {
        if self.ignored {
            // SAFETY: SIG_IGN runs no code of ours.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        }
    }
}
