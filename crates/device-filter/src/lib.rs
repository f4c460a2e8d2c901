//! The filters of devices of cgroup version 2: programs that the kernel runs when a process of a
//! cgroup opens or makes a device node (`Documentation/admin-guide/cgroup-v2.rst`, device
//! controller).

mod program;
mod rule;

use std::io;
use std::os::fd::BorrowedFd;

pub use rule::Rule;

/// Attaches a filter made of these rules to a cgroup, in addition to its other filters (Linux
/// 4.15): all of them have to allow an access. The last rule that matches decides. An access that
/// no rule matches is denied.
///
/// # Errors
///
/// Returns the errno of bpf(2): `EPERM` without `CAP_BPF` or `CAP_SYS_ADMIN`.
pub fn attach(cgroup: BorrowedFd<'_>, rules: &[Rule]) -> io::Result<()> {
    sys::attach_device_program(cgroup, &program::program(rules))
}

/// Makes the filters of a cgroup allow what the rules allow, in addition to what they already allow
/// (Linux 5.6). A cgroup without a filter allows everything, and stays so.
///
/// # Errors
///
/// Returns the errno of bpf(2). This is `EPERM`, too, if the kernel does not show a filter's
/// instructions (`net.core.bpf_jit_harden`).
pub fn widen(cgroup: BorrowedFd<'_>, rules: &[Rule]) -> io::Result<()> {
    sys::replace_device_programs(cgroup, |old| program::widened(rules, old))
}
