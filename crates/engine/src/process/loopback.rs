//! The loopback interface of a new network namespace.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, setns};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Brings up the loopback interface of a process's network namespace. A child does it, because this
/// process stays in the host's network.
///
/// # Errors
///
/// Fails when the namespace cannot be entered, or the kernel refuses.
pub fn bring_up_loopback(process: Pid) -> io::Result<()> {
    let open = |kind: &str| fs::File::open(format!("/proc/{process}/ns/{kind}"));
    let network = open("net")?;
    let enter = || {
        setns(&network, CloneFlags::CLONE_NEWNET).or_else(|_| {
            // An ordinary user has the rights in the container's user namespace only.
            setns(&open("user")?, CloneFlags::CLONE_NEWUSER)?;
            setns(&network, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
        })
    };
    match sys::fork()? {
        sys::Fork::Child => {
            let done = enter().and_then(|()| sys::bring_up_loopback());
            let code = done.map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0);
            sys::exit_at_once(code)
        }
        sys::Fork::Parent(child) => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            Ok(WaitStatus::Exited(_, code)) => Err(io::Error::from_raw_os_error(code)),
            _ => Err(io::ErrorKind::Interrupted.into()),
        },
    }
}
