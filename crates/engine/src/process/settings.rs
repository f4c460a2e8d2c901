//! Settings of a container's processes, of the first one as well as of those that enter: how the kernel
//! runs them, where they take memory, and their personality.

use libcontainer::oci_spec::runtime::{
    LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process,
};
use libcontainer::process::memory_policy::setup_memory_policy;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::Value;

use super::scheduling;
use crate::Document;
use crate::error::of_library;

/// Refuses settings that contradict themselves.
pub(crate) fn check(document: &Document) -> Result<(), String> {
    scheduling::check(&document["process"]["scheduler"])?;
    let flags = document.pointer("/linux/personality/flags");
    let flags = flags.and_then(Value::as_array);
    if flags.is_some_and(|list| !list.is_empty()) {
        return Err("linux.personality.flags is not supported".to_owned());
    }
    domain(document)?;
    memory_policy(document).map(drop)
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

/// Sets how the kernel runs the process, and where it takes memory. The scheduler is the process's, and
/// the memory policy the container's.
pub(crate) fn set_scheduling(
    process: &Process,
    scheduler: &Value,
    document: &Document,
) -> Result<(), String> {
    scheduling::set_io_priority(process)?;
    scheduling::set(scheduler)?;
    set_memory_policy(document)
}

/// Sets where the process takes memory, set_mempolicy(2).
fn set_memory_policy(document: &Document) -> Result<(), String> {
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
    let nodes = policy["nodes"].as_str().map_or(0, count);
    if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) && nodes > 0 {
        return Err(wrong(
            "",
            &format_args!("{mode} mode requires 0 nodes but got {nodes}"),
        ));
    }
    let flags = policy["flags"].as_array().into_iter().flatten();
    for flag in flags {
        let known: Result<MemoryPolicyFlagType, _> = serde_json::from_value(flag.clone());
        known.map_err(|error| wrong(" flag", &error))?;
    }
    let parsed: LinuxMemoryPolicy =
        serde_json::from_value(policy.clone()).map_err(|error| wrong("", &error))?;
    Ok(Some(parsed))
}

/// Returns the number of nodes in a list such as `0-3,7`.
fn count(list: &str) -> u64 {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let groups = list.split(',').filter_map(|group| {
        let (first, last) = group.split_once('-').unwrap_or((group, group));
        Some(
            number(last)?
                .saturating_sub(number(first)?)
                .saturating_add(1),
        )
    });
    groups.fold(0, u64::saturating_add)
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
