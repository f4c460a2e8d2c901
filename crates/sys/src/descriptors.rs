//! Closing what was inherited.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Closes every descriptor from 3 up but those in `keep` ([close_range(2)], Linux 5.9; older
/// kernels: one by one).
///
/// For a freshly forked process that must not hold its parent's pipes open. An owner of a
/// descriptor closed here must be forgotten, not dropped.
///
/// [close_range(2)]: https://man7.org/linux/man-pages/man2/close_range.2.html
pub fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(fd.as_raw_fd()).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().filter(|fd| *fd >= 3) {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    // SAFETY: closing a number that nobody uses is harmless; owners of the closed descriptors are
    // given up by this function's contract.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 16);
    for fd in u64::from(first)..=u64::from(last).min(open) {
        // SAFETY: as above.
        unsafe { libc::close(fd as libc::c_int) };
    }
}
