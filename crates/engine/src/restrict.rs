//! What a process gives up, as the last step before its program: the same for a container's first
//! process and for one that enters.

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;

use crate::seccomp::Filter;
use crate::selinux;

/// Sets the label of the program, and gives up the system calls and capabilities that it shall not
/// have. Without no new privileges the filter itself needs a capability; else it comes last, so that
/// it need not allow what is done here.
pub(crate) fn restrict(process: &Process, filter: Option<&Filter>) -> Result<(), String> {
    let syscall = SyscallType::default().create_syscall();
    let failed = |error| format!("process.capabilities: {error}");
    let load = || filter.map_or(Ok(()), Filter::load);
    if let Some(label) = process
        .selinux_label()
        .as_ref()
        .filter(|label| !label.is_empty())
    {
        selinux::label_next_program(label)?;
    }
    let is_last = process.no_new_privileges() == Some(true);
    reset_effective(syscall.as_ref()).map_err(failed)?;
    if !is_last {
        load()?;
    }
    if let Some(capabilities) = process.capabilities() {
        drop_privileges(capabilities, syscall.as_ref()).map_err(failed)?;
    }
    if is_last {
        load()?;
    }
    Ok(())
}
