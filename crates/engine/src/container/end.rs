//! Ending a container: signals, and its removal.

use std::io;
use std::time::{Duration, Instant};

use libcontainer::container::ContainerStatus;
use nix::errno::Errno;

use super::{Container, PendingHooks};
use crate::cgroup::Cgroup;
use crate::claims::{CgroupClaim, Creation};
use crate::first_process::{PATIENCE, is_another, send};
use crate::pidfd::{ends_within, open_process};
use crate::shadow_bundle::{remove_if_there, shadow};
use crate::{Error, Status, cgroup, claims};

/// Time that a container that is being deleted may take to end by itself.
const MOMENT: Duration = Duration::from_millis(100);

impl Container {
    /// Sends a signal, 0 to 64, to the container's first process, or to all of its processes.
    ///
    /// # Errors
    ///
    /// Fails when the container is not running and `all` is not set.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), Error> {
        // Nothing else would end the others, as with runc.
        let is_last = signal == nix::libc::SIGKILL && !self.has_own_processes();
        if all || is_last && !self.processes()?.is_empty() {
            return self.kill_all(signal);
        }
        let running = matches!(
            self.status(),
            Status::Created | Status::Running | Status::Paused
        );
        let pid = self.pid().filter(|_| running);
        let pid = pid.ok_or_else(|| Error::WrongStatus("container not running".into()))?;
        send(pid, signal).map_err(|errno| match errno {
            Errno::ESRCH => Error::WrongStatus("container not running".into()),
            errno => Error::system("signal the container's process", errno),
        })?;
        // In the old hierarchy, not even SIGKILL ends a frozen process.
        if signal == nix::libc::SIGKILL {
            if self.status() == Status::Paused {
                self.freeze(false)?;
            }
            if let Ok(cgroup) = self.cgroup() {
                cgroup.thaw();
            }
        }
        Ok(())
    }

    fn kill_all(&self, signal: i32) -> Result<(), Error> {
        let Ok(cgroup) = self.cgroup() else {
            return Ok(());
        };
        // With its PID namespace, all processes of a container have ended. Its cgroup may be
        // another container's by now, which is made in it once it is empty.
        let is_stopped = self.status() == Status::Stopped;
        if is_stopped && self.has_own_processes() && self.inner.is_some() {
            return Ok(());
        }
        let path = name_of(&cgroup);
        let claim = is_stopped.then(|| CgroupClaim::of_owner(&path, &self.root, &self.id));
        let claim = match claim.transpose()? {
            None => None,
            Some(Some(claim)) if self.is_the_one() && claim.is_alone()? => Some(claim),
            Some(_) => return Ok(()),
        };
        if signal == nix::libc::SIGKILL {
            cgroup.kill_everything()?;
        }
        for pid in self.processes()? {
            match send(pid, signal) {
                // The process has ended meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(Error::system("signal a process of the container", errno));
                }
            }
        }
        // The cgroup goes back to its owner. If there is none any more, somebody else has deleted the
        // container meanwhile.
        drop(claim);
        Ok(())
    }

    /// Whether the container has a PID namespace that was made for it.
    pub(super) fn has_own_processes(&self) -> bool {
        let document = self.known_document();
        document.is_some_and(|document| document.makes_namespace("pid"))
    }

    /// Whether the first process ends within a moment. A user who starts something short and
    /// deletes it at once should not get the error that it still runs.
    fn ends_soon(&self) -> bool {
        let Some(pidfd) = self.pid().and_then(|pid| open_process(pid).ok()) else {
            return true;
        };
        ends_within(&pidfd, MOMENT).unwrap_or(false)
    }

    /// Removes what is left of a stopped container. With `force`, ends a running one first, and one
    /// that is being made.
    ///
    /// # Errors
    ///
    /// Fails when the container runs and `force` is not set, when a process does not end, and when
    /// something cannot be removed. The rest stays then, for another attempt.
    pub fn delete(self, force: bool) -> Result<(), Error> {
        match claims::end_creation(&self.root, &self.id, force)? {
            Creation::None => self.remove(force),
            Creation::Removed => Ok(()),
            Creation::Ended => match Self::load(&self.root, &self.id) {
                Ok(container) => container.remove(force),
                Err(Error::Missing) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Does the same as [`delete`](Self::delete) for a container that nobody is making.
    pub(crate) fn remove(self, force: bool) -> Result<(), Error> {
        if self.inner.is_none() {
            self.end_unrecorded(force)?;
        }
        let mut status = self.status();
        if status == Status::Running && !force && self.ends_soon() {
            status = Status::Stopped;
        }
        if matches!(status, Status::Running | Status::Paused) && !force {
            return Err(Error::WrongStatus(format!(
                "cannot delete container {} that is not stopped: {status}",
                self.id
            )));
        }
        if status != Status::Stopped {
            self.end_first()?;
        }
        if !self.has_own_processes() {
            cgroup::log_failure(self.kill_all(nix::libc::SIGKILL));
        }
        let hooks = self.hooks_at("poststop");
        if let Ok(cgroup) = self.cgroup() {
            self.remove_cgroup(&cgroup)?;
        }
        self.forget(&hooks)
    }

    /// Removes the container's cgroup, unless another container was made in it meanwhile.
    fn remove_cgroup(&self, cgroup: &Cgroup) -> Result<(), Error> {
        let (path, root, id) = (name_of(cgroup), &self.root, &self.id);
        if CgroupClaim::give_up_if(&path, root, id, || {
            self.is_the_one() && cgroup.remove_empty()
        })? {
            return Ok(());
        }
        match CgroupClaim::of_owner(&path, root, id)? {
            Some(claim) if self.is_the_one() => {
                cgroup.remove()?;
                claim.give_up()
            }
            _ => Ok(()),
        }
    }

    /// Does the same as [`remove`](Self::remove) for a container whose first process has ended as our
    /// child. Nothing is left to do when somebody else has deleted the container meanwhile.
    pub(crate) fn remove_ended(mut self) -> Result<(), Error> {
        if let Some(inner) = &mut self.inner {
            inner.state.status = ContainerStatus::Stopped;
        }
        self.remove(true)
    }

    /// Removes a container that could not be completed. The caller has claimed its cgroup, which had
    /// no processes before.
    pub(crate) fn abandon(self) -> Result<(), Error> {
        self.end_first()?;
        let hooks = self.hooks_at("poststop");
        if let Ok(cgroup) = self.cgroup() {
            if !self.has_own_processes() {
                cgroup::log_failure(cgroup.kill_everything());
            }
            cgroup.remove()?;
        }
        self.forget(&hooks)
    }

    /// Removes the state, and calls the last hooks. Somebody else who deletes the container at the
    /// same time may have done both.
    fn forget(&self, hooks: &PendingHooks) -> Result<(), Error> {
        // Nobody takes the id meanwhile.
        let locked = claims::lock_ids(&self.root)?;
        if !self.is_the_one() {
            return Ok(());
        }
        // The state goes last: if we are killed before, the container can be deleted once more.
        for directory in [shadow(&self.root, &self.id), self.directory()] {
            remove_if_there(&directory)?;
        }
        drop(locked);
        // As the specification says, these hooks are called when the container is deleted; their
        // errors are logged, and the rest goes on.
        cgroup::log_failure(hooks.run());
        Ok(())
    }

    /// Ends the processes of a container whose state cannot be read, so that nobody knows its first
    /// process.
    fn end_unrecorded(&self, force: bool) -> Result<(), Error> {
        let has_any = |processes: Vec<_>| !processes.is_empty();
        if !self.processes().is_ok_and(has_any) {
            return Ok(());
        }
        if !force {
            return Err(Error::WrongStatus(format!(
                "cannot delete container {}: its state cannot be read, and it has processes",
                self.id
            )));
        }
        self.kill_all(nix::libc::SIGKILL)
    }

    /// Ends the first process, and with it all others in its PID namespace. The container may have
    /// frozen some of its own cgroups.
    pub(super) fn end_first(&self) -> Result<(), Error> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        let Ok(pidfd) = open_process(pid) else {
            return Ok(());
        };
        // The id was checked when the container was loaded, but may be another's since.
        if is_another(pid, &self.directory()) {
            return Ok(());
        }
        let _ = self.kill(nix::libc::SIGKILL, false);
        let end = Instant::now() + PATIENCE;
        while !ends_within(&pidfd, MOMENT).unwrap_or(true) {
            if Instant::now() > end {
                return Err(Error::system(
                    "kill the container's process",
                    io::ErrorKind::TimedOut,
                ));
            }
            // Frozen once more, by one that is not ended yet.
            let _ = self.kill(nix::libc::SIGKILL, false);
        }
        Ok(())
    }
}

/// Returns the name by which a container claims its cgroup. One without a cgroup of its own claims
/// nothing that another could have.
fn name_of(cgroup: &Cgroup) -> String {
    match cgroup.path.as_os_str().is_empty() {
        true => format!("container {}", cgroup.id),
        false => cgroup.path.to_string_lossy().into_owned(),
    }
}
