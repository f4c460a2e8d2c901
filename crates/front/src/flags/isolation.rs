//! The resources that a container does not share with the host.

use anyhow::Result;
use clap::Args;

use super::{Group, Variable};
use crate::site::{Isolate, Site};
use crate::variables::Variables;

/// The flags for resources of the container's own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Isolation")]
pub struct IsolationFlags {
    /// Give the container an empty home and temporary directories, and only the devices that it
    /// needs
    #[arg(short = 'c', long)]
    pub contain: bool,
    /// Do the same as --contain, and give the container its own processes, shared memory and
    /// environment
    #[arg(short = 'C', long)]
    pub containall: bool,
    /// Give the container its own processes; it sees no others
    #[arg(short, long)]
    pub pid: bool,
    /// Give the container its own shared memory, semaphores and message queues
    #[arg(short, long)]
    pub ipc: bool,
    /// Do as docker does: --containall, --no-eval, --no-umask and --writable-tmpfs
    #[arg(long, alias = "oci")]
    pub compat: bool,
    /// Do nothing: a container shares the host's processes by default
    #[arg(long, hide = true)]
    pub no_pid: bool,
    /// Do nothing: --compat is off by default
    #[arg(long, hide = true, alias = "no-oci", conflicts_with = "compat")]
    pub no_compat: bool,
    /// Do nothing: the first process of the container always is front's own, which ends the others
    #[arg(long, hide = true)]
    pub no_init: bool,
    /// Do nothing: an ordinary user's container always has a user namespace
    #[arg(short, long, hide = true)]
    pub userns: bool,
}

/// A flag that implies others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// None.
    None,
    /// `--containall`.
    All,
    /// `--compat`: the behaviour of docker.
    Docker,
}

const CONTAIN: Variable = Variable::of("contain", &["CONTAIN"]);
const CONTAINALL: Variable = Variable::of("containall", &["CONTAINALL"]);
const PID: Variable = Variable::of("pid", &["PID", "UNSHARE_PID"]);
const IPC: Variable = Variable::of("ipc", &["IPC", "UNSHARE_IPC"]);
const COMPAT: Variable = Variable::of("compat", &["COMPAT", "OCI"]);
const NO_PID: Variable = Variable::of("no_pid", &["NO_PID"]);
const NO_COMPAT: Variable = Variable::of("no_compat", &["NO_COMPAT", "NO_OCI"]);
const NO_INIT: Variable = Variable::of("no_init", &["NOSHIMINIT", "NO_INIT"]);
const USERNS: Variable = Variable::of("userns", &["USERNS", "UNSHARE_USERNS"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[
    CONTAIN, CONTAINALL, PID, IPC, COMPAT, NO_PID, NO_COMPAT, NO_INIT, USERNS,
];

/// The owner of a resource that a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The host's.
    Host,
    /// The container's own.
    Own,
}

impl Scope {
    /// Returns the container's own if `asked`.
    pub fn own_if(asked: bool) -> Self {
        match asked {
            true => Self::Own,
            false => Self::Host,
        }
    }

    /// Whether it is the container's own.
    pub fn is_own(self) -> bool {
        self == Self::Own
    }
}

/// The resources that a container does not share with the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Isolation {
    /// The home, the temporary directories and the devices.
    pub files: Scope,
    /// The processes.
    pub processes: Scope,
    /// Shared memory, semaphores and message queues.
    pub memory: Scope,
}

impl Group for IsolationFlags {
    const LONG: &'static [&'static str] = &[
        "contain",
        "containall",
        "pid",
        "ipc",
        "compat",
        "oci",
        "no-pid",
        "no-compat",
        "no-oci",
        "no-init",
        "userns",
    ];
    const SHORT: &'static str = "cCpiu";
}

impl Isolation {
    /// Returns the same, with the container's own processes if `asked`.
    pub fn with_own_processes(self, asked: bool) -> Self {
        match asked {
            true => Self {
                processes: Scope::Own,
                ..self
            },
            false => self,
        }
    }
}

impl IsolationFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values.
    pub fn resolve(&self, site: &Site, variables: &Variables) -> Result<Isolation> {
        let all = self.preset(site, variables)? != Preset::None;
        let contained = all
            || site.isolation == Isolate::Contain
            || self.contain
            || variables.is_set(&CONTAIN)?;
        // Of flags that contradict each other, the one for more isolation counts, except that
        // --no-pid takes back what another flag implies.
        let asked = self.pid || variables.is_set(&PID)?;
        let implied = all && !(self.no_pid || variables.is_set(&NO_PID)?);
        Ok(Isolation {
            files: Scope::own_if(contained),
            processes: Scope::own_if(asked || implied),
            // System V shared memory is in no directory, so it cannot be hidden with the files.
            memory: Scope::own_if(contained || self.ipc || variables.is_set(&IPC)?),
        })
    }

    /// Returns the flag that implies others, if one is given.
    ///
    /// # Errors
    ///
    /// Fails as [`resolve`](Self::resolve) does.
    pub fn preset(&self, site: &Site, variables: &Variables) -> Result<Preset> {
        Ok(if self.compat || variables.is_set(&COMPAT)? {
            Preset::Docker
        } else if self.containall
            || site.isolation == Isolate::Containall
            || variables.is_set(&CONTAINALL)?
        {
            Preset::All
        } else {
            Preset::None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_imply_isolation() {
        let own = |flags: IsolationFlags, variables: &[(&str, &str)]| {
            let found = flags
                .resolve(&Site::default(), &Variables::of(variables))
                .unwrap();
            [found.files, found.processes, found.memory].map(Scope::is_own)
        };
        let none = IsolationFlags::default;
        let all = || IsolationFlags {
            containall: true,
            ..none()
        };
        assert_eq!(own(none(), &[]), [false; 3]);
        assert_eq!(own(all(), &[]), [true; 3]);
        assert_eq!(own(none(), &[("APPTAINER_COMPAT", "1")]), [true; 3]);
        assert_eq!(
            own(all(), &[("APPTAINER_NO_PID", "1")]),
            [true, false, true]
        );
        let pid = [("APPTAINER_NO_PID", "1"), ("APPTAINER_PID", "1")];
        assert_eq!(own(none(), &pid), [false, true, false]);
    }
}
