//! The flags of the commands that start containers, one group per file: their syntax, their
//! variables and their meaning.

mod devices;
mod environment;
mod global;
mod isolation;
mod mounts;
mod mpi;
mod registry;
pub mod settings;
mod sharing;
mod shell;

use clap::Args;

use crate::variables::Variable;

pub use devices::{DeviceFlags, Devices, Selection};
pub use environment::{Environment, EnvironmentFlags};
pub use global::{Global, Level};
pub use isolation::{Isolation, IsolationFlags, Scope};
pub use mounts::{MountFlags, Mounts};
pub use mpi::{Mpi, MpiFlags};
pub use registry::{RegistryFlags, RegistryOptions, authorities};
pub use sharing::{Sharing, SharingFlags};
pub use shell::ShellFlags;

/// The flags of every command that starts a container.
#[derive(Debug, Clone, Default, Args)]
pub struct ContainerFlags {
    /// The flags for paths of the host.
    #[command(flatten)]
    pub mounts: MountFlags,
    /// The flags for the environment and the working directory.
    #[command(flatten)]
    pub environment: EnvironmentFlags,
    /// The flags for resources of the container's own.
    #[command(flatten)]
    pub isolation: IsolationFlags,
    /// The flags for devices and drivers.
    #[command(flatten)]
    pub devices: DeviceFlags,
    /// The flags for the MPI library.
    #[command(flatten)]
    pub mpi: MpiFlags,
    /// The flags for shared containers.
    #[command(flatten)]
    pub sharing: SharingFlags,
    /// Print the OCI config.json instead of starting the container
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// The flags for images that are not files.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Returns the variables of flags, and those of settings without a flag.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    [
        global::VARIABLES,
        mounts::VARIABLES,
        environment::VARIABLES,
        isolation::VARIABLES,
        devices::VARIABLES,
        mpi::VARIABLES,
        sharing::VARIABLES,
        registry::VARIABLES,
        shell::VARIABLES,
        settings::VARIABLES,
    ]
    .into_iter()
    .flatten()
}
