//! The kernel's keyrings.

use std::ffi::CStr;
use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` of `linux/keyctl.h`.
const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives the calling process a session keyring of its own. It replaces the inherited one, which has
/// the keys of the caller ([keyctl(2)]). With a name, the process joins the keyring of that name in
/// its user namespace, which is made if missing: the number of a user's keyrings is limited. If the
/// kernel has no keyrings, or a filter around this process forbids them, there is none to inherit.
///
/// # Errors
///
/// Returns the errno: `EDQUOT` when the user has too many keys.
///
/// [keyctl(2)]: https://man7.org/linux/man-pages/man2/keyctl.2.html
pub fn new_session_keyring(name: Option<&CStr>) -> io::Result<()> {
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the kernel reads a string that ends with a NUL byte, or nothing.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name) };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        error => Err(error),
    }
}
