//! The last step of a container's first process: becoming the program.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{AccessFlags, access, execve};

use crate::home::home;
use crate::process::drop_privileges::{load_filter, restrict_but_filter};
use crate::process::rlimits;
use crate::seccomp::Filter;

/// The most descriptors that are preserved: more than a process may have, and than `--preserve-fds` takes.
const MOST_PRESERVED: i32 = 65_535;

/// What a first process ends with that could not become the program.
const FAILURE: i32 = 255;

/// Executes the program that the specification names. In place of libcontainer's own, which
/// refuses a program that only its owner may execute, and keeps our signal mask.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The process as the specification has it; libcontainer is not told its capabilities and limits.
    pub(crate) process: Process,
    /// What filters its system calls.
    pub(crate) filter: Option<Filter>,
    /// The signal mask that the program shall have.
    pub(crate) mask: SigSet,
    /// How many descriptors from 3 up it shall have.
    pub(crate) preserve_fds: i32,
    /// Whether it keeps the session keyring of the runtime's caller.
    pub(crate) keeps_keyring: bool,
    /// Whether hooks run in the container's own process before the program.
    pub(crate) has_late_hooks: bool,
}

impl Program {
    /// Whether the filter is loaded before the wait for the start: for hooks that run with the program's rights, and
    /// for a listener that has to be told by then. Otherwise it is loaded last, so that it need not allow what is done
    /// until then.
    fn is_filtered_early(&self) -> bool {
        self.has_late_hooks || self.filter.as_ref().is_some_and(Filter::reports)
    }

    /// Everything that libcontainer has opened, and opens once more after it has closed all, goes; then the rights;
    /// then this process becomes the program. Returns only why it could not.
    fn run(&self) -> Result<Infallible, String> {
        let listening = std::env::var("LISTEN_FDS").ok();
        let listening: i32 = listening.and_then(|count| count.parse().ok()).unwrap_or(0);
        // Closed, not marked: the kernel looks up the interpreter of a script while what is marked is open, and an image
        // may name one by `/proc/self/fd` (CVE-2024-21626).
        let count = self.preserve_fds.saturating_add(listening);
        let preserved = 3..count.clamp(0, MOST_PRESERVED) + 3;
        sys::close_all_except(&preserved.collect::<Vec<_>>());
        if !self.is_filtered_early() {
            rlimits::set(&self.process, rlimits::takes_files)?;
            load_filter(&self.process, self.filter.as_ref())?;
        }
        become_program(&self.process, &self.mask)
    }
}

impl Executor for Program {
    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        find(&self.process)
            .map(|_| ())
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The environment is handed to execve(2); ours may hold what is no Unicode, and stays. This is
        // the last that libcontainer calls before the process waits for its start.
        if !self.keeps_keyring {
            new_keyring().map_err(ExecutorSetEnvsError::Other)?;
        }
        // As late as can be: libcontainer opens files until now, and to wait for the start.
        let is_early = self.is_filtered_early();
        rlimits::set(&self.process, |limit| {
            is_early || !rlimits::takes_files(limit)
        })
        .and_then(|()| restrict_but_filter(&self.process, self.filter.is_some()))
        .and_then(|()| match self.is_filtered_early() {
            true => load_filter(&self.process, self.filter.as_ref()),
            false => Ok(()),
        })
        .map_err(ExecutorSetEnvsError::Other)
    }

    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let Err(reason) = self.run();
        // Nobody waits for an answer any more, and what libcontainer has open is closed behind its back: the container's
        // own standard error is the last that can be told.
        let _ = writeln!(std::io::stderr(), "{reason}");
        sys::exit_at_once(FAILURE)
    }
}

/// Takes the session keyring of the runtime's caller, and the keys in it, away from the calling process.
pub(crate) fn new_keyring() -> Result<(), String> {
    sys::new_session_keyring(None).map_err(|error| {
        format!(
            "create a session keyring: {}; --no-new-keyring keeps the caller's, and the sysctl kernel.keys.maxkeys allows more",
            sys::words(&error)
        )
    })
}

/// Replaces this process by the program; returns only why it could not.
pub(crate) fn become_program(process: &Process, mask: &SigSet) -> Result<Infallible, String> {
    let program = find(process)?;
    let text =
        |bytes: &[u8]| CString::new(bytes).map_err(|_| "an argument holds a NUL byte".to_owned());
    let path = text(program.as_os_str().as_bytes())?;
    let args = process
        .args()
        .iter()
        .flatten()
        .map(|arg| text(arg.as_bytes()));
    let args = args.collect::<Result<Vec<_>, _>>()?;
    let variables = last_of_each(process.env().as_deref().unwrap_or_default());
    let mut env = variables
        .iter()
        .map(|variable| text(variable.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    if !variables
        .iter()
        .any(|one| one.starts_with("HOME=") && one.len() > "HOME=".len())
    {
        env.retain(|variable| variable.as_bytes() != b"HOME=");
        let home = home(process.user().uid());
        env.push(text(&[b"HOME=", home.as_os_str().as_bytes()].concat())?);
    }
    sys::reset_signals();
    sys::restore_limits();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None);
    let Err(errno) = execve(&path, &args, &env);
    Err(format!(
        "exec {}: {}",
        program.display(),
        sys::words(&errno.into())
    ))
}

/// Of variables with one name, the last counts, as in runc.
fn last_of_each(variables: &[String]) -> Vec<&String> {
    fn name(variable: &str) -> &str {
        variable.split_once('=').map_or(variable, |(name, _)| name)
    }
    let mut seen = HashSet::new();
    let mut kept: Vec<&String> = variables
        .iter()
        .rev()
        .filter(|variable| seen.insert(name(variable)))
        .collect();
    kept.reverse();
    kept
}

/// Finds the program as execvp(3) would, with the container's `PATH`. The words of its failures are
/// those that engines look for.
fn find(process: &Process) -> Result<PathBuf, String> {
    let name = process
        .args()
        .iter()
        .flatten()
        .next()
        .ok_or("process.args must not be empty")?;
    let fail = |reason: &str| Err(format!("exec: {name:?}: {reason}"));
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Unfit::Missing(error)) => fail(&format!("stat {name}: {error}")),
            Err(unfit) => fail(&unfit.to_string()),
        };
    }
    let path = process
        .env()
        .iter()
        .flatten()
        .find_map(|variable| variable.strip_prefix("PATH="));
    let mut denied = false;
    for directory in path
        .unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .split(':')
    {
        let candidate = Path::new(OsStr::new(if directory.is_empty() {
            "."
        } else {
            directory
        }))
        .join(name);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(unfit) => denied |= matches!(unfit, Unfit::Denied),
        }
    }
    if denied {
        fail("permission denied")
    } else {
        fail("executable file not found in $PATH")
    }
}

/// Why a file cannot be executed.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("{0}")]
    Missing(String),
    #[error("is a directory")]
    Directory,
    #[error("permission denied")]
    Denied,
}

fn check(path: &Path) -> Result<(), Unfit> {
    let metadata = fs::metadata(path).map_err(|error| Unfit::Missing(sys::words(&error)))?;
    if metadata.is_dir() {
        return Err(Unfit::Directory);
    }
    // Capabilities let root pass access(2) for files that no one may execute.
    let executable = metadata.permissions().mode() & 0o111 != 0;
    if executable && access(path, AccessFlags::X_OK).is_ok() {
        Ok(())
    } else {
        Err(Unfit::Denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_counts() {
        let variables = ["A=1", "B=2", "A=3", "C"].map(str::to_owned);
        assert_eq!(last_of_each(&variables), ["B=2", "A=3", "C"]);
    }
}
