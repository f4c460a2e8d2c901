//! Calling libcontainer from a process that is born in the container's cgroup.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::Error;
use crate::bundle::{Prepared, scratch};
use crate::cgroup::Own;
use crate::pidfd::open_process;

/// Makes the container's cgroup, where it can be ours to manage.
pub(crate) fn own_cgroup(
    prepared: &Prepared,
    root: &Path,
    id: &str,
    systemd_cgroup: bool,
) -> Option<Own> {
    let path = prepared.cgroup.as_ref()?;
    // A hook of the runtime's namespaces must not be held to the container's limits; under systemd the
    // cgroup is its.
    if systemd_cgroup || prepared.has_early_hooks() {
        return None;
    }
    let decoy = scratch(root, "cgroup", id);
    let _ = fs::remove_dir_all(&decoy);
    Own::make(path, decoy)
}

/// Has the signals that ask this process to end wait to be read, so that what is being made ends first. Returns the
/// signals that were blocked before, too.
fn hold_back_endings() -> io::Result<(SignalFd, SigSet)> {
    let mut endings = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        endings.add(signal);
    }
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&endings), Some(&mut before))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok((SignalFd::with_flags(&endings, flags)?, before))
}

/// The most that is read of a report, in bytes.
const REPORT: usize = 8192;

/// Has a process that is born in the cgroup do something, and leave its children to us.
pub(crate) fn within(own: &Own, act: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let failed =
        |source: io::Error| Error::system("start a process in the container's cgroup", source);
    let reaper =
        |on| nix::sys::prctl::set_child_subreaper(on).map_err(|errno| failed(errno.into()));
    // The container's first process becomes our child when the one in between ends.
    reaper(true)?;
    let (signals, before) = hold_back_endings().map_err(failed)?;
    let (mut reader, mut writer) = io::pipe().map_err(failed)?;
    let between = match sys::fork_at(false, Some(own.handle())) {
        Ok(sys::Fork::Child) => {
            drop((reader, signals));
            let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
            let result = act();
            if let Err(error) = &result {
                // Who reads waits for no more than this, and what is longer than a pipe for nothing.
                let text = sys::one_line(error);
                let _ = writer.write_all(text.as_bytes().get(..REPORT).unwrap_or(text.as_bytes()));
            }
            sys::exit_at_once(i32::from(result.is_err()))
        }
        Ok(sys::Fork::Parent(pid)) => pid,
        Err(errno) => return Err(failed(errno.into())),
    };
    drop(writer);
    let attended = open_process(between).and_then(|process| {
        own.attend(&process, &signals).map_err(failed)
    });
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    if attended.is_err() {
        let _ = sys::kill(between, nix::libc::SIGKILL);
    }
    let status = waitpid(between, None);
    reaper(false)?;
    if let Some(signal) = attended? {
        return Err(Error::Interrupted(signal.as_str()));
    }
    if status == Ok(WaitStatus::Exited(between, 0)) {
        return Ok(());
    }
    // Neither more nor the end is waited for: who is left of the container may hold the pipe open.
    rustix::io::ioctl_fionbio(&reader, true).map_err(|errno| failed(errno.into()))?;
    let mut report = vec![0; REPORT];
    let length = match reader.read(&mut report) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        length => length.map_err(failed)?,
    };
    if length == 0 {
        return Err(failed(io::Error::other("it ended early")));
    }
    report.truncate(length);
    Err(Error::Reported(
        String::from_utf8_lossy(&report).into_owned(),
    ))
}
