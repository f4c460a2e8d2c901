//! Which job a process is a rank of.

use std::fmt;

use crate::{Lookup, Wireup};

/// Who starts ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Launcher {
    /// Open MPI's `mpirun` (ORTE, PRRTE).
    OpenMpi,
    /// Cray's PALS: `mpiexec` under PBS.
    Pals,
    /// Flux.
    Flux,
    /// MPICH's Hydra, and its kin in Intel MPI and MVAPICH: `mpiexec`, `mpirun`.
    Hydra,
    /// Slurm's `srun`.
    Slurm,
    /// IBM's `jsrun`.
    Jsm,
    /// Another whose ranks find each other by PMIx.
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

/// A job, or one step of it, as one of its ranks knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Who started it.
    pub launcher: Launcher,
    /// Its name, the same in all its ranks on this machine: of letters, digits and `-._`, at most
    /// [`LONGEST`](Job::LONGEST). Slurm's is `JOB.STEP`.
    pub name: String,
    /// Which of its ranks this is, from 0.
    pub rank: Option<u32>,
    /// How many it has.
    pub size: Option<u32>,
    /// How many of them are on this machine.
    pub local_size: Option<u32>,
    /// Which of those this is, from 0.
    pub local_rank: Option<u32>,
    /// How the ranks can find each other.
    pub offers: Vec<Wireup>,
    /// Whether the user says which library is to find them (`I_MPI_PMI_LIBRARY`), so that nothing can be told.
    pub own_library: bool,
}

/// What each launcher is known by, innermost first: one that was started by another inherits the other's
/// variables. Then what names the job, its rank, the number of ranks, of those on the machine, and the rank among these.
struct Row {
    launcher: Launcher,
    known_by: &'static [&'static str],
    name: &'static [&'static str],
    rank: &'static str,
    size: &'static str,
    local_size: &'static str,
    local_rank: &'static str,
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
    // Hydra starts its own agents by srun where there is one, and tells each rank how many are beside it.
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

impl Job {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 40;

    /// Finds the job that a process with such variables is a rank of; `None` for one that no launcher
    /// started. `parent` tells a process's launcher from all others on the machine: it stands for the
    /// job where the launcher names none.
    #[must_use]
    pub fn find(get: Lookup<'_>, parent: &dyn Fn() -> String) -> Option<Self> {
        let known = |row: &&Row| row.known_by.iter().all(|name| get(name).is_some());
        let row = ROWS.iter().find(known).filter(|row| {
            // Batch scripts, and shells that `salloc` starts.
            let step: Option<u32> = get("SLURM_STEP_ID").and_then(|step| step.parse().ok());
            row.launcher != Launcher::Slurm || step.is_none_or(|step| step < 0xffff_fff0)
        })?;
        let number = |name: &str| get(name)?.parse().ok();
        let parts: Option<Vec<String>> = row.name.iter().map(|name| get(name)).collect();
        let named = parts.filter(|parts| !parts.is_empty());
        let name = named.map_or_else(|| format!("of-{}", parent()), |parts| parts.join("."));
        Some(Self {
            launcher: row.launcher,
            name: plain(&name, get("SLURM_RESTART_COUNT").as_deref()),
            rank: number(row.rank),
            size: number(row.size).or_else(|| number("PMI_SIZE")),
            local_size: match row.launcher {
                Launcher::Slurm => slurm_local_size(get),
                _ => number(row.local_size),
            },
            local_rank: number(row.local_rank),
            offers: Wireup::offered(get),
            own_library: get("I_MPI_PMI_LIBRARY").is_some(),
        })
    }
}

