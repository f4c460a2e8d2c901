//! The process at the other end of a socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `SO_PEERPIDFD` of `asm-generic/socket.h`, the same on x86-64 and ARM.
const SO_PEERPIDFD: libc::c_int = 77;

/// Returns a handle of the process at the other end of a Unix socket. If that end is a listening
/// socket, this is the process that made it listen ([unix(7)]). Returns `None` if the kernel cannot
/// tell, before Linux 6.5.
///
/// [unix(7)]: https://man7.org/linux/man-pages/man7/unix.7.html
///
/// # Errors
///
/// Fails when that process no longer exists.
pub fn peer_process(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut process: libc::c_int = -1;
    let mut size: libc::socklen_t = 4;
    // SAFETY: the kernel writes at most `size` bytes, which is the size of the number.
    let got = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut process).cast(),
            &raw mut size,
        )
    };
    if got == 0 {
        // SAFETY: the kernel has just opened the descriptor for the caller.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(process) }));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => Ok(None),
        _ => Err(error),
    }
}
