//! Closing what was inherited.

use std::fs;

/// Closes every descriptor from 3 up that is not marked close-on-exec.
///
/// Everything that Rust's library opens carries that mark, so what goes is what the caller of this
/// program left open: the pipes of a launcher, which would otherwise never see their end while a
/// process of ours lives. Nothing happens without `/proc`.
pub fn close_inherited() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // SAFETY: F_GETFD reads a flag of a number, whoever owns it.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: no object of this program owns the descriptor, since all of them are
            // opened close-on-exec.
            unsafe { libc::close(fd) };
        }
    }
}