/// How many tasks of the step are on this node: `SLURM_STEP_TASKS_PER_NODE` is `4(x2),3`, by nodes
/// (srun(1), "OUTPUT ENVIRONMENT VARIABLES").
fn slurm_local_size(get: Lookup<'_>) -> Option<u32> {
    let text = get("SLURM_STEP_TASKS_PER_NODE").or_else(|| get("SLURM_TASKS_PER_NODE"))?;
    let mut node: u32 = get("SLURM_NODEID")?.parse().ok()?;
    for group in text.split(',') {
        let (tasks, nodes) = group.split_once("(x").unwrap_or((group, "1"));
        let nodes: u32 = nodes.trim_end_matches(')').parse().ok()?;
        if node < nodes {
            return tasks.parse().ok();
        }
        node -= nodes;
    }
    None
}

/// A name that fits: of plain letters, and not too long; a job that was started again has another.
fn plain(name: &str, restart: Option<&str>) -> String {
    let again = restart
        .filter(|count| *count != "0")
        .map(|count| format!("-r{count}"));
    let whole = format!("{name}{}", again.unwrap_or_default());
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let mut text: String = whole
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect();
    // What tells two apart stands at the end: host names come first.
    let surplus = text.len().saturating_sub(Job::LONGEST);
    text.drain(..surplus);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pairs: &[(&str, &str)]) -> Option<Job> {
        let get = |name: &str| {
            let found = pairs.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Job::find(&get, &|| "42-7".to_owned())
    }

    #[test]
    fn each_launcher_is_known_by_what_it_says() {
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
            ("PMIX_NAMESPACE", "prterun-host-19@1"),
            ("PMIX_RANK", "3"),
            ("PMIX_SERVER_URI41", "x"),
            // Started in a batch job.
            ("SLURM_JOB_ID", "9"),
            ("SLURM_PROCID", "0"),
        ];
        let job = find(&open_mpi).unwrap();
        assert_eq!(
            (job.launcher, job.name.as_str()),
            (Launcher::OpenMpi, "prterun-host-19_1")
        );
        assert_eq!(
            (job.rank, job.size, job.local_size),
            (Some(3), Some(8), Some(4))
        );
        assert_eq!((job.local_rank, job.offers), (Some(1), vec![Wireup::Pmix]));

        let slurm = [
            ("SLURM_JOB_ID", "9"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "5"),
            ("SLURM_NTASKS", "9"),
            ("SLURM_STEP_NUM_TASKS", "7"),
            ("SLURM_NODEID", "2"),
            ("SLURM_STEP_TASKS_PER_NODE", "2(x2),3"),
            ("PMI_FD", "11"),
            ("PMI_RANK", "5"),
            ("PMI_SIZE", "7"),
        ];
        let job = find(&slurm).unwrap();
        assert_eq!((job.launcher, job.name.as_str()), (Launcher::Slurm, "9.0"));
        assert_eq!(
            (job.rank, job.size, job.local_size),
            (Some(5), Some(7), Some(3))
        );
        assert_eq!(job.offers, [Wireup::Pmi]);
        let again = [&slurm[..], &[("SLURM_RESTART_COUNT", "1")]].concat();
        assert_eq!(find(&again).unwrap().name, "9.0-r1");

        let hydra = [
            ("PMI_RANK", "0"),
            ("PMI_SIZE", "2"),
            ("PMI_FD", "6"),
            ("MPI_LOCALNRANKS", "2"),
            ("SLURM_JOB_ID", "9"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_PROCID", "0"),
        ];
        let job = find(&hydra).unwrap();
        assert_eq!(
            (job.launcher, job.name.as_str()),
            (Launcher::Hydra, "of-42-7")
        );
        assert_eq!((job.size, job.local_size), (Some(2), Some(2)));
    }

    #[test]
    fn a_batch_script_is_no_rank() {
        let batch = [
            ("SLURM_JOB_ID", "9"),
            ("SLURM_PROCID", "0"),
            ("SLURM_NTASKS", "4"),
        ];
        assert_eq!(find(&batch), None);
        let shell = [&batch[..], &[("SLURM_STEP_ID", "4294967290")]].concat();
        assert_eq!(find(&shell), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn names_fit() {
        assert_eq!(plain("a/b c", None), "a_b_c");
        assert_eq!(plain(&"x".repeat(99), None).len(), Job::LONGEST);
    }
}
