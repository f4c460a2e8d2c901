//! The kernel's keyrings.

use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` of `linux/keyctl.h`.
const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives the calling process a session keyring of its own in place of the one that it inherited, with whatever keys its
/// caller has there ([keyctl(2)]). A kernel without keyrings, and a filter around this process that forbids them, has
/// none to inherit.
///
/// # Errors
///
/// Returns the errno: `EDQUOT` when the user has too many keys.
///
/// [keyctl(2)]: https://man7.org/linux/man-pages/man2/keyctl.2.html
pub fn new_session_keyring() -> io::Result<()> {
    // SAFETY: without a name the kernel reads no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0usize) };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}
