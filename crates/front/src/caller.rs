//! The process that called: its environment, working directory and account.

use std::path::PathBuf;

use bundle::Account;
use launcher::Job;

use crate::account;
use crate::variables::Variables;

/// Who called, from where, with which environment.
#[derive(Debug)]
pub struct Caller {
    /// The environment.
    pub variables: Variables,
    /// The working directory; `None` when it is gone.
    pub cwd: Option<PathBuf>,
}

impl Caller {
    /// Looks at this process.
    pub fn find() -> Self {
        Self {
            variables: Variables(std::env::vars_os().collect()),
            cwd: std::env::current_dir().ok(),
        }
    }

    /// Returns the job that the caller is a rank of.
    pub fn job(&self) -> Option<Job> {
        let get = |name: &str| self.variables.text(name);
        Job::find(&get, &|| named(self.launcher()).unwrap_or_default())
    }

    /// Returns the launcher's program; `None` for another user's.
    pub fn launcher_program(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.launcher())).ok()
    }

    /// The process that started this rank: the nearest above that is not the rank itself, as a script that
    /// binds it to its GPU is.
    fn launcher(&self) -> u32 {
        let mut pid = std::os::unix::process::parent_id();
        let rank = RANKS
            .iter()
            .find_map(|name| Some(format!("{name}={}", self.variables.text(name)?)));
        let Some(rank) = rank else { return pid };
        for _ in 0..FARTHEST {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let is_rank = environ
                .split(|byte| *byte == 0)
                .any(|one| one == rank.as_bytes());
            match stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
                Some(parent) if is_rank => pid = parent,
                _ => return pid,
            }
        }
        pid
    }

    /// Looks the caller up in the host's user database.
    pub fn account(&self) -> Account {
        account::find(&self.variables)
    }

    /// Returns where images are cached: `…_CACHEDIR`, else the user's cache directory.
    pub fn cache(&self, account: &Account) -> PathBuf {
        let base = match self.variables.flag("CACHEDIR") {
            Some((_, directory)) => return PathBuf::from(directory).join("front"),
            None => self.variables.get("XDG_CACHE_HOME").map(PathBuf::from),
        };
        base.filter(|path| path.is_absolute())
            .unwrap_or_else(|| account.home.join(".cache"))
            .join("front")
    }

    /// Returns where Apptainer keeps what is the user's: `…_CONFIGDIR`, else below their home.
    pub fn configuration(&self, account: &Account) -> PathBuf {
        let chosen = self.variables.flag("CONFIGDIR");
        chosen.map_or_else(
            || account.home.join(".apptainer"),
            |(_, directory)| PathBuf::from(directory),
        )
    }
}

/// Variables that each rank has of its own.
const RANKS: [&str; 4] = [
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "SLURM_PROCID",
];

/// How many processes there may be between a launcher and a program.
const FARTHEST: usize = 16;

/// The fields of [proc_pid_stat(5)] from the third on.
///
/// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Tells a process from all that the machine has had since it started: by its id and the time of its start,
/// field 22.
fn named(pid: u32) -> Option<String> {
    Some(format!("{pid}-{}", stat(pid)?.get(19)?))
}
