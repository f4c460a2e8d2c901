//! Settings of a container's namespaces.

use std::io::Write;
use std::path::Path;

use libcontainer::syscall::syscall::SyscallType;
use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandleBuilder};
use serde_json::Value;

use crate::Document;
use crate::error::of_library;

/// Sets the names of the host in a new UTS namespace.
pub(super) fn set_names(document: &Document) -> Result<(), String> {
    if !document.makes_namespace("uts") {
        return Ok(());
    }
    let syscall = SyscallType::default().create_syscall();
    if let Some(name) = document["hostname"]
        .as_str()
        .filter(|name| !name.is_empty())
    {
        syscall
            .set_hostname(name)
            .map_err(|error| format!("hostname: {error}"))?;
    }
    if let Some(name) = document["domainname"]
        .as_str()
        .filter(|name| !name.is_empty())
    {
        syscall
            .set_domainname(name)
            .map_err(|error| format!("domainname: {error}"))?;
    }
    Ok(())
}

/// Sets the parameters of the kernel that belong to the container's namespaces.
pub(super) fn set_sysctls(document: &Document) -> Result<(), String> {
    let Some(sysctls) = document.pointer("/linux/sysctl").and_then(Value::as_object) else {
        return Ok(());
    };
    if sysctls.is_empty() {
        return Ok(());
    }
    // A proc of our own: the container's may have masks, and files of others.
    let proc = ProcfsHandleBuilder::new().unmasked().build();
    let proc = proc.map_err(|error| format!("linux.sysctl: {}", of_library(&error)))?;
    for (name, value) in sysctls {
        let failed = |error: String| format!("linux.sysctl: {name}: {error}");
        let path = Path::new("sys").join(name.replace('.', "/"));
        let flags = OpenFlags::O_WRONLY | OpenFlags::O_CLOEXEC;
        let opened = proc.open(ProcfsBase::ProcRoot, path, flags);
        let mut file = opened.map_err(|error| failed(of_library(&error)))?;
        let value = value.as_str().unwrap_or_default();
        file.write_all(value.as_bytes())
            .map_err(|error| failed(text::message(&error)))?;
    }
    Ok(())
}

/// Returns the offsets of the clocks in the format of `/proc/PID/timens_offsets`.
pub(super) fn clock_offsets(document: &Document) -> String {
    let offsets = document.pointer("/linux/timeOffsets");
    let offsets = offsets.and_then(Value::as_object).into_iter().flatten();
    let line = |(clock, offset): (&String, &Value)| {
        let seconds = offset["secs"].as_i64().unwrap_or(0);
        let nanoseconds = offset["nanosecs"].as_u64().unwrap_or(0);
        format!("{clock} {seconds} {nanoseconds}\n")
    };
    offsets.map(line).collect()
}
