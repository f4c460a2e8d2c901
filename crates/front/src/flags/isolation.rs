//! The resources that a container does not share with the host.

use anyhow::Result;
use clap::Args;

use super::Variable;
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
}

const CONTAIN: Variable = Variable::of("contain", &["CONTAIN"]);
const CONTAINALL: Variable = Variable::of("containall", &["CONTAINALL"]);
const PID: Variable = Variable::of("pid", &["PID", "UNSHARE_PID"]);
const IPC: Variable = Variable::of("ipc", &["IPC", "UNSHARE_IPC"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[CONTAIN, CONTAINALL, PID, IPC];

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

impl IsolationFlags {
    /// Combines flags and variables.
    ///
    /// # Errors
    ///
    /// Fails on invalid values.
    pub fn resolve(&self, variables: &Variables) -> Result<Isolation> {
        let all = self.is_for_all(variables)?;
        let contained = all || self.contain || variables.is_set(&CONTAIN)?;
        Ok(Isolation {
            files: Scope::own_if(contained),
            processes: Scope::own_if(all || self.pid || variables.is_set(&PID)?),
            // System V shared memory is in no directory, so it cannot be hidden with the files.
            memory: Scope::own_if(contained || self.ipc || variables.is_set(&IPC)?),
        })
    }

    /// Whether everything that can be the container's own shall be, including the environment.
    ///
    /// # Errors
    ///
    /// Fails as [`resolve`](Self::resolve) does.
    pub fn is_for_all(&self, variables: &Variables) -> Result<bool> {
        Ok(self.containall || variables.is_set(&CONTAINALL)?)
    }
}
