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
        Job::find(&get, &parent().unwrap_or_default())
    }

    /// Returns the program of this process's parent, such as a launcher's; `None` for another user's.
    pub fn parent_program(&self) -> Option<PathBuf> {
        let pid = std::os::unix::process::parent_id();
        std::fs::read_link(format!("/proc/{pid}/exe")).ok()
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

/// Tells this process's parent from all that the machine has had since it started: by its id and the time
/// of its start, field 22 of [proc_pid_stat(5)].
///
/// [proc_pid_stat(5)]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
fn parent() -> Option<String> {
    let pid = std::os::unix::process::parent_id();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything but ends with the last parenthesis; behind it is field 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let start = fields.split_whitespace().nth(19)?;
    Some(format!("{pid}-{start}"))
}
