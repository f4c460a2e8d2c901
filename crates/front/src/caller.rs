//! The process that called: its environment, working directory and account.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

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
    launcher: OnceCell<Launcher>,
}

/// The process that started a rank.
#[derive(Debug)]
struct Launcher {
    pid: u32,
    /// The fields of [proc_pid_stat(5)] from the third on; none for one that cannot be looked at.
    ///
    /// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    stat: Vec<String>,
}

impl Caller {
    /// Looks at this process.
    pub fn find() -> Self {
        let variables = Variables(std::env::vars_os().collect());
        Self::new(variables, std::env::current_dir().ok())
    }

    /// One with such an environment, in such a directory.
    pub fn new(variables: Variables, cwd: Option<PathBuf>) -> Self {
        Self {
            variables,
            cwd,
            launcher: OnceCell::new(),
        }
    }

    /// Returns the job that the caller is a rank of.
    pub fn job(&self) -> Option<Job> {
        let get = |name: &str| self.variables.text(name);
        // Its id and the time of its start, field 22, tell it from all that the machine has had since it started.
        let named = || {
            let Launcher { pid, stat } = self.launcher();
            let started = stat.get(19);
            started.map_or_else(String::new, |started| format!("{pid}-{started}"))
        };
        Job::find(&get, &named)
    }

    /// Returns the launcher's program; `None` for another user's.
    pub fn launcher_program(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.launcher().pid)).ok()
    }

    /// The process that started this rank: the nearest above that is not the rank itself, as a script that
    /// binds it to its GPU is.
    fn launcher(&self) -> &Launcher {
        self.launcher.get_or_init(|| {
            let mut launcher = Launcher::new(std::os::unix::process::parent_id());
            let rank = RANKS
                .iter()
                .find_map(|name| Some(format!("{name}={}", self.variables.text(name)?)));
            let Some(rank) = rank else { return launcher };
            for _ in 0..FARTHEST {
                let environ = sys::read_all(Path::new(&format!("/proc/{}/environ", launcher.pid)));
                let environ = environ.unwrap_or_default();
                let is_rank = environ
                    .split(|byte| *byte == 0)
                    .any(|one| one == rank.as_bytes());
                let parent = launcher.stat.get(1).and_then(|field| field.parse().ok());
                match parent.filter(|_| is_rank) {
                    Some(parent) => launcher = Launcher::new(parent),
                    None => return launcher,
                }
            }
            launcher
        })
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

impl Launcher {
    fn new(pid: u32) -> Self {
        let stat = sys::read_all(Path::new(&format!("/proc/{pid}/stat"))).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        // The name before may hold anything but ends with the last parenthesis.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
        let fields = fields.unwrap_or_default().split_whitespace();
        Self {
            pid,
            stat: fields.map(str::to_owned).collect(),
        }
    }
}
