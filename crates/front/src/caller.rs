//! The process that called: its environment, working directory and account.

use std::cell::OnceCell;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use bundle::Account;
use launcher::Job;
use sys::ProcessStat;

use crate::account;
use crate::flags::settings;
use crate::variables::Variables;

/// Who called, from where, with which environment.
#[derive(Debug)]
pub struct Caller {
    /// The environment.
    pub variables: Variables,
    /// The working directory, by the way that the caller came there; `None` when it is gone.
    pub cwd: Option<PathBuf>,
    /// When it was looked at: what the caller did before is seen.
    pub began: Instant,
    /// The process that started this rank, and what the kernel tells of it.
    launcher: OnceCell<(u32, Option<ProcessStat>)>,
}

/// Whether a path names the working directory as a shell does: absolute, and without `.` and `..`, which mean something
/// else after a link (POSIX, `pwd`).
fn is_here(path: &Path) -> bool {
    let is_plain = path.is_absolute() && { path.components() }
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let there = session::identity(path);
    is_plain && there.is_some() && there == session::identity(Path::new("."))
}

impl Caller {
    /// Looks at this process.
    pub fn find() -> Self {
        let variables = Variables(std::env::vars_os().collect());
        let cwd = std::env::current_dir().ok();
        let named = variables.get("PWD").map(PathBuf::from);
        let named = named.filter(|named| cwd.as_ref() != Some(named) && is_here(named));
        let cwd = named.or(cwd);
        Self::new(variables, cwd)
    }

    /// One with such an environment, in such a directory.
    pub fn new(variables: Variables, cwd: Option<PathBuf>) -> Self {
        Self {
            variables,
            cwd,
            began: Instant::now(),
            launcher: OnceCell::new(),
        }
    }

    /// Returns a path as an absolute one.
    ///
    /// # Errors
    ///
    /// Fails on a relative one when the working directory is gone.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        if path.is_absolute() {
            return Ok(path.components().collect());
        }
        let cwd = self.cwd.as_ref().context("the working directory is gone")?;
        Ok(cwd.join(path).components().collect())
    }

    /// Returns the job that the caller is a rank of.
    pub fn job(&self) -> Option<Job> {
        let get = |name: &str| self.variables.text(name);
        let named = || {
            let (pid, stat) = self.launcher();
            stat.as_ref()
                .map_or_else(String::new, |stat| format!("{pid}-{}", stat.started))
        };
        Job::find(&get, &named)
    }

    /// Returns a time from which on a rank may see its image. The ranks of a step are started at once: one that the launcher
    /// itself has started cannot expect what was changed since the step began, and one that a script has started, or that
    /// is started again, can.
    pub fn sees_image_since(&self) -> Instant {
        let (pid, stat) = self.launcher();
        let step = stat.as_ref().filter(|stat| {
            let is_again = self
                .variables
                .text("PMIX_REINCARNATION")
                .is_some_and(|times| times != "0");
            *pid == std::os::unix::process::parent_id() && is_launcher(stat) && !is_again
        });
        let began = step.and_then(|launcher| Instant::now().checked_sub(launcher.age()));
        began.unwrap_or(self.began)
    }

    /// Returns the launcher's program; `None` for another user's.
    pub fn launcher_program(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.launcher().0)).ok()
    }

    /// The process that started this rank: the nearest above that is not the rank itself, as a script that
    /// binds it to its GPU is.
    fn launcher(&self) -> &(u32, Option<ProcessStat>) {
        self.launcher.get_or_init(|| {
            let look = |pid| (pid, ProcessStat::of(pid).ok());
            let mut launcher = look(std::os::unix::process::parent_id());
            let rank = RANKS
                .iter()
                .find_map(|name| Some(format!("{name}={}", self.variables.text(name)?)));
            let Some(rank) = rank else { return launcher };
            for _ in 0..FARTHEST {
                // To read the environment of one that forks the next rank takes as long as that fork.
                if launcher.1.as_ref().is_some_and(is_launcher) {
                    return launcher;
                }
                let environ = sys::read_all(Path::new(&format!("/proc/{}/environ", launcher.0)));
                let environ = environ.unwrap_or_default();
                let is_rank = environ
                    .split(|byte| *byte == 0)
                    .any(|one| one == rank.as_bytes());
                match launcher.1.as_ref().filter(|_| is_rank) {
                    Some(stat) => launcher = look(stat.parent),
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
        let base = match self.variables.value(&settings::CACHEDIR) {
            Some((_, directory)) => return PathBuf::from(directory).join("front"),
            None => self.variables.get("XDG_CACHE_HOME").map(PathBuf::from),
        };
        base.filter(|path| path.is_absolute())
            .unwrap_or_else(|| account.home.join(".cache"))
            .join("front")
    }

    /// Returns where Apptainer keeps what is the user's: `…_CONFIGDIR`, else below their home.
    pub fn configuration(&self, account: &Account) -> PathBuf {
        let chosen = self.variables.value(&settings::CONFIGDIR);
        chosen.map_or_else(
            || account.home.join(".apptainer"),
            |(_, directory)| PathBuf::from(directory),
        )
    }
}

fn is_launcher(stat: &ProcessStat) -> bool {
    LAUNCHERS.contains(&stat.name.as_str())
}

/// Variables that each rank has of its own.
const RANKS: [&str; 4] = [
    "OMPI_COMM_WORLD_RANK",
    "PMI_RANK",
    "PMIX_RANK",
    "SLURM_PROCID",
];

/// Programs that start ranks and are never one: the first 15 bytes of their names.
const LAUNCHERS: [&str; 6] = [
    "hydra_pmi_proxy",
    "mpiexec.hydra",
    "orted",
    "prted",
    "prterun",
    "slurmstepd",
];

/// How many processes there may be between a launcher and a program.
const FARTHEST: usize = 16;
