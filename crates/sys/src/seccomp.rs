//! Putting a process under a filter of its system calls.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Flags of [seccomp(2)].
///
/// [seccomp(2)]: https://man7.org/linux/man-pages/man2/seccomp.2.html
pub const SECCOMP_LOG: u32 = 1 << 1;
/// Leaves speculative store bypass as it is, Linux 4.17.
pub const SECCOMP_SPEC_ALLOW: u32 = 1 << 2;
/// Asks for a descriptor on which calls are reported, Linux 5.0.
pub const SECCOMP_NEW_LISTENER: u32 = 1 << 3;
/// Lets only a fatal signal end a call that is being answered, Linux 5.19.
pub const SECCOMP_WAIT_KILLABLE: u32 = 1 << 5;

const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;

/// `struct sock_fprog` of `linux/filter.h`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const u64,
}

/// Puts the calling thread, and the programs that it executes later, under a filter made of `struct
/// sock_filter`s. If the flags contain `SECCOMP_NEW_LISTENER`, returns its descriptor, which is
/// closed on execution.
///
/// # Errors
///
/// Returns the errno of seccomp(2): `EACCES` without `CAP_SYS_ADMIN` or no new privileges, `EINVAL`
/// for unknown flags and for an invalid program.
pub fn load_seccomp(instructions: &[u64], flags: u32) -> io::Result<Option<OwnedFd>> {
    let program = Program {
        len: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: instructions.as_ptr(),
    };
    // SAFETY: the kernel copies the program during the call, from a slice of that many
    // instructions of eight bytes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let result = i32::try_from(result).unwrap_or(-1);
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & SECCOMP_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result) }))
}

/// Returns a `struct sock_filter`, with the numbers of instructions to skip if the condition is
/// true, and if it is false (`linux/filter.h`).
#[must_use]
pub fn filter_instruction(code: u16, when_true: u8, when_false: u8, operand: u32) -> u64 {
    let [c0, c1] = code.to_ne_bytes();
    let [o0, o1, o2, o3] = operand.to_ne_bytes();
    u64::from_ne_bytes([c0, c1, when_true, when_false, o0, o1, o2, o3])
}
