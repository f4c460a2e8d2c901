//! The flags of the commands that start containers, one group per file: their syntax, their
//! variables and their meaning.

mod application;
mod build;
mod devices;
mod environment;
mod global;
mod home;
mod isolation;
mod limits;
mod mounts;
mod mpi;
mod network;
mod privileges;
mod refused;
mod registry;
pub mod settings;
mod sharing;
mod shell;
mod sparse;
mod writable;

use clap::Args;

use crate::variables::Variable;

pub use application::ApplicationFlags;
pub use build::{BuildFlags, BuildOptions};
pub use devices::{DeviceFlags, Devices, Selection};
pub use environment::{Environment, EnvironmentFlags};
pub use global::Global;
pub use home::{Home, HomeFlags};
pub use isolation::{Isolation, IsolationFlags, Preset, Scope};
pub use limits::{Limit, LimitFlags};
pub use mounts::{FuseMount, MountFlags, Mounts};
pub use mpi::{Mpi, MpiFlags};
pub use network::{Network, NetworkFlags};
pub use privileges::{Fakeroot, PrivilegeFlags, Privileges};
pub use refused::RefusedFlags;
#[cfg(test)]
pub use refused::refused_flags;
pub use registry::{RegistryFlags, RegistryOptions, authorities};
pub use sharing::{Sharing, SharingFlags};
pub use shell::ShellFlags;
pub use sparse::{Group, Sparse, only_for};
pub use writable::{WritableFlags, Writing};

/// The flags of every command that starts a container.
#[derive(Debug, Clone, Default, Args)]
pub struct ContainerFlags {
    /// The flags for paths of the host.
    #[command(flatten)]
    pub mounts: Sparse<MountFlags>,
    /// The flags for the home directory.
    #[command(flatten)]
    pub home: Sparse<HomeFlags>,
    /// The flags for changes to the root.
    #[command(flatten)]
    pub writable: Sparse<WritableFlags>,
    /// The flags for the environment and the working directory.
    #[command(flatten)]
    pub environment: Sparse<EnvironmentFlags>,
    /// The flag for an application.
    #[command(flatten)]
    pub application: Sparse<ApplicationFlags>,
    /// The flags for resources of the container's own.
    #[command(flatten)]
    pub isolation: Sparse<IsolationFlags>,
    /// The flags for the network and the host name.
    #[command(flatten)]
    pub network: Sparse<NetworkFlags>,
    /// The flags for privileges.
    #[command(flatten)]
    pub privileges: Sparse<PrivilegeFlags>,
    /// The flags for limits.
    #[command(flatten)]
    pub limits: Sparse<LimitFlags>,
    /// The flags for devices and drivers.
    #[command(flatten)]
    pub devices: Sparse<DeviceFlags>,
    /// The flags for the MPI library.
    #[command(flatten)]
    pub mpi: Sparse<MpiFlags>,
    /// The flags for shared containers.
    #[command(flatten)]
    pub sharing: Sparse<SharingFlags>,
    /// Print the OCI config.json instead of starting the container
    #[arg(long, help_heading = "Output")]
    pub dry_run: bool,
    /// The flags for images that are not files.
    #[command(flatten)]
    pub registry: Sparse<RegistryFlags>,
    /// Flags that are refused.
    #[command(flatten)]
    pub refused: Sparse<RefusedFlags>,
}

impl ContainerFlags {
    /// Returns those flags that keep a new container apart from the host, as [`Container::apart`]
    /// names what it has. Variables do not count: they are set for every command.
    ///
    /// [`Container::apart`]: crate::request::Container::apart
    pub fn apart(&self) -> Vec<&'static str> {
        let (isolation, network) = (&self.isolation.0, &self.network.0);
        let given = [
            (isolation.contain, "--contain"),
            (isolation.containall, "--containall"),
            (isolation.compat, "--compat"),
            (isolation.pid, "--pid"),
            (isolation.ipc, "--ipc"),
            (network.net, "--net"),
            (network.network.as_deref() == Some("none"), "--network"),
            (network.uts, "--uts"),
            (self.home.0.no_home, "--no-home"),
            (!self.mounts.0.no_mount.is_empty(), "--no-mount"),
        ];
        names(given)
    }
}

/// Returns the names whose values are true.
pub fn names<const N: usize>(given: [(bool, &'static str); N]) -> Vec<&'static str> {
    let given = given.into_iter();
    given
        .filter_map(|(is_given, name)| is_given.then_some(name))
        .collect()
}

/// Returns the variables of flags, and those of settings without a flag.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    [
        global::VARIABLES,
        mounts::VARIABLES,
        home::VARIABLES,
        writable::VARIABLES,
        environment::VARIABLES,
        application::VARIABLES,
        isolation::VARIABLES,
        network::VARIABLES,
        privileges::VARIABLES,
        limits::VARIABLES,
        devices::VARIABLES,
        mpi::VARIABLES,
        sharing::VARIABLES,
        registry::VARIABLES,
        shell::VARIABLES,
        build::VARIABLES,
        settings::VARIABLES,
    ]
    .into_iter()
    .flatten()
    .chain(refused::variables())
}

#[cfg(test)]
mod tests {
    use super::sparse::check;
    use super::*;

    #[test]
    fn groups_name_all_their_flags() {
        check::<MountFlags>();
        check::<HomeFlags>();
        check::<WritableFlags>();
        check::<EnvironmentFlags>();
        check::<ApplicationFlags>();
        check::<IsolationFlags>();
        check::<NetworkFlags>();
        check::<PrivilegeFlags>();
        check::<LimitFlags>();
        check::<DeviceFlags>();
        check::<MpiFlags>();
        check::<SharingFlags>();
        check::<RegistryFlags>();
        check::<RefusedFlags>();
    }
}
