//! Becoming a process of an existing container: from its namespaces to its program. The steps are
//! ordered by privilege: those that need more come first.

use std::convert::Infallible;
use std::os::fd::RawFd;

use libcontainer::oci_spec::runtime::Process;
use libcontainer::syscall::syscall::SyscallType;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, setresgid, setresuid, setsid};
use serde_json::Value;

use crate::process::drop_privileges::drop_all;
use crate::process::exec::{become_program, new_keyring};
use crate::process::{affinity, rlimits, say, selinux, settings, streams, user};
use crate::seccomp::Filter;
use crate::{Document, Error};

/// Refuses settings that are not supported for a process that enters a container.
pub(crate) fn refuse_unsupported(process: &Process) -> Result<(), Error> {
    selinux::refuse(process.selinux_label().as_deref().unwrap_or_default())
        .map_err(|error| Error::Process(format!("selinuxLabel: {error}")))
}

/// The data that the new process needs besides the specification.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) process: &'a Process,
    pub(crate) scheduler: &'a Value,
    pub(crate) document: &'a Document,
    pub(crate) filter: Option<&'a Filter>,
    /// The socket on which the terminal's master is sent.
    pub(crate) console: Option<RawFd>,
    /// The descriptors that the process inherits, in order, besides the standard streams.
    pub(crate) preserve_fds: &'a [RawFd],
    /// The descriptors that are needed until the program is executed.
    pub(crate) needed: Vec<RawFd>,
    pub(crate) mask: &'a SigSet,
    pub(crate) keeps_keyring: bool,
    pub(crate) nobody: Nobody,
}

/// Becomes the process. Returns only on failure.
pub(crate) fn become_process(entry: &Entry<'_>) -> Result<Infallible, String> {
    let process = entry.process;
    let syscall = SyscallType::default().create_syscall();
    setsid().map_err(say("setsid"))?;
    if !entry.keeps_keyring {
        new_keyring()?;
    }
    become_root(entry.nobody)?;
    rlimits::set(process, |_| true)?;
    settings::set_scheduling(process, entry.scheduler, entry.document)?;
    settings::set_personality(entry.document)?;
    if let Some(cpus) = process
        .exec_cpu_affinity()
        .as_ref()
        .and_then(|affinity| affinity.cpu_affinity_final().as_ref())
    {
        affinity::set(cpus)?;
    }
    if let Some(console) = entry.console {
        libcontainer::tty::setup_console(syscall.as_ref(), console, false)
            .map_err(say("process.terminal"))?;
        streams::set_console_size(process);
        // The program may open the terminal by its name, as a shell does with the name from tty(1).
        let _ = nix::unistd::fchown(0, Some(Uid::from_raw(process.user().uid())), None);
    } else {
        streams::give_own_streams(process.user().uid());
    }
    user::confine(process)?;
    // A link in the container may lead to any descriptor by `/proc/self/fd` (CVE-2024-21626): to
    // the cgroup's directory, or to one that the caller of this program left open.
    sys::close_all_except(&entry.needed);
    user::become_user_in(process, syscall.as_ref())?;
    // Nothing can be reached through the pipe and the socket. They are closed when the program is
    // executed.
    syscall
        .close_range(entry.preserve_fds.last().map_or(0, |last| last - 2))
        .map_err(say("close descriptors"))?;
    drop_all(process, entry.filter)?;
    become_program(process, entry.mask)
}

/// The ids of a process whose own ids are not mapped in the user namespace that it enters,
/// user_namespaces(7).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nobody {
    uid: u32,
    gid: u32,
}

impl Nobody {
    /// Reads the ids from our own `/proc`. The container's could contain anything.
    pub(crate) fn find() -> Self {
        let read = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
            text.ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(65534)
        };
        Self {
            uid: read("overflowuid"),
            gid: read("overflowgid"),
        }
    }
}

/// Becomes root in a user namespace that was just entered. Until then we are nobody there, and
/// files made in it need an owner.
pub(crate) fn become_root(nobody: Nobody) -> Result<(), String> {
    let root = (Uid::from_raw(0), Gid::from_raw(0));
    if nix::unistd::getegid().as_raw() == nobody.gid {
        allow_missing(setresgid(root.1, root.1, root.1)).map_err(say("setresgid"))?;
    }
    if nix::unistd::geteuid().as_raw() == nobody.uid {
        allow_missing(setresuid(root.0, root.0, root.0)).map_err(say("setresuid"))?;
    }
    Ok(())
}

/// Accepts that a namespace has no id 0.
fn allow_missing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EINVAL) => Ok(()),
        result => result,
    }
}
