//! The calling process: its environment, working directory and account.

use std::cell::OnceCell;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use bundle::Account;
use launcher::Job;
use sys::ProcessStat;

use crate::account;
use crate::called::Called;
use crate::flags::settings;
use crate::site::Site;
use crate::variables::Variables;

/// The calling process.
#[derive(Debug)]
pub struct Caller {
    /// The name by which the caller called this program.
    pub called: Called,
    /// The environment.
    pub variables: Variables,
    /// The working directory, by the path on which the caller entered it. `None` if it no longer
    /// exists.
    pub cwd: Option<PathBuf>,
    /// The device and inode of the working directory. Whoever may write to the directory above can
    /// put another one at its path at any time.
    pub here: Option<(u64, u64)>,
    /// The time at which this value was made. Changes that the caller made earlier are seen.
    pub began: Instant,
    /// The process that started this rank, with its data from the kernel.
    launcher: OnceCell<(u32, Option<ProcessStat>)>,
    /// The configuration, once it has been read.
    site: OnceCell<Site>,
    /// The caller's account, once it has been looked up.
    account: OnceCell<Account>,
}

/// Whether a path names the working directory as a shell does: absolute, and without `.` and `..`,
/// because their meaning changes after a link (POSIX, `pwd`).
fn is_here(path: &Path) -> bool {
    let is_plain = path.is_absolute() && { path.components() }
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let there = session::identity(path);
    is_plain && there.is_some() && there == session::identity(Path::new("."))
}

impl Caller {
    /// Reads the environment and the working directory of this process.
    pub fn find() -> Self {
        let variables = Variables(std::env::vars_os().collect());
        let cwd = std::env::current_dir().ok();
        let named = variables.get("PWD").map(PathBuf::from);
        let named = named.filter(|named| cwd.as_ref() != Some(named) && is_here(named));
        let cwd = named.or(cwd);
        let here = session::identity(Path::new(".")).filter(|_| cwd.is_some());
        Self {
            here,
            ..Self::new(variables, cwd)
        }
    }

    /// Returns a caller with this environment and working directory.
    pub fn new(variables: Variables, cwd: Option<PathBuf>) -> Self {
        Self {
            called: Called::now(),
            variables,
            cwd,
            here: None,
            began: Instant::now(),
            launcher: OnceCell::new(),
            site: OnceCell::new(),
            account: OnceCell::new(),
        }
    }

    /// Makes a path absolute.
    ///
    /// # Errors
    ///
    /// Fails on a relative path when the working directory no longer exists.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        if path.is_absolute() {
            return Ok(path.components().collect());
        }
        let cwd = self
            .cwd
            .as_ref()
            .context("the working directory no longer exists")?;
        Ok(cwd.join(path).components().collect())
    }

    /// Returns the job in which the caller is a rank.
    pub fn job(&self) -> Option<Job> {
        let get = |name: &str| self.variables.text(name);
        let named = || {
            let (pid, stat) = self.launcher();
            stat.as_ref()
                .map_or_else(String::new, |stat| format!("{pid}-{}", stat.started))
        };
        Job::find(&get, &named)
    }

    /// Returns the time from which on a rank expects to see changes of its image. The ranks of a
    /// step start together. A rank that the launcher itself started cannot expect changes made
    /// after the step began. A rank that a script started, or that is started again, can.
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

    /// Returns the launcher's program. Returns `None` if the launcher belongs to another user.
    pub fn launcher_program(&self) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/exe", self.launcher().0)).ok()
    }

    /// Finds the process that started this rank: the nearest ancestor that is not part of the rank.
    /// A script that binds the rank to its GPU is part of it.
    fn launcher(&self) -> &(u32, Option<ProcessStat>) {
        self.launcher.get_or_init(|| {
            let look = |pid| (pid, ProcessStat::of(pid).ok());
            let mut launcher = look(std::os::unix::process::parent_id());
            let rank = launcher::rank_variable(&|name| self.variables.text(name))
                .and_then(|name| Some(format!("{name}={}", self.variables.text(name)?)));
            let Some(rank) = rank else { return launcher };
            for _ in 0..FARTHEST {
                // To read the environment of a process that is forking the next rank takes as long
                // as this fork.
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

    /// Returns the configuration of the site and the user.
    ///
    /// # Errors
    ///
    /// Fails when it is invalid.
    pub fn site(&self) -> Result<&Site> {
        if let Some(site) = self.site.get() {
            return Ok(site);
        }
        // The user database is asked only if the environment does not say where the home is.
        let home = self.variables.get("HOME").map(PathBuf::from);
        let home = home.filter(|home| home.is_absolute());
        let home = home.unwrap_or_else(|| self.account().home);
        let site = Site::read(&self.variables, &home)?;
        Ok(self.site.get_or_init(|| site))
    }

    /// Looks the caller up in the host's user database.
    pub fn account(&self) -> Account {
        let account = || account::find(&self.variables);
        self.account.get_or_init(account).clone()
    }

    /// Returns the directory of the cache of images: `…_CACHEDIR`, or else the user's cache
    /// directory.
    pub fn cache(&self, account: &Account) -> PathBuf {
        let base = match self.variables.value(&settings::CACHEDIR) {
            Some((_, directory)) => return PathBuf::from(directory).join("front"),
            None => self.variables.get("XDG_CACHE_HOME").map(PathBuf::from),
        };
        base.filter(|path| path.is_absolute())
            .unwrap_or_else(|| account.home.join(".cache"))
            .join("front")
    }

    /// Returns the file that `front registry login` writes. It is Apptainer's, so that both
    /// programs know the credentials.
    pub fn login_file(&self) -> PathBuf {
        let directory = self.configuration(&self.account());
        directory.join("docker-config.json")
    }

    /// Returns the directory of Apptainer's files for the user: `…_CONFIGDIR`, or else one in the
    /// user's home.
    pub fn configuration(&self, account: &Account) -> PathBuf {
        let chosen = self.variables.value(&settings::CONFIGDIR);
        chosen.map_or_else(
            || account.home.join(".apptainer"),
            |(_, directory)| PathBuf::from(directory),
        )
    }
}

fn is_launcher(stat: &ProcessStat) -> bool {
    launcher::is_launcher(&stat.name)
}

/// Largest number of processes between a launcher and a program.
const FARTHEST: usize = 16;
