//! Determines whether the ranks of a job will find each other.

use std::fmt;

use launcher::{Job, Launcher, Wireup};

use super::Implementation;

/// The ranks of a job would not find each other: each would act as the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireupMismatch {
    /// The MPI library that the program would use.
    pub implementation: Implementation,
    /// The launcher.
    pub launcher: Launcher,
    /// The wire-ups that the launcher offers.
    pub offers: Vec<Wireup>,
    /// The number of ranks.
    pub size: u32,
}

/// Returns why a job's ranks would not find each other. Returns `None` if they will, or if that is
/// unknown.
#[must_use]
pub fn wireup_mismatch(implementation: &Implementation, job: &Job) -> Option<WireupMismatch> {
    let size = job.size.filter(|size| *size > 1 && !job.own_library)?;
    let speaks = &implementation.speaks;
    let of_launcher = match job.launcher {
        Launcher::Slurm => Some(Wireup::SlurmLibrary),
        Launcher::Flux => Some(Wireup::FluxLibrary),
        _ => None,
    };
    if of_launcher.is_some_and(|library| speaks.contains(&library)) {
        return None;
    }
    let meets = speaks.iter().any(|one| job.offers.contains(one));
    (!meets && !speaks.is_empty()).then(|| WireupMismatch {
        implementation: implementation.clone(),
        launcher: job.launcher,
        offers: job.offers.clone(),
        size,
    })
}

impl WireupMismatch {
    /// Returns a message that names suitable launchers.
    #[must_use]
    pub fn remedy(&self) -> String {
        let by = |wireup: &Wireup| match wireup {
            Wireup::Pmi => "MPICH's mpiexec, or srun --mpi=pmi2",
            Wireup::Pmix => "Open MPI's mpirun, or srun --mpi=pmix",
            Wireup::Cray => "the Cray launcher",
            Wireup::SlurmLibrary => "srun",
            Wireup::FluxLibrary => "flux run",
        };
        let ways: Vec<&str> = self.implementation.speaks.iter().map(by).collect();
        format!("start it with {}", ways.join(", or "))
    }
}

fn list(wireups: &[Wireup], conjunction: &str) -> String {
    let names: Vec<String> = wireups.iter().map(Wireup::to_string).collect();
    match names.as_slice() {
        [] => "no wire-up".to_owned(),
        names => names.join(conjunction),
    }
}

impl fmt::Display for WireupMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} needs {} to find its ranks, but {} offers {}: each of the {} ranks would run alone",
            self.implementation,
            list(&self.implementation.speaks, " or "),
            self.launcher,
            list(&self.offers, " and "),
            self.size
        )
    }
}
