//! The launchers: the variables by which each is known, and the names of its programs.

use std::fmt;

use crate::Lookup;

/// A launcher of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Launcher {
    /// Open MPI's `mpirun` (ORTE, PRRTE).
    OpenMpi,
    /// Cray's PALS: `mpiexec` under PBS.
    Pals,
    /// Flux.
    Flux,
    /// MPICH's Hydra and its variants in Intel MPI and MVAPICH: `mpiexec`, `mpirun`.
    Hydra,
    /// Slurm's `srun`.
    Slurm,
    /// IBM's `jsrun`.
    Jsm,
    /// Another launcher whose ranks find each other by PMIx.
    Pmix,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMpi => "Open MPI's mpirun",
            Self::Pals => "PALS",
            Self::Flux => "Flux",
            Self::Hydra => "Hydra (mpiexec)",
            Self::Slurm => "srun",
            Self::Jsm => "jsrun",
            Self::Pmix => "a PMIx launcher",
        })
    }
}

/// The variables of a launcher: those that show its presence, those that form the job's name, and
/// those with the rank, the number of ranks, the number of ranks on this machine, and the rank on
/// this machine. The innermost launchers come first in the table, because a launcher that is
/// started by another inherits the other's variables.
pub(crate) struct Row {
    pub(crate) launcher: Launcher,
    known_by: &'static [&'static str],
    pub(crate) name: &'static [&'static str],
    pub(crate) rank: &'static str,
    pub(crate) size: &'static str,
    pub(crate) local_size: &'static str,
    pub(crate) local_rank: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        launcher: Launcher::OpenMpi,
        known_by: &["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
        name: &["PMIX_NAMESPACE"],
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        local_size: "OMPI_COMM_WORLD_LOCAL_SIZE",
        local_rank: "OMPI_COMM_WORLD_LOCAL_RANK",
    },
    Row {
        launcher: Launcher::Flux,
        known_by: &["FLUX_JOB_ID", "FLUX_TASK_RANK"],
        name: &["FLUX_JOB_ID"],
        rank: "FLUX_TASK_RANK",
        size: "FLUX_JOB_SIZE",
        local_size: "FLUX_TASK_LOCAL_SIZE",
        local_rank: "FLUX_TASK_LOCAL_ID",
    },
    Row {
        launcher: Launcher::Pals,
        known_by: &["PALS_APID", "PALS_RANKID"],
        name: &["PALS_APID"],
        rank: "PALS_RANKID",
        size: "PMI_SIZE",
        local_size: "PMI_LOCAL_SIZE",
        local_rank: "PMI_LOCAL_RANK",
    },
    Row {
        launcher: Launcher::Jsm,
        known_by: &["JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"],
        name: &["PMIX_NAMESPACE"],
        rank: "JSM_NAMESPACE_RANK",
        size: "JSM_NAMESPACE_SIZE",
        local_size: "JSM_NAMESPACE_LOCAL_SIZE",
        local_rank: "JSM_NAMESPACE_LOCAL_RANK",
    },
    // Under Slurm, Hydra starts its own agents by srun. It tells each rank the number of ranks on
    // the machine.
    Row {
        launcher: Launcher::Hydra,
        known_by: &["PMI_RANK", "MPI_LOCALNRANKS"],
        name: &[],
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        local_size: "MPI_LOCALNRANKS",
        local_rank: "MPI_LOCALRANKID",
    },
    Row {
        launcher: Launcher::Slurm,
        known_by: &["SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID"],
        name: &["SLURM_JOB_ID", "SLURM_STEP_ID"],
        rank: "SLURM_PROCID",
        size: "SLURM_STEP_NUM_TASKS",
        local_size: "",
        local_rank: "SLURM_LOCALID",
    },
    Row {
        launcher: Launcher::Pmix,
        known_by: &["PMIX_NAMESPACE", "PMIX_RANK"],
        name: &["PMIX_NAMESPACE"],
        rank: "PMIX_RANK",
        size: "",
        local_size: "",
        local_rank: "",
    },
    Row {
        launcher: Launcher::Hydra,
        known_by: &["PMI_RANK", "PMI_SIZE"],
        name: &[],
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        local_size: "",
        local_rank: "",
    },
];

/// Programs that start ranks and are never ranks: the first 15 bytes of their names.
const PROGRAMS: &[&str] = &[
    "flux-shell",
    "hydra_pmi_proxy",
    "mpiexec.hydra",
    "orted",
    "prted",
    "prterun",
    "slurmstepd",
];

/// Returns the row of the launcher that started a process with these variables.
pub(crate) fn of(get: Lookup<'_>) -> Option<&'static Row> {
    let known = |row: &&Row| row.known_by.iter().all(|name| get(name).is_some());
    ROWS.iter().find(known)
}

/// Returns the variable that has another value in each rank, of the launcher that started a process
/// with these variables.
#[must_use]
pub fn rank_variable(get: Lookup<'_>) -> Option<&'static str> {
    of(get).map(|row| row.rank)
}

/// Whether a program starts ranks, and is never one itself. `name` is the name that the kernel has
/// for the process: the first 15 bytes (`proc_pid_comm(5)`).
#[must_use]
pub fn is_launcher(name: &str) -> bool {
    PROGRAMS.contains(&name)
}
