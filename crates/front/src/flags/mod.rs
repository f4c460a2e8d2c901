//! The flags of the commands that start containers, a group a file: how each is typed, the variables that stand for it,
//! and its meaning.

mod devices;
mod environment;
mod global;
mod isolation;
mod mounts;
mod mpi;
mod network;
pub mod settings;
mod sharing;
mod shell;

use clap::Args;

use crate::variables::Variable;

pub use devices::{DeviceFlags, Devices};
pub use environment::{Environment, EnvironmentFlags};
pub use global::{Global, Level};
pub use isolation::{Isolation, IsolationFlags, Scope};
pub use mounts::{MountFlags, Mounts};
pub use mpi::{Mpi, MpiFlags, MpiMode};
pub use network::{Network, NetworkFlags};
pub use sharing::{Sharing, SharingFlags};
pub use shell::ShellFlags;

/// The flags of every command that starts a container.
#[derive(Debug, Clone, Default, Args)]
pub struct ContainerFlags {
    /// The paths of the host that are shown.
    #[command(flatten)]
    pub mounts: MountFlags,
    /// The environment and the working directory.
    #[command(flatten)]
    pub environment: EnvironmentFlags,
    /// The container's own.
    #[command(flatten)]
    pub isolation: IsolationFlags,
    /// Which devices and drivers of the host's it gets.
    #[command(flatten)]
    pub devices: DeviceFlags,
    /// The MPI library of a job's ranks.
    #[command(flatten)]
    pub mpi: MpiFlags,
    /// With whom it shares its container.
    #[command(flatten)]
    pub sharing: SharingFlags,
    /// Print the OCI config.json instead of running it
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// How images that are no files are reached.
    #[command(flatten)]
    pub network: NetworkFlags,
}

/// The variables that stand for flags, and those that are settings without a flag.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    [
        global::VARIABLES,
        mounts::VARIABLES,
        environment::VARIABLES,
        isolation::VARIABLES,
        devices::VARIABLES,
        mpi::VARIABLES,
        sharing::VARIABLES,
        network::VARIABLES,
        shell::VARIABLES,
        settings::VARIABLES,
    ]
    .into_iter()
    .flatten()
}
