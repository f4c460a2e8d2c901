//! The memory through which the ranks of a node exchange messages.

use std::path::Path;

use inject::Host;

use crate::Finding;

/// The least useful size of `/dev/shm`, in bytes: the default of container engines.
const LEAST: u64 = 64 << 20;

/// Reports if processes may not read each other's memory: Yama's switch
/// (`Documentation/admin-guide/LSM/Yama.rst`). With 1, MPI libraries grant each other the
/// permission.
pub(crate) fn ptrace(host: &Host) -> Option<Finding> {
    let path = "/proc/sys/kernel/yama/ptrace_scope";
    let scope: u32 = host.text(Path::new(path))?.parse().ok()?;
    (scope > 1).then(|| {
        Finding::slow(
            "shared memory",
            format!("kernel.yama.ptrace_scope is {scope}: ranks cannot read each other's memory, so MPI copies messages twice"),
            "the administrator can allow it: sysctl kernel.yama.ptrace_scope=1",
        )
    })
}

/// Reports if the host has too little shared memory for MPI.
pub(crate) fn size() -> Option<Finding> {
    let status = rustix::fs::statvfs("/dev/shm").ok()?;
    let size = status.f_blocks.saturating_mul(status.f_frsize);
    (size < LEAST).then(|| {
        Finding::slow(
            "shared memory",
            format!(
                "/dev/shm has {} MiB: too small for MPI's messages",
                size >> 20
            ),
            "the administrator can enlarge it: mount -o remount,size=50% /dev/shm",
        )
    })
}

/// Reports whether the ranks of a node can read each other's memory. `is_shared` is whether they share
/// a container.
pub(crate) fn of_ranks(is_shared: bool) -> Finding {
    match is_shared {
        true => Finding::works(
            "shared memory",
            "ranks on a node share a container and can read each other's memory",
        ),
        false => Finding::slow(
            "shared memory",
            "each rank has its own container: ranks cannot read each other's memory, so MPI copies long messages \
             twice, and some libraries do not start",
            "omit --no-share",
        ),
    }
}
