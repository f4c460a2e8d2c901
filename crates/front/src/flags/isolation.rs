//! Which of the host's a container has for itself.

use anyhow::Result;
use clap::Args;

use super::Variable;
use crate::variables::Variables;

/// The flags that give a container its own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Isolation")]
pub struct IsolationFlags {
    /// Give it an empty home and temporary directories, and only the devices that it needs
    #[arg(short = 'c', long)]
    pub contain: bool,
    /// The same, and processes, shared memory and an environment of its own
    #[arg(short = 'C', long)]
    pub containall: bool,
    /// Give it processes of its own; it sees no others
    #[arg(short, long)]
    pub pid: bool,
    /// Give it shared memory, semaphores and message queues of its own
    #[arg(short, long)]
    pub ipc: bool,
}

const CONTAIN: Variable = Variable::of("contain", &["CONTAIN"]);
const CONTAINALL: Variable = Variable::of("containall", &["CONTAINALL"]);
const PID: Variable = Variable::of("pid", &["PID", "UNSHARE_PID"]);
const IPC: Variable = Variable::of("ipc", &["IPC", "UNSHARE_IPC"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[CONTAIN, CONTAINALL, PID, IPC];

/// The owner of a thing that a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The host's.
    Host,
    /// Its own.
    Own,
}

impl Scope {
    /// The container's own if that is asked for.
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

/// Which of the host's a container has for itself.
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
    /// Puts flags and variables together.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning.
    pub fn resolve(&self, variables: &Variables) -> Result<Isolation> {
        let all = self.is_for_all(variables)?;
        let contained = all || self.contain || variables.is_set(&CONTAIN)?;
        Ok(Isolation {
            files: Scope::own_if(contained),
            processes: Scope::own_if(all || self.pid || variables.is_set(&PID)?),
            // System V's shared memory is in no directory that could be hidden.
            memory: Scope::own_if(contained || self.ipc || variables.is_set(&IPC)?),
        })
    }

    /// Whether all that can be the container's own shall be: its environment, too.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn is_for_all(&self, variables: &Variables) -> Result<bool> {
        Ok(self.containall || variables.is_set(&CONTAINALL)?)
    }
}
