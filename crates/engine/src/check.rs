//! Documents that cannot be carried out.

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::utils::{validate_spec_for_net_devices, validate_spec_for_new_user_ns};
use libcontainer::validator::Validator;
use serde_json::Value;

use crate::Document;
use crate::error::of_library;
use crate::process::settings;
use crate::userns;

/// Refuses a document that could not be carried out, before anything of the container is made.
pub(crate) fn document(document: &Document) -> Result<(), String> {
    settings::check(document)?;
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
