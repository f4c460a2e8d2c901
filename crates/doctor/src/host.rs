//! Checks the properties of the host that every container depends on.

use inject::Host;
use inject::fabric;
use rustix::process::{Resource, getrlimit};

use crate::{Finding, shared_memory};

/// Checks this host. `namespaces` is the reason why the caller cannot make namespaces, if there is
/// one.
#[must_use]
pub fn host(host: &Host, namespaces: Option<String>) -> Vec<Finding> {
    let mut findings = vec![match namespaces {
        None => Finding::works("namespaces", "user and mount namespaces are available"),
        Some(reason) => {
            let (what, remedy) = reason
                .split_once("; ")
                .unwrap_or((&reason, "ask the administrator"));
            Finding::fails("namespaces", what, remedy)
        }
    }];
    findings.push(fuse());
    findings.extend(shared_memory::ptrace(host));
    findings.extend(shared_memory::size());
    findings.extend(locked_memory(host));
    findings
}

fn fuse() -> Finding {
    let opened = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    match opened {
        Ok(_) => Finding::works("images", "SIFs can be mounted through /dev/fuse"),
        Err(error) => Finding::slow(
            "images",
            format!(
                "/dev/fuse: {}: each SIF is extracted to the cache before its first use",
                text::message(&error)
            ),
            "the administrator can allow it: modprobe fuse; chmod 666 /dev/fuse",
        ),
    }
}

/// Network cards read memory themselves, so this memory must be locked.
fn locked_memory(host: &Host) -> Option<Finding> {
    let limit = getrlimit(Resource::Memlock).current;
    if !fabric::is_there(host) {
        return None;
    }
    Some(match limit {
        None => Finding::works("locked memory", "unlimited"),
        Some(bytes) => Finding::slow(
            "locked memory",
            format!(
                "only {} KiB; cards of fast networks need locked memory",
                bytes >> 10
            ),
            "ulimit -l unlimited; under Slurm: srun --propagate=MEMLOCK, or LimitMEMLOCK=infinity for slurmd",
        ),
    })
}
