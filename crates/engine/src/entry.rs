//! Becoming a process of a container that is there already: from its namespaces to its program.
//! The order is that of the privileges: what needs more comes first.

use std::convert::Infallible;
use std::fmt::Display;
use std::os::fd::RawFd;

use libcontainer::oci_spec::runtime::{Process, User};
use libcontainer::syscall::Syscall;
use libcontainer::syscall::syscall::SyscallType;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, chdir, setgroups, setresgid, setresuid, setsid};

use crate::executor::become_program;
use crate::restrict::restrict;
use crate::seccomp::Filter;
use crate::{Error, selinux};

/// Refuses what this way into a container cannot give.
pub(crate) fn refuse_unsupported(process: &Process) -> Result<(), Error> {
    let refused = |what: &str| {
        Err(Error::Process(format!(
            "{what} is not supported for a process that enters a container"
        )))
    };
    if process.scheduler().is_some() {
        return refused("scheduler");
    }
    selinux::refuse(process.selinux_label().as_deref().unwrap_or_default())
        .map_err(|error| Error::Process(format!("selinuxLabel: {error}")))
}

/// Becomes the process; returns only why it could not.
pub(crate) fn become_process(
    process: &Process,
    filter: Option<&Filter>,
    console: Option<RawFd>,
    preserve_fds: u32,
    mask: &SigSet,
) -> Result<Infallible, String> {
    let syscall = SyscallType::default().create_syscall();
    setsid().map_err(say("setsid"))?;
    become_root()?;
    for limit in process.rlimits().iter().flatten() {
        syscall.set_rlimit(limit).map_err(say("process.rlimits"))?;
    }
    if let Some(priority) = process.io_priority() {
        let class = i64::from(io_class(&priority.class().to_string()));
        syscall
            .set_io_priority(class, priority.priority())
            .map_err(say("process.ioPriority"))?;
    }
    if let Some(cpus) = process
        .exec_cpu_affinity()
        .as_ref()
        .and_then(|affinity| affinity.cpu_affinity_final().as_ref())
    {
        set_affinity(cpus)?;
    }
    if let Some(console) = console {
        libcontainer::tty::setup_console(syscall.as_ref(), console, false)
            .map_err(say("process.terminal"))?;
        // What the program opens by its name, as a shell does with tty(1)'s.
        let _ = nix::unistd::fchown(0, Some(Uid::from_raw(process.user().uid())), None);
    }
    if let Some(profile) = process
        .apparmor_profile()
        .as_ref()
        .filter(|profile| !profile.is_empty())
    {
        libcontainer::apparmor::apply_profile(profile).map_err(say("process.apparmorProfile"))?;
    }
    if process.no_new_privileges() == Some(true) {
        nix::sys::prctl::set_no_new_privs().map_err(say("process.noNewPrivileges"))?;
    }
    if let Some(bits) = process.user().umask() {
        umask(Mode::from_bits_truncate(bits));
    }
    let cwd = process.cwd();
    // First with the rights of root, as runc; then as the user, whose directory may be on a file
    // system that refuses root.
    let entered = chdir(cwd);
    become_user(process.user(), syscall.as_ref())?;
    if entered.is_err() {
        chdir(cwd).map_err(say(&format!(
            "chdir to cwd {:?}",
            cwd.display().to_string()
        )))?;
    }
    syscall
        .close_range(preserve_fds.cast_signed())
        .map_err(say("close descriptors"))?;
    restrict(process, filter)?;
    become_program(process, mask)
}

/// Binds the calling process to a list of CPUs, as in cpuset(7).
pub(crate) fn set_affinity(cpus: &str) -> Result<(), String> {
    libcontainer::process::cpu_affinity::set_cpuset_affinity_from_string(Pid::this(), cpus)
        .map_err(say("process.execCPUAffinity"))
}

fn say<E: Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// In a user namespace that we have just entered we are nobody; what is made in it needs an owner.
fn become_root() -> Result<(), String> {
    let overflow = |id: &str| {
        std::fs::read_to_string(format!("/proc/sys/kernel/overflow{id}"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(65534)
    };
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    if nix::unistd::getegid().as_raw() == overflow("gid") {
        allow_missing(setresgid(root.1, root.1, root.1)).map_err(say("setresgid"))?;
    }
    if nix::unistd::geteuid().as_raw() == overflow("uid") {
        allow_missing(setresuid(root.0, root.0, root.0)).map_err(say("setresuid"))?;
    }
    Ok(())
}

/// A namespace need not have an id 0.
fn allow_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EINVAL) => Ok(()),
        result => result,
    }
}

fn become_user(user: &User, syscall: &dyn Syscall) -> Result<(), String> {
    let groups: Vec<Gid> = user
        .additional_gids()
        .iter()
        .flatten()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    match setgroups(&groups) {
        Ok(()) => {}
        // A user namespace made by an ordinary user may not.
        Err(Errno::EPERM) if groups.is_empty() => {}
        Err(errno) => return Err(say("process.user.additionalGids")(errno)),
    }
    syscall
        .set_id(Uid::from_raw(user.uid()), Gid::from_raw(user.gid()))
        .map_err(say("process.user"))
}

/// ioprio_set(2).
fn io_class(name: &str) -> u8 {
    match name {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_IDLE" => 3,
        _ => 2,
    }
}
