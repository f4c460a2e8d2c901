//! Settings of a first process and of its namespaces.

use std::io::Write;
use std::path::Path;

use libcontainer::oci_spec::runtime::{
    LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Spec,
};
use libcontainer::process::memory_policy::setup_memory_policy;
use libcontainer::syscall::syscall::{SyscallType, create_syscall};
use libcontainer::utils::{validate_spec_for_net_devices, validate_spec_for_new_user_ns};
use libcontainer::validator::Validator;
use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandleBuilder};
use serde_json::Value;

use crate::Document;
use crate::error::of_library;
use crate::process::scheduling;
use crate::userns;

/// Refuses settings that could not be made, before anything of the container is.
pub(crate) fn check(document: &Document) -> Result<(), String> {
    scheduling::check(&document["process"]["scheduler"])?;
    let cpus = document
        .pointer("/linux/resources/cpu/cpus")
        .and_then(Value::as_str);
    if document["process"]["scheduler"]["policy"] == "SCHED_DEADLINE"
        && cpus.is_some_and(|cpus| !cpus.is_empty())
    {
        return Err(
            "process scheduler can't be used together with AllowedCPUs: the kernel gives \
             SCHED_DEADLINE to a process on all CPUs only (sched_setattr(2))"
                .to_owned(),
        );
    }
    let has_mounts = document.namespaces().any(|one| one["type"] == "mount");
    let is_read_only = document.pointer("/root/readonly") == Some(&Value::Bool(true));
    if !has_mounts && (is_read_only || document.mounts().next().is_some()) {
        return Err(
            "mounts, and a root that is read-only, need a mount namespace: the host would keep them"
                .to_owned(),
        );
    }
    let flags = document.pointer("/linux/personality/flags");
    if flags
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
    {
        return Err("linux.personality.flags is not supported".to_owned());
    }
    domain(document)?;
    memory_policy(document)?;
    check_by_library(document)
}

/// Has libcontainer check what belongs together: sysctls and namespaces, maps and user namespaces, and
/// the like.
fn check_by_library(document: &Document) -> Result<(), String> {
    let mut shown = document.clone();
    // Its types refuse words that are allowed here, and are checked here.
    if let Some(process) = shown.object_mut("process") {
        process.remove("scheduler");
    }
    userns::show_as_joined(&mut shown);
    let spec: Spec = serde_json::from_value((*shown).clone()).map_err(|error| error.to_string())?;
    let syscall = create_syscall();
    userns::wanted(document).map_err(|error| text::one_line(&error))?;
    if !spec.version().starts_with("1.") {
        return Err(format!(
            "ociVersion {:?} is not a version 1 of the specification",
            spec.version()
        ));
    }
    Validator::validate_spec(&spec).map_err(|error| of_library(&error))?;
    if !document.makes_namespace("user") {
        validate_spec_for_new_user_ns(&spec, &*syscall).map_err(|error| of_library(&error))?;
    }
    validate_spec_for_net_devices(&spec, &*syscall)
        .map_err(|error| format!("linux.netDevices: {}", of_library(&error)))?;
    let profile = document["process"]["apparmorProfile"]
        .as_str()
        .unwrap_or_default();
    if !profile.is_empty() && !libcontainer::apparmor::is_enabled().unwrap_or(false) {
        return Err(format!(
            "process.apparmorProfile {profile:?}: AppArmor is not enabled on this host"
        ));
    }
    Ok(())
}

/// Returns the process with types. The scheduler is not in it: the library refuses flags that the
/// specification has.
pub(crate) fn typed_process(document: &Document) -> Result<Process, String> {
    typed(&document["process"])
}

/// Does the same for a process of the specification's.
pub(crate) fn typed(process: &Value) -> Result<Process, String> {
    let mut process = process.clone();
    if let Some(process) = process.as_object_mut() {
        process.remove("scheduler");
    }
    serde_json::from_value(process).map_err(|error| format!("process: {error}"))
}

/// Sets how the kernel runs the process, and where it takes memory.
pub(super) fn set_scheduling(document: &Document, process: &Process) -> Result<(), String> {
    scheduling::set_io_priority(process)?;
    scheduling::set(&document["process"]["scheduler"])?;
    set_memory_policy(document)
}

/// Sets where the process takes memory, set_mempolicy(2).
pub(crate) fn set_memory_policy(document: &Document) -> Result<(), String> {
    let syscall = SyscallType::default().create_syscall();
    setup_memory_policy(&memory_policy(document)?, syscall.as_ref()).map_err(|error| {
        let text = of_library(&error);
        let text = text.replace("Invalid node specification", "invalid memory policy node");
        format!("linux.memoryPolicy: {text}")
    })
}

fn memory_policy(document: &Document) -> Result<Option<LinuxMemoryPolicy>, String> {
    let Some(policy) = document.pointer("/linux/memoryPolicy") else {
        return Ok(None);
    };
    let wrong = |what: &str, error: &dyn std::fmt::Display| {
        format!("linux.memoryPolicy: invalid memory policy{what}: {error}")
    };
    let mode = policy["mode"].as_str().unwrap_or_default();
    let known: Result<MemoryPolicyModeType, _> = serde_json::from_value(mode.into());
    known.map_err(|error| wrong(" mode", &error))?;
    let flags = policy["flags"].as_array().into_iter().flatten();
    for flag in flags {
        let known: Result<MemoryPolicyFlagType, _> = serde_json::from_value(flag.clone());
        known.map_err(|error| wrong(" flag", &error))?;
    }
    let parsed: LinuxMemoryPolicy =
        serde_json::from_value(policy.clone()).map_err(|error| wrong("", &error))?;
    Ok(Some(parsed))
}

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

/// The domains of personality(2) in the specification.
const DOMAINS: [(&str, u32); 2] = [("LINUX", 0), ("LINUX32", 8)];

fn domain(document: &Document) -> Result<Option<u32>, String> {
    let Some(domain) = document.pointer("/linux/personality/domain") else {
        return Ok(None);
    };
    let known = DOMAINS.iter().find(|(name, _)| domain == name);
    known
        .map(|(_, number)| Some(*number))
        .ok_or_else(|| format!("linux.personality.domain: {domain} is neither LINUX nor LINUX32"))
}

pub(crate) fn set_personality(document: &Document) -> Result<(), String> {
    match domain(document)? {
        Some(domain) => sys::set_personality(domain)
            .map_err(|error| format!("linux.personality: {}", text::message(&error))),
        None => Ok(()),
    }
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
