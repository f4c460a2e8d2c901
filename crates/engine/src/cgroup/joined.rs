//! The cgroups that a process joins when it enters a container.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Pid, access};
use rustix::fs::{Mode, OFlags, open};

use super::mask::is_cgroup2;
use super::membership::memberships;
use super::{MOUNTED, freezer};
use crate::Error;

/// Returns the directory of a process's memory cgroup.
pub(crate) fn memory_directory(pid: Pid) -> Option<PathBuf> {
    let memberships = memberships(pid);
    let of = |controller: &str| memberships.iter().find(|one| one.has(controller));
    let one = of("memory").or_else(|| of(""))?;
    Some(one.mounted()?.join(one.path.trim_start_matches('/')))
}

/// Returns the directory of a process's cgroup if the host has only the unified hierarchy.
pub(super) fn unified_alone(pid: Pid) -> Option<PathBuf> {
    if !is_cgroup2(Path::new(MOUNTED)) {
        return None;
    }
    let memberships = memberships(pid);
    let one = memberships.iter().find(|one| one.has(""))?;
    Some(one.mounted()?.join(one.path.trim_start_matches('/')))
}

/// The cgroups that a process joins. The kernel puts the process into the unified hierarchy at its
/// birth; the process moves itself into the others.
#[derive(Debug, Default)]
pub(crate) struct JoinedCgroups {
    /// The directories in the unified hierarchy, in order of preference. A cgroup that passes its
    /// controllers on to cgroups below accepts no processes.
    unified: Vec<OwnedFd>,
    others: Vec<PathBuf>,
}

impl JoinedCgroups {
    /// Returns the cgroups of a container whose first process is `init` and whose own cgroup is
    /// `configured`. `wanted` names cgroups below them: `[CONTROLLERS:]PATH`.
    pub(crate) fn beside(init: Pid, configured: &Path, wanted: &[String]) -> Result<Self, Error> {
        let wanted: Vec<(&str, &str)> = wanted
            .iter()
            .map(|word| word.split_once(':').unwrap_or(("", word)))
            .collect();
        let theirs = memberships(init);
        for (controllers, path) in &wanted {
            if path.split('/').any(|part| part == "..") {
                return Err(Error::Process(format!(
                    "bad sub cgroup path {path}: it leads out of the container's"
                )));
            }
            let known = |name: &str| theirs.iter().any(|one| one.has(name));
            if let Some(name) = controllers
                .split(',')
                .find(|name| !name.is_empty() && !known(name))
            {
                return Err(Error::Process(format!(
                    "unknown controller {name}: there is no cgroup controller of that name"
                )));
            }
        }
        let own = memberships(Pid::this());
        let mut place = Self::default();
        for theirs in theirs {
            let below = wanted.iter().find(|(controllers, _)| {
                controllers.is_empty() || controllers.split(',').any(|name| theirs.has(name))
            });
            let Some(hierarchy) = theirs.mounted() else {
                continue;
            };
            let below = below.map(|(_, path)| path.trim_matches('/'));
            let of_init = Path::new(&theirs.path);
            let is_unified = theirs.controllers.is_empty();
            let bases = [configured, of_init];
            let bases = bases.into_iter().filter(|path| {
                let is_own = below.is_none() && own.contains(&theirs) && *path == of_init;
                path.is_absolute() && !is_own && (is_unified || *path == of_init)
            });
            for base in bases {
                let base = base.strip_prefix("/").unwrap_or(base);
                let directory = hierarchy.join(base).join(below.unwrap_or_default());
                if below.is_some() {
                    freezer::refuse_frozen_in(&hierarchy, &directory).map_err(Error::Process)?;
                }
                place.add(&directory, is_unified, below.is_some())?;
                if below.is_some() {
                    break;
                }
            }
        }
        Ok(place)
    }

    fn add(&mut self, directory: &Path, is_unified: bool, is_wanted: bool) -> Result<(), Error> {
        let processes = directory.join("cgroup.procs");
        if !is_wanted && access(&processes, AccessFlags::W_OK).is_err() {
            // This is normal for an ordinary user's container without a delegated cgroup.
            tracing::debug!("{} is not ours to write to", processes.display());
            return Ok(());
        }
        if is_unified {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = open(directory, flags, Mode::empty()).map_err(|errno| {
                let reason = text::message(&errno.into());
                // runc's words, as of `enter`.
                Error::Process(format!("adding pid to {}: {reason}", directory.display()))
            })?;
            self.unified.push(opened);
        } else {
            self.others.push(processes);
        }
        Ok(())
    }

    /// Returns the directories in the unified hierarchy in the order in which to try them. If there
    /// are none, returns a single `None`.
    pub(crate) fn directories(&self) -> Vec<Option<BorrowedFd<'_>>> {
        if self.unified.is_empty() {
            return vec![None];
        }
        self.unified.iter().map(|fd| Some(fd.as_fd())).collect()
    }

    /// Moves the calling process into its cgroups in the other hierarchies.
    ///
    /// # Errors
    ///
    /// Returns runc's words with the path.
    pub(crate) fn enter(&self) -> Result<(), String> {
        self.others.iter().try_for_each(|path| {
            let entered = fs::write(path, "0");
            entered.map_err(|error| {
                let reason = text::message(&error);
                format!("adding pid {} to {}: {reason}", Pid::this(), path.display())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_leads_out_of_the_containers_cgroup() {
        let wanted = ["a/../../b".to_owned()];
        let error = JoinedCgroups::beside(Pid::this(), Path::new("/x"), &wanted)
            .unwrap_err()
            .to_string();
        assert!(error.contains("bad sub cgroup path"), "{error}");
        let wanted = ["nosuch:/".to_owned()];
        let error = JoinedCgroups::beside(Pid::this(), Path::new("/x"), &wanted).unwrap_err();
        assert!(
            error.to_string().contains("unknown controller nosuch"),
            "{error}"
        );
    }
}
