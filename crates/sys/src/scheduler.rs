//! How the kernel runs a process.

use std::io;

/// The attributes of a process's scheduling ([sched_setattr(2)], Linux 3.14).
///
/// [sched_setattr(2)]: https://man7.org/linux/man-pages/man2/sched_setattr.2.html
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The policy, `SCHED_*`.
    pub policy: u32,
    /// The flags, `SCHED_FLAG_*`.
    pub flags: u64,
    /// The nice value, for the policies that are not real-time.
    pub nice: i32,
    /// The static priority, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds of run time in each period, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds until the run time must be over.
    pub deadline: u64,
    /// Nanoseconds of a period.
    pub period: u64,
}

/// `struct sched_attr` of `linux/sched/types.h`, in its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the scheduling of the calling process.
///
/// # Errors
///
/// Returns the errno of sched_setattr(2).
pub fn set_scheduling(scheduling: Scheduling) -> io::Result<()> {
    let attributes = Attributes {
        size: u32::try_from(size_of::<Attributes>()).unwrap_or_default(),
        policy: scheduling.policy,
        flags: scheduling.flags,
        nice: scheduling.nice,
        priority: scheduling.priority,
        runtime: scheduling.runtime,
        deadline: scheduling.deadline,
        period: scheduling.period,
    };
    // SAFETY: the kernel reads one structure of the size that it names, during the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the execution domain of the calling process ([personality(2)]).
///
/// [personality(2)]: https://man7.org/linux/man-pages/man2/personality.2.html
///
/// # Errors
///
/// Returns the errno of personality(2).
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: the call takes a number, and changes nothing of this program's memory.
    match unsafe { libc::personality(domain.into()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
