//! The ground that every container stands on.

use std::path::Path;

use inject::Host;
use inject::fabric;
use rustix::process::{Resource, getrlimit};

use crate::Finding;

/// The least shared memory that is worth the name, in bytes: engines' default for a container.
const SHARED_MEMORY: u64 = 64 << 20;

/// Looks at this host. `namespaces` is why the caller can have none, if so.
#[must_use]
pub fn host(host: &Host, namespaces: Option<String>) -> Vec<Finding> {
    let mut findings = vec![match namespaces {
        None => Finding::works("namespaces", "user and mount namespaces can be made"),
        Some(reason) => {
            let (what, remedy) = reason
                .split_once("; ")
                .unwrap_or((&reason, "ask the administrator"));
            Finding::fails("namespaces", what, remedy)
        }
    }];
    findings.push(fuse());
    findings.extend(ptrace(host));
    findings.extend(shared_memory());
    findings.extend(locked_memory(host));
    findings
}

fn fuse() -> Finding {
    let opened = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    match opened {
        Ok(_) => Finding::works("images", "SIFs are mounted, by /dev/fuse"),
        Err(error) => Finding::slow(
            "images",
            format!(
                "/dev/fuse: {}: each SIF is extracted to the cache before its first use",
                sys::words(&error)
            ),
            "the administrator can allow it: modprobe fuse; chmod 666 /dev/fuse",
        ),
    }
}

/// Whether processes may read each other's memory: Yama's switch (`Documentation/admin-guide/LSM/Yama.rst`).
/// With 1, MPI libraries allow it to each other.
fn ptrace(host: &Host) -> Option<Finding> {
    let path = "/proc/sys/kernel/yama/ptrace_scope";
    let scope: u32 = host.text(Path::new(path))?.parse().ok()?;
    (scope > 1).then(|| {
        Finding::slow(
            "shared memory",
            format!("kernel.yama.ptrace_scope is {scope}: ranks cannot read each other's memory, and MPI copies twice"),
            "the administrator can allow it: sysctl kernel.yama.ptrace_scope=1",
        )
    })
}

fn shared_memory() -> Option<Finding> {
    let status = rustix::fs::statvfs("/dev/shm").ok()?;
    let size = status.f_blocks.saturating_mul(status.f_frsize);
    (size < SHARED_MEMORY).then(|| {
        Finding::slow(
            "shared memory",
            format!(
                "/dev/shm has {} MiB: MPI may not find room for its messages there",
                size >> 20
            ),
            "the administrator can give it more: mount -o remount,size=50% /dev/shm",
        )
    })
}

/// Memory that network cards read themselves must be locked.
fn locked_memory(host: &Host) -> Option<Finding> {
    let limit = getrlimit(Resource::Memlock).current;
    if !fabric::is_there(host) {
        return None;
    }
    Some(match limit {
        None => Finding::works("locked memory", "as much as a fast network wants"),
        Some(bytes) => Finding::slow(
            "locked memory",
            format!(
                "only {} KiB, and a fast network's cards read what is locked",
                bytes >> 10
            ),
            "ulimit -l unlimited; under Slurm: srun --propagate=MEMLOCK, or LimitMEMLOCK=infinity for slurmd",
        ),
    })
}
