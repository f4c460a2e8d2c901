//! The job that a process is a rank of.

use crate::launchers;
use crate::{Launcher, Lookup, Wireup};

/// A job, or one step of it, as seen by one of its ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The launcher that started the job.
    pub launcher: Launcher,
    /// The job's name, which is the same for all its ranks on this machine. It has letters, digits
    /// and `-._`, and at most [`LONGEST`](Job::LONGEST) bytes. Slurm's is `JOB.STEP`.
    pub name: String,
    /// The number of this rank in the job, from 0.
    pub rank: Option<u32>,
    /// The number of ranks.
    pub size: Option<u32>,
    /// The number of ranks on this machine.
    pub local_size: Option<u32>,
    /// The number of this rank on this machine, from 0.
    pub local_rank: Option<u32>,
    /// The wire-up protocols that the launcher offers.
    pub offers: Vec<Wireup>,
    /// Whether the user chose the library that finds the ranks (`I_MPI_PMI_LIBRARY`). Then nothing
    /// is known about the wire-up.
    pub own_library: bool,
}

impl Job {
    /// Longest name, in bytes.
    pub const LONGEST: usize = 40;

    /// Finds the job of a process with these variables. Returns `None` for a process that no
    /// launcher started. `parent` returns a text that identifies the process's launcher on this
    /// machine. It forms the job's name when the launcher does not name the job.
    #[must_use]
    pub fn find(get: Lookup<'_>, parent: &dyn Fn() -> String) -> Option<Self> {
        let row = launchers::of(get).filter(|row| {
            // Batch scripts, and shells that `salloc` starts, have higher step numbers.
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

/// Returns the number of the step's tasks on this node. `SLURM_STEP_TASKS_PER_NODE` is a list by
/// nodes, such as `4(x2),3` (srun(1), "OUTPUT ENVIRONMENT VARIABLES").
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

/// Returns a job's name in plain characters and of limited length. A restarted job has another
/// name.
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
    // The end of the name tells two jobs apart, since host names come first.
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
            // The job was started in a batch job.
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
    fn each_launcher_has_a_variable_that_tells_its_ranks_apart() {
        let flux = |name: &str| match name {
            "FLUX_JOB_ID" => Some("f1".to_owned()),
            "FLUX_TASK_RANK" => Some("3".to_owned()),
            "SLURM_PROCID" => Some("0".to_owned()),
            _ => None,
        };
        assert_eq!(launchers::rank_variable(&flux), Some("FLUX_TASK_RANK"));
        assert_eq!(launchers::rank_variable(&|_| None), None);
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
