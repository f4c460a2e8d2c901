//! The MPI library that a program gets, and the places where the host's may be.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use inject::mpi::Hints;

use super::{Group, Variable};
use crate::caller::Caller;
use crate::mpi_mode::MpiMode;
use crate::site::Site;
use crate::variables::Variables;

/// The flags for the MPI library.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "MPI")]
pub struct MpiFlags {
    /// Choose the MPI library of a job's ranks
    #[arg(long, value_enum)]
    pub mpi: Option<MpiMode>,
}

const MPI: Variable = Variable::of("mpi", &["MPI"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[MPI];

/// The MPI library that a program gets, and the places where the host's may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mpi {
    /// The host's, the image's, or the better of the two.
    pub mode: MpiMode,
    /// The places where the host's may be, as far as the environment names them.
    pub hints: Hints,
}

impl Group for MpiFlags {
    const LONG: &'static [&'static str] = &["mpi"];
    const SHORT: &'static str = "";
}

impl MpiFlags {
    /// Combines flags, variables and the site's configuration.
    ///
    /// # Errors
    ///
    /// Fails on invalid values.
    pub fn resolve(&self, site: &Site, variables: &Variables) -> Result<Mpi> {
        Ok(Mpi {
            mode: self.mode(site, variables)?,
            hints: hints(variables),
        })
    }

    fn mode(&self, site: &Site, variables: &Variables) -> Result<MpiMode> {
        if let Some(mode) = self.mpi {
            return Ok(mode);
        }
        let Some((name, value)) = variables.value(&MPI) else {
            return Ok(site.mpi.unwrap_or_default());
        };
        let text = value.to_string_lossy();
        ValueEnum::from_str(&text, true)
            .map_err(|_| anyhow!("{name}={text}: expected auto, host, container or none"))
    }
}

impl Mpi {
    /// Returns the hints, with the launcher's own program: the host's MPI may be beside it.
    pub fn hints_beside_launcher(&self, caller: &Caller) -> Hints {
        Hints {
            launcher: caller.launcher_program(),
            ..self.hints.clone()
        }
    }
}

/// Variables in which modules name the prefix of an MPI.
const MPI_PREFIXES: [&str; 6] = [
    "I_MPI_ROOT",
    "MPI_HOME",
    "MPI_ROOT",
    "MPICH_DIR",
    "CRAY_MPICH_DIR",
    "OPAL_PREFIX",
];

fn hints(variables: &Variables) -> Hints {
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
