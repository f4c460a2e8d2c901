//! The cgroups that a process entering a container goes to.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Pid, access};
use rustix::fs::{Mode, OFlags, open};

use super::MOUNTED;
use super::cover::is_cgroup2;
use crate::Error;

/// One line of `/proc/<pid>/cgroup`, cgroups(7).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Membership {
    controllers: String,
    pub(super) path: String,
}

impl Membership {
    /// Whether the hierarchy has this controller; the name of the unified one is empty.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|one| one == controller)
    }

    /// Where the hierarchy is mounted: by its full name, or by that of one of its controllers.
    fn mounted(&self) -> Option<PathBuf> {
        let root = Path::new(MOUNTED);
        if self.controllers.is_empty() {
            let hybrid = root.join("unified");
            let unified = root.join("cgroup.procs").exists();
            return Some(if unified { root.to_owned() } else { hybrid });
        }
        let names = std::iter::once(self.controllers.as_str())
            .chain(self.controllers.split(','))
            .map(|name| name.trim_start_matches("name="));
        names.map(|name| root.join(name)).find(|path| path.is_dir())
    }
}

pub(super) fn memberships(pid: Pid) -> Vec<Membership> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    parse(&text)
}

/// The directory of a process's memory cgroup.
pub(crate) fn memory_directory(pid: Pid) -> Option<PathBuf> {
    let memberships = memberships(pid);
    let of = |controller: &str| memberships.iter().find(|one| one.has(controller));
    let one = of("memory").or_else(|| of(""))?;
    Some(one.mounted()?.join(one.path.trim_start_matches('/')))
}

/// The directory of a process's cgroup, where the unified hierarchy is the only one that limits.
pub(super) fn unified_alone(pid: Pid) -> Option<PathBuf> {
    if !is_cgroup2(Path::new(MOUNTED)) {
        return None;
    }
    let memberships = memberships(pid);
    let one = memberships.iter().find(|one| one.has(""))?;
    Some(one.mounted()?.join(one.path.trim_start_matches('/')))
}

fn parse(text: &str) -> Vec<Membership> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some(Membership {
                controllers: fields.next()?.to_owned(),
                path: fields.next()?.to_owned(),
            })
        })
        .collect()
}

/// Where a process goes. The kernel puts it into the unified hierarchy as it is born; into the others
/// it moves itself.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// In the unified hierarchy, the first that takes it: a cgroup whose controllers are handed down
    /// takes no processes.
    unified: Vec<OwnedFd>,
    others: Vec<PathBuf>,
}

impl Place {
    /// The cgroups of a container, whose first process is `init` and whose own cgroup is `configured`;
    /// or those below them that are asked for: `[CONTROLLERS:]PATH`.
    pub(crate) fn beside(init: Pid, configured: &Path, wanted: &[String]) -> Result<Self, Error> {
        let wanted: Vec<(&str, &str)> = wanted
            .iter()
            .map(|word| word.split_once(':').unwrap_or(("", word)))
            .collect();
        let theirs = memberships(init);
        for (controllers, path) in &wanted {
            if path.split('/').any(|part| part == "..") {
                return Err(Error::Process(format!("{path} is not a sub cgroup path")));
            }
            let known = |name: &str| theirs.iter().any(|one| one.has(name));
            if let Some(name) = controllers
                .split(',')
                .find(|name| !name.is_empty() && !known(name))
            {
                return Err(Error::Process(format!(
                    "there is no cgroup controller {name}"
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
            // Nothing of ours: an ordinary user's container without a delegated cgroup.
            tracing::debug!("{} is not ours to write to", processes.display());
            return Ok(());
        }
        if is_unified {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = open(directory, flags, Mode::empty())
                .map_err(|errno| Error::state("open", directory)(errno.into()))?;
            self.unified.push(opened);
        } else {
            self.others.push(processes);
        }
        Ok(())
    }

    /// The directories in the unified hierarchy, in the order in which to try them; none if there is
    /// nowhere to go.
    pub(crate) fn directories(&self) -> Vec<Option<BorrowedFd<'_>>> {
        if self.unified.is_empty() {
            return vec![None];
        }
        self.unified.iter().map(|fd| Some(fd.as_fd())).collect()
    }

    /// Moves the calling process into the others.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.others.iter().try_for_each(|path| fs::write(path, "0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_are_read() {
        let read = parse("12:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/u/c1\n");
        assert!(read[0].has("cpuacct") && !read[0].has("memory") && !read[0].has(""));
        assert_eq!(read[0].path, "/a:b");
        assert!(read[2].has("") && read[2].path == "/u/c1");
    }

    #[test]
    fn no_way_leads_out_of_the_containers_cgroup() {
        let wanted = ["a/../../b".to_owned()];
        let error = Place::beside(Pid::this(), Path::new("/x"), &wanted)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not a sub cgroup path"), "{error}");
        let wanted = ["nosuch:/".to_owned()];
        let error = Place::beside(Pid::this(), Path::new("/x"), &wanted).unwrap_err();
        assert!(
            error.to_string().contains("no cgroup controller nosuch"),
            "{error}"
        );
    }
}
