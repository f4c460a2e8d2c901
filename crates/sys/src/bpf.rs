//! Programs that decide which devices a cgroup's processes may use.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands, types and flags of [bpf(2)] and `linux/bpf.h`.
///
/// [bpf(2)]: https://man7.org/linux/man-pages/man2/bpf.2.html
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads first; the rest counts as zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Puts a device program on a cgroup of the unified hierarchy, beside those that are there (Linux
/// 4.15): an access has to be allowed by all of them. `instructions` are `struct bpf_insn`s.
///
/// # Errors
///
/// Returns the errno of bpf(2): `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, instructions: &[u64]) -> io::Result<()> {
    let load = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    // SAFETY: the kernel reads the structure and, during the call, the slice and the string that it
    // points to.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &load) }?;
    // SAFETY: the descriptor is new, and nobody else's.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let as_u32 = |fd: i32| fd.unsigned_abs();
    let attach = AttachAttr {
        target_fd: as_u32(cgroup.as_raw_fd()),
        attach_bpf_fd: as_u32(program.as_raw_fd()),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the kernel reads the structure during the call.
    unsafe { bpf(BPF_PROG_ATTACH, &attach) }.map(|_| ())
}

/// # Safety
///
/// `attr` must be what the command reads, and its pointers valid.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<i32> {
    // SAFETY: the caller's promise; the size is that of the structure.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attr, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}
