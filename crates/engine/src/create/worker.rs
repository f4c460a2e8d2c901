//! Makes a container in a process of its own. A signal can end this process and everything that it
//! started, whatever it is waiting for.

use std::io::{self, Read, Write};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Error;
use crate::cgroup::ManagedCgroup;
use crate::endings::Endings;
use crate::pidfd::open_process;
use crate::workers::{LOOK, Report, Workers};

/// Largest size of a report that is read, in bytes.
const REPORT: usize = 8192;

/// Runs `act` in a child process. When the child ends, its children become ours. A signal that asks us
/// to end kills the child and all processes that it started, also those in the cgroup.
pub(super) fn run_in_worker(
    endings: &Endings,
    own: Option<&ManagedCgroup>,
    report: Report,
    act: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let failed =
        |source: io::Error| Error::system("start a process to create the container", source);
    let reaper =
        |on| nix::sys::prctl::set_child_subreaper(on).map_err(|errno| failed(errno.into()));
    let mut workers = Workers::new(&report)?;
    let Report {
        mut reader,
        mut writer,
    } = report;
    // The container's first process becomes our child when the process in between ends.
    reaper(true)?;
    let this = Pid::this();
    let between = match sys::fork_at(false, None) {
        Ok(sys::Fork::Child) => {
            drop(reader);
            // If we are killed, the container must not be completed.
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            if Pid::parent() != this {
                sys::exit_at_once(1);
            }
            endings.let_through();
            let result = act();
            if let Err(error) = &result {
                // The parent reads no more than this. It reads when this process has ended, so a
                // text longer than the pipe would block here.
                let text = text::one_line(error);
                // A process of the container that may look into this one can fill the pipe.
                let _ = rustix::io::ioctl_fionbio(&writer, true);
                let _ = writer.write_all(text.as_bytes().get(..REPORT).unwrap_or(text.as_bytes()));
            }
            sys::exit_at_once(i32::from(result.is_err()))
        }
        Ok(sys::Fork::Parent(pid)) => pid,
        Err(errno) => return Err(failed(errno.into())),
    };
    drop(writer);
    // A container that may write to the cgroups above can freeze this one, and one in the same PID
    // namespace can stop the first process: nothing goes on then.
    let look = || workers.look(false);
    let supervised = open_process(between)
        .and_then(|process| endings.wait_for(&process, LOOK, look).map_err(failed));
    if !matches!(supervised, Ok(None)) {
        if let Some(own) = own {
            own.kill();
        }
        let _ = sys::kill(between, nix::libc::SIGKILL);
        workers.end();
    }
    let status = waitpid(between, None);
    reaper(false)?;
    if let Some(signal) = supervised? {
        return Err(Error::Interrupted(signal.as_str()));
    }
    if status == Ok(WaitStatus::Exited(between, 0)) {
        return Ok(());
    }
    workers.end();
    // Does not wait for more text or for the end of the pipe: a process that is left of the
    // container may hold it open.
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
