//! The privileges that a process gives up as the last step before its program. A container's first
//! process and a process that enters do the same.

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};
use libcontainer::syscall::SyscallError;
use libcontainer::syscall::syscall::SyscallType;

use crate::process::selinux;
use crate::seccomp::Filter;

/// Sets the label of the program, loads the filter, and drops the capabilities that the program
/// must not have.
pub(crate) fn drop_all(process: &Process, filter: Option<&Filter>) -> Result<(), String> {
    drop_all_but_filter(process, filter.is_some())?;
    load_filter(process, filter)
}

/// Does the same as [`drop_all`], except for the filter, which [`load_filter`] loads. Unless no new
/// privileges are allowed, loading needs a capability, which is kept until then.
pub(crate) fn drop_all_but_filter(process: &Process, has_filter: bool) -> Result<(), String> {
    let syscall = SyscallType::default().create_syscall();
    if let Some(label) = process
        .selinux_label()
        .as_ref()
        .filter(|label| !label.is_empty())
    {
        selinux::label_next_program(label)?;
    }
    reset_effective(syscall.as_ref()).map_err(failed)?;
    match process.capabilities() {
        Some(capabilities) if has_filter && !is_filter_last(process) => {
            drop_privileges(&with_administration(capabilities), syscall.as_ref()).map_err(failed)
        }
        Some(capabilities) => drop_privileges(capabilities, syscall.as_ref()).map_err(failed),
        None => Ok(()),
    }
}

/// Loads the filter, and then drops the capability that was kept for it. With no new privileges,
/// the filter comes last, so that it need not allow the earlier steps.
pub(crate) fn load_filter(process: &Process, filter: Option<&Filter>) -> Result<(), String> {
    let Some(filter) = filter else { return Ok(()) };
    filter.load()?;
    match process.capabilities() {
        Some(capabilities) if !is_filter_last(process) => {
            let syscall = SyscallType::default().create_syscall();
            drop_privileges(capabilities, syscall.as_ref()).map_err(failed)
        }
        _ => Ok(()),
    }
}

fn failed(error: SyscallError) -> String {
    format!("process.capabilities: {error}")
}

fn is_filter_last(process: &Process) -> bool {
    process.no_new_privileges() == Some(true)
}

/// Returns the sets of capabilities together with the one that loading a filter needs, seccomp(2).
fn with_administration(capabilities: &LinuxCapabilities) -> LinuxCapabilities {
    let mut kept = capabilities.clone();
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(Capability::SysAdmin);
        Some(set)
    };
    kept.set_effective(with(capabilities.effective()));
    kept.set_permitted(with(capabilities.permitted()));
    kept
}
