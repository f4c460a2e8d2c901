//! What stays beside a payload: a process that waits for its end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

/// Blocks every signal that can be blocked. Batch systems signal all processes of a job; what they
/// say is meant for the payload.
pub(crate) fn ignore_signals() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
}

/// Lets go of the caller's standard streams: who reads from the payload must see its end.
pub(crate) fn detach_stdio() {
    let Ok(null) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    for attach in [
        rustix::stdio::dup2_stdin,
        rustix::stdio::dup2_stdout,
        rustix::stdio::dup2_stderr,
    ] {
        let _ = attach(&null);
    }
}

/// Waits for the payload's end. If it was killed, ends what it left in the container; otherwise
/// its background processes go on, and keep the image mounted as long as they live.
pub(crate) fn keep(payload: BorrowedFd<'_>, mount_namespace: Option<OsString>) {
    wait_until_dead(payload);
    let Some(namespace) = mount_namespace else {
        return;
    };
    if killed(payload) {
        end_leftovers(&namespace);
    }
}

fn wait_until_dead(pidfd: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    while poll(&mut fds, None).is_err() {}
}

/// How long the payload's parent may take to collect its status; the kernel tells it to others only
/// then.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a signal that nobody can catch ended the process. Kernels before 6.15 do not tell: no.
fn killed(pidfd: BorrowedFd<'_>) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = sys::exit_status(pidfd) {
            return status & 0x7f == Signal::SIGKILL as i32;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Kills every process in the mount namespace, until there is none.
fn end_leftovers(namespace: &OsString) {
    // New ones may be made while we look; a bounded number of rounds, since a fork bomb must not
    // make a second one of us.
    for _ in 0..100 {
        let members = members(namespace);
        if members.is_empty() {
            return;
        }
        for pid in members {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn members(namespace: &OsString) -> Vec<Pid> {
    let own = Pid::this();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/ns/mnt"))
                .is_ok_and(|link| link.as_os_str() == namespace)
        })
        .collect()
}

/// Returns the kernel's name for a namespace, `mnt:[4026531840]`.
pub(crate) fn namespace_name(namespace: &File) -> Option<OsString> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    fs::read_link(link).ok().map(Into::into)
}
