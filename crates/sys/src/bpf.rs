//! Attaching device programs to cgroups, by [bpf(2)] and `linux/bpf.h`.
//!
//! [bpf(2)]: https://man7.org/linux/man-pages/man2/bpf.2.html

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;

/// Types and flags.
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
const BPF_F_REPLACE: u32 = 4;

/// Largest number of programs of one cgroup: `BPF_CGROUP_MAX_PROGS`.
const MOST: usize = 64;

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
    replace_bpf_fd: u32,
}

#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    /// Fields that newer kernels know and write to (the last since 6.17).
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

#[repr(C)]
struct IdAttr {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
}

/// Attaches a device program to a cgroup of the unified hierarchy, in addition to its other
/// programs (Linux 4.15): all of them have to allow an access. `instructions` is a list of
/// `struct bpf_insn`.
///
/// # Errors
///
/// Returns the errno of bpf(2): `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, instructions: &[u64]) -> io::Result<()> {
    let program = load(instructions)?;
    attach(cgroup, &program, BPF_F_ALLOW_MULTI, None)
}

/// Replaces each device program of a cgroup by the one that `rewrite` makes of its instructions
/// (Linux 5.6).
///
/// # Errors
///
/// Returns the errno of bpf(2). This is `EPERM`, too, if the kernel does not show a program's
/// instructions (`net.core.bpf_jit_harden`).
pub fn replace_device_programs(
    cgroup: BorrowedFd<'_>,
    rewrite: impl Fn(&[u64]) -> Vec<u64>,
) -> io::Result<()> {
    let mut ids = [0_u32; MOST];
    let mut query = QueryAttr {
        target_fd: number(cgroup.as_raw_fd()),
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(MOST).unwrap_or(0),
        padding: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: the kernel writes into the structure, and at most as many numbers as the structure
    // says there is room for.
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    let count = usize::try_from(query.prog_cnt).unwrap_or(MOST);
    for id in ids.into_iter().take(count) {
        let mut by_id = IdAttr {
            prog_id: id,
            next_id: 0,
            open_flags: 0,
        };
        // SAFETY: the kernel reads the structure during the call.
        let old = unsafe { descriptor(BPF_PROG_GET_FD_BY_ID, &mut by_id) }?;
        let new = load(&rewrite(&instructions(&old)?))?;
        if query.attach_flags & BPF_F_ALLOW_MULTI == 0 {
            // If only one program is allowed, the new one replaces it.
            attach(cgroup, &new, query.attach_flags, None)?;
        } else {
            attach(cgroup, &new, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, Some(&old))?;
        }
    }
    Ok(())
}

fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut load = LoadAttr {
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
    unsafe { descriptor(BPF_PROG_LOAD, &mut load) }
}

fn attach(
    cgroup: BorrowedFd<'_>,
    program: &OwnedFd,
    flags: u32,
    replaced: Option<&OwnedFd>,
) -> io::Result<()> {
    let mut attach = AttachAttr {
        target_fd: number(cgroup.as_raw_fd()),
        attach_bpf_fd: number(program.as_raw_fd()),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: flags,
        replace_bpf_fd: replaced.map_or(0, |old| number(old.as_raw_fd())),
    };
    // SAFETY: the kernel reads the structure during the call.
    unsafe { bpf(BPF_PROG_ATTACH, &mut attach) }.map(|_| ())
}

/// Returns the instructions of a program from the kernel. A device program has them as they were
/// loaded.
fn instructions(program: &OwnedFd) -> io::Result<Vec<u64>> {
    let ask = |info: &mut ProgInfo| {
        let mut by_fd = InfoAttr {
            bpf_fd: number(program.as_raw_fd()),
            info_len: u32::try_from(size_of::<ProgInfo>()).unwrap_or(0),
            info: std::ptr::from_mut(info) as u64,
        };
        // SAFETY: the kernel writes into the structure at most the size that it is given, and into
        // the buffer that the structure names, which is empty or has the stated length.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut by_fd) }
    };
    let mut info = ProgInfo::default();
    ask(&mut info)?;
    let length = info.xlated_prog_len;
    let mut instructions = vec![0_u64; usize::try_from(length / 8).unwrap_or(0)];
    info = ProgInfo {
        xlated_prog_len: length,
        xlated_prog_insns: instructions.as_mut_ptr() as u64,
        ..ProgInfo::default()
    };
    ask(&mut info)?;
    if instructions.is_empty() || info.xlated_prog_insns == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(instructions)
}

fn number(descriptor: i32) -> u32 {
    descriptor.unsigned_abs()
}

/// # Safety
///
/// As for [`bpf`]; the command must be one that returns a new descriptor.
unsafe fn descriptor<T>(command: libc::c_int, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: promised by the caller.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
///
/// `attr` must be the structure that the command reads and writes, and its pointers must be valid.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<i32> {
    // SAFETY: promised by the caller; the size is that of the structure.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData.into())
}
