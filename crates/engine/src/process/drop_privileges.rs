//! The privileges that a process gives up as the last step before its program. A container's first
//! process and a process that enters do the same.

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Process};
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::syscall::{Syscall, SyscallError};

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
            set_all(&with_administration(capabilities), syscall.as_ref())
        }
        Some(capabilities) => set_all(capabilities, syscall.as_ref()),
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
            set_all(capabilities, syscall.as_ref())
        }
        _ => Ok(()),
    }
}

/// Sets all sets of the calling process. The inheritable set may have what the permitted one has not,
/// and so comes before it (capabilities(7)).
fn set_all(capabilities: &LinuxCapabilities, syscall: &dyn Syscall) -> Result<(), String> {
    let inheritable = capabilities.inheritable().as_ref();
    if inheritable.is_some_and(|set| !set.is_empty()) {
        let mut first = capabilities.clone();
        first
            .set_effective(None)
            .set_permitted(None)
            .set_ambient(None);
        drop_privileges(&first, syscall).map_err(failed)?;
        let mut then = capabilities.clone();
        then.set_inheritable(None);
        return drop_privileges(&then, syscall).map_err(failed);
    }
    drop_privileges(capabilities, syscall).map_err(failed)
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
