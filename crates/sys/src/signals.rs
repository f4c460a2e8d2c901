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
