//! Whose MPI a request asks for, and where the host's may be.

use std::path::PathBuf;

use anyhow::Result;
use inject::mpi::Hints;
use launcher::Job;

use crate::caller::Caller;
use crate::cli::{ContainerFlags, MpiMode};
use crate::site::Site;

/// What modules set to say where an MPI is installed.
const MPI_PREFIXES: [&str; 6] = [
    "I_MPI_ROOT",
    "MPI_HOME",
    "MPI_ROOT",
    "MPICH_DIR",
    "CRAY_MPICH_DIR",
    "OPAL_PREFIX",
];

pub(super) fn mpi_hints(caller: &Caller) -> Hints {
    let variables = &caller.variables;
    let paths = |name: &str| {
        let value = variables.text(name).unwrap_or_default();
        let parts = value.split(':').filter(|part| part.starts_with('/'));
        parts.map(PathBuf::from).collect::<Vec<_>>()
    };
    Hints {
        launcher: None,
        libraries: ["LD_LIBRARY_PATH", "CRAY_LD_LIBRARY_PATH"]
            .iter()
            .flat_map(|name| paths(name))
            .collect(),
        prefixes: MPI_PREFIXES.iter().flat_map(|name| paths(name)).collect(),
    }
}

pub(super) fn mpi_mode(
    flags: &ContainerFlags,
    job: Option<&Job>,
    caller: &Caller,
) -> Result<MpiMode> {
    if let Some(mode) = flags.mpi {
        return Ok(mode);
    }
    let Some((name, value)) = caller.variables.flag("MPI") else {
        // Outside of a job nothing is looked at but by a flag.
        let site = job.map(|_| Site::read(&caller.variables)).transpose()?;
        return Ok(site.and_then(|site| site.mpi).unwrap_or_default());
    };
    let text = value.to_string_lossy();
    clap::ValueEnum::from_str(&text, true)
        .map_err(|_| anyhow::anyhow!("{name}={text}: expected auto, host, container or none"))
}
