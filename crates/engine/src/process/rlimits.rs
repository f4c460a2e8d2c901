//! Resource limits of a process.

use libcontainer::oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process};
use libcontainer::syscall::syscall::SyscallType;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;

/// The names in the specification and in the kernel, setrlimit(2).
const NAMES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::RLIMIT_AS),
    ("RLIMIT_CORE", Resource::RLIMIT_CORE),
    ("RLIMIT_CPU", Resource::RLIMIT_CPU),
    ("RLIMIT_DATA", Resource::RLIMIT_DATA),
    ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", Resource::RLIMIT_NICE),
    ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
    ("RLIMIT_RSS", Resource::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", Resource::RLIMIT_STACK),
];

/// Sets those limits of a specification for which `is_due` is true, on the calling process.
///
/// # Errors
///
/// Returns a message that names the limit that the kernel refuses.
pub(crate) fn set(process: &Process, is_due: impl Fn(&PosixRlimit) -> bool) -> Result<(), String> {
    let syscall = SyscallType::default().create_syscall();
    let limits = process.rlimits().iter().flatten();
    for limit in limits.filter(|limit| is_due(limit)) {
        let set = syscall.set_rlimit(limit);
        set.map_err(|error| format!("process.rlimits: {}: {error}", limit.typ()))?;
    }
    Ok(())
}

/// Whether a limit lowers the number of files that the calling process may open. Lowering needs no
/// privilege.
pub(crate) fn takes_files(limit: &PosixRlimit) -> bool {
    let (_, own) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    limit.typ() == PosixRlimitType::RlimitNofile && limit.hard() <= own
}

/// Refuses, with its name, a limit that the kernel would refuse: a soft limit above the hard one,
/// or one above our own that we may not raise.
pub(crate) fn check(limits: Option<&Value>) -> Result<(), String> {
    let may_raise = caps::has_cap(
        None,
        caps::CapSet::Effective,
        caps::Capability::CAP_SYS_RESOURCE,
    );
    let may_raise = may_raise.unwrap_or(true);
    for limit in limits.and_then(Value::as_array).into_iter().flatten() {
        let name = limit
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let of = |name: &str| limit.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (soft, hard) = (of("soft"), of("hard"));
        if soft > hard {
            return Err(format!(
                "process.rlimits: {name}: the soft limit {soft} is above the hard one, {hard}"
            ));
        }
        let Some((_, resource)) = NAMES.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        let own = getrlimit(*resource).map_or(u64::MAX, |(_, hard)| hard);
        if hard > own && !may_raise {
            return Err(format!(
                "process.rlimits: {name} cannot be raised to {hard}: ours is {own}, and \
                 CAP_SYS_RESOURCE is missing; ask for less"
            ));
        }
    }
    Ok(())
}
