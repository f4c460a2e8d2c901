//! The kernel's information about a process, through its pidfd.

use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct pidfd_info` of `linux/pidfd.h`, as of Linux 6.15 (`PIDFD_INFO_SIZE_VER0` and the exit
/// code's place in it).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: asks for the exit code, and says that it was filled in.
const INFO_EXIT: u64 = 1 << 3;

nix::ioctl_readwrite!(pidfd_get_info, 0xFF, 11, PidfdInfo);

/// Returns the wait status ([wait(2)]) of an ended process that is not our child.
///
/// Returns `None` while the process runs, and on kernels before 6.15, which do not report it.
///
/// [wait(2)]: https://man7.org/linux/man-pages/man2/wait.2.html
#[must_use]
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo {
        mask: INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the kernel writes at most the size that the request number carries, which is that of
    // `PidfdInfo`, into `info`, which outlives the call.
    unsafe { pidfd_get_info(pidfd.as_raw_fd(), &raw mut info) }.ok()?;
    (info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}
