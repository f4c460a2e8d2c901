//! Whether the ranks of a job will find each other.

use std::fmt;

use launcher::{Job, Launcher, Wireup};

use super::Implementation;

/// The ranks of a job would not find each other: each would believe to be the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alone {
    /// What the program would use.
    pub implementation: Implementation,
    /// What it is started by.
    pub launcher: Launcher,
    /// What that offers.
    pub offers: Vec<Wireup>,
    /// How many ranks there are.
    pub size: u32,
}

/// Returns why a job's ranks would not find each other; `None` when they will, or when that cannot be
/// told.
#[must_use]
pub fn alone(implementation: &Implementation, job: &Job) -> Option<Alone> {
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
    (!meets && !speaks.is_empty()).then(|| Alone {
        implementation: implementation.clone(),
        launcher: job.launcher,
        offers: job.offers.clone(),
        size,
    })
}

impl Alone {
    /// Which launchers will do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let by = |wireup: &Wireup| match wireup {
            Wireup::Pmi => "MPICH's mpiexec, or srun --mpi=pmi2",
            Wireup::Pmix => "Open MPI's mpirun, or srun --mpi=pmix",
            Wireup::Cray => "the launcher of the Cray",
            Wireup::SlurmLibrary => "srun",
            Wireup::FluxLibrary => "flux run",
        };
        let ways: Vec<&str> = self.implementation.speaks.iter().map(by).collect();
        format!("start it by {}", ways.join(", or "))
    }
}

fn list(wireups: &[Wireup]) -> String {
    let names: Vec<String> = wireups.iter().map(Wireup::to_string).collect();
    match names.as_slice() {
        [] => "no wire-up".to_owned(),
        names => names.join(" and "),
    }
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} finds its ranks by {}, and {} offers {}: each of the {} ranks would be alone",
            self.implementation,
            list(&self.implementation.speaks),
            self.launcher,
            list(&self.offers),
            self.size
        )
    }
}
