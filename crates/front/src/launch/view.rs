//! The caller and the host, as a request's container shows them.

use std::path::{Path, PathBuf};

use bundle::{Account, Bind, Directories, HostFacts};

use super::directories::{directories, shown};
use super::program::VisiblePaths;
use crate::caller::Caller;
use crate::host;
use crate::request::Request;

/// The caller and the host, as a request's container shows them.
pub(super) struct View {
    /// The caller's name on the host.
    pub(super) user: String,
    /// The directory of the caller's cache on the host.
    pub(super) cache: PathBuf,
    /// The caller's account as the container shows it.
    pub(super) account: Account,
    /// The directories at the usual places.
    pub(super) directories: Directories,
    pub(super) facts: HostFacts,
    /// The binds of the user and for the launcher.
    pub(super) binds: Vec<Bind>,
    /// The paths inside that show a directory of the host, with that directory.
    shown: Vec<(PathBuf, PathBuf)>,
}

impl View {
    /// Looks at the host. The devices need a system call each; without them, no container can be
    /// made.
    pub(super) fn new(request: &Request, caller: &Caller, with_devices: bool) -> Self {
        let own = caller.account();
        let cache = caller.cache(&own);
        let directories = directories(request, &own.home);
        let user = own.name.clone();
        let account = request.container.account(own);
        let facts = match with_devices {
            true => host::facts(caller),
            false => host::facts_without_devices(caller),
        };
        // Launchers give each rank its own terminal. It would make the ranks' requests different.
        let terminal = facts.terminal.filter(|_| request.job.is_none());
        let resolv_conf = request.container.network.resolv_conf();
        let facts = HostFacts {
            terminal,
            resolv_conf: resolv_conf.or(facts.resolv_conf),
            ..facts
        };
        let shown = shown(&directories, &account.home);
        Self {
            binds: launcher_binds(request, &shown, &facts),
            user,
            cache,
            account,
            directories,
            facts,
            shown,
        }
    }

    /// Returns the places where the container shows the host's files.
    pub(super) fn visible_paths(&self, request: &Request) -> VisiblePaths {
        VisiblePaths::new(request, &self.binds, self.shown.clone(), &self.facts)
    }
}

/// Returns binds of the launcher's directories that would not be visible inside, and the user's
/// binds. `shown` has the directories at the usual places: inside, and on the host.
fn launcher_binds(request: &Request, shown: &[(PathBuf, PathBuf)], facts: &HostFacts) -> Vec<Bind> {
    let same = shown.iter().filter(|(inside, source)| inside == source);
    let seen = same.map(|(inside, _)| inside.as_path());
    let cwd = facts.shown_cwd().filter(|_| !request.is_contained());
    let seen: Vec<&Path> = seen.chain(cwd).collect();
    let directories = request
        .container
        .launcher_directories
        .iter()
        .filter(|directory| {
            request.job.is_some()
                && directory.is_dir()
                && !seen.iter().any(|seen| directory.starts_with(seen))
        });
    let binds = directories.cloned().map(Bind::same);
    binds
        .chain(request.container.mounts.binds.iter().cloned())
        .collect()
}
