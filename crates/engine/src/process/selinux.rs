//! The process's label on hosts with SELinux. libcontainer sets the labels of mounts.

use std::io::Write;
use std::path::Path;

use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandle};

/// The file of the kernel's policy, if it has one.
const POLICY: &str = "/sys/fs/selinux/policy";

/// Refuses a label on a host without SELinux.
pub(crate) fn refuse(label: &str) -> Result<(), String> {
    if label.is_empty() || Path::new(POLICY).exists() {
        return Ok(());
    }
    Err(format!("label {label}: this host has no SELinux"))
}

/// Has the next program that this process executes run under a label (proc_pid_attr(5)).
pub(crate) fn label_next_program(label: &str) -> Result<(), String> {
    // The container's own /proc could contain anything.
    let flags = OpenFlags::O_WRONLY | OpenFlags::O_CLOEXEC;
    let mut file = ProcfsHandle::new()
        .and_then(|procfs| procfs.open(ProcfsBase::ProcThreadSelf, "attr/exec", flags))
        .map_err(|error| format!("process.selinuxLabel: {error}"))?;
    file.write_all(label.as_bytes())
        .map_err(|error| format!("process.selinuxLabel {label}: {}", text::message(&error)))
}
