//! The MPI library that a program gets, and where the host's may be.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use inject::mpi::Hints;
use launcher::Job;
use serde::Deserialize;

use super::Variable;
use crate::caller::Caller;
use crate::site::Site;
use crate::variables::Variables;

/// The MPI library of a job's ranks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "MPI")]
pub struct MpiFlags {
    /// Which MPI library ranks of a job get
    #[arg(long, value_enum)]
    pub mpi: Option<MpiMode>,
}

const MPI: Variable = Variable::of("mpi", &["MPI"]);

/// The variables that stand for them.
pub(super) const VARIABLES: &[Variable] = &[MPI];

/// Which MPI library a program gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MpiMode {
    /// The host's where it can replace the image's, else the image's.
    #[default]
    Auto,
    /// The host's, or none is started.
    Host,
    /// The image's.
    Container,
    /// Whatever it finds: nothing is looked at.
    None,
}

/// The MPI library that a program gets, and where the host's may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mpi {
    /// The host's, the image's, or the better of the two.
    pub mode: MpiMode,
    /// Where the host's may be, as far as the environment says.
    pub hints: Hints,
}

impl MpiFlags {
    /// Puts flags, variables and the site's configuration together.
    ///
    /// # Errors
    ///
    /// Fails on values that have no meaning.
    pub fn resolve(&self, job: Option<&Job>, variables: &Variables) -> Result<Mpi> {
        Ok(Mpi {
            mode: self.mode(job, variables)?,
            hints: hints(variables),
        })
    }

    fn mode(&self, job: Option<&Job>, variables: &Variables) -> Result<MpiMode> {
        if let Some(mode) = self.mpi {
            return Ok(mode);
        }
        let Some((name, value)) = variables.value(&MPI) else {
            // Outside of a job nothing is looked at but by a flag.
            let site = job.map(|_| Site::read(variables)).transpose()?;
            return Ok(site.and_then(|site| site.mpi).unwrap_or_default());
        };
        let text = value.to_string_lossy();
        ValueEnum::from_str(&text, true)
            .map_err(|_| anyhow!("{name}={text}: expected auto, host, container or none"))
    }
}

impl Mpi {
    /// The hints, and the launcher's own program, beside which the host's MPI may be.
    pub fn hints_beside_launcher(&self, caller: &Caller) -> Hints {
        Hints {
            launcher: caller.launcher_program(),
            ..self.hints.clone()
        }
    }
}

/// What modules set to say where an MPI is installed.
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
