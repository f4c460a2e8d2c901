//! The last step of a container's first process: becoming the program.

use std::collections::HashSet;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{Capability, Process};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::{AccessFlags, access, execve};

use crate::home::home;
use crate::hooks::Hooks;
use crate::process::drop_privileges::{drop_all_but_filter, load_filter};
use crate::process::{Executor, rlimits};
use crate::seccomp::Filter;

/// The exit code of a first process that could not become the program.
const FAILURE: i32 = 255;

/// The exit code of a container whose `startContainer` hook fails: that of runc's `run`.
const HOOK_FAILURE: i32 = 1;

/// Executes the program of the specification.
#[derive(Debug)]
pub(crate) struct Program {
    /// The process as in the specification.
    pub(crate) process: Process,
    /// The filter of the program's system calls.
    pub(crate) filter: Option<Filter>,
    /// The signal mask of the program.
    pub(crate) mask: SigSet,
    /// The descriptors that the program inherits, besides the standard streams.
    pub(crate) preserve_fds: Vec<RawFd>,
    /// Whether the program keeps the session keyring of the runtime's caller.
    pub(crate) keeps_keyring: bool,
    /// The writing end of the pipe that the runtime reads.
    pub(crate) report: RawFd,
    /// The hooks that run in the container's own process before the program.
    pub(crate) hooks: Hooks,
}

impl Program {
    /// Whether the filter is loaded before the wait for the start. Hooks that run with the
    /// program's rights need this, and so does a listener that expects the filter by then.
    /// Otherwise the filter is loaded last, so that it need not allow the earlier steps.
    fn is_filtered_early(&self) -> bool {
        !self.hooks.hooks.is_empty() || self.filter.as_ref().is_some_and(Filter::reports)
    }

    /// Drops the remaining rights and becomes the program. Returns only on failure.
    fn run(&self) -> Result<Infallible, String> {
        if !self.is_filtered_early() {
            rlimits::set(&self.process, rlimits::takes_files)?;
            load_filter(&self.process, self.filter.as_ref())?;
        }
        become_program(&self.process, &self.mask)
    }
}

impl Program {
    /// Runs the hooks with the program's signal mask, and with its environment unless they have
    /// their own.
    fn run_hooks(&self) -> Result<(), String> {
        if self.hooks.hooks.is_empty() {
            return Ok(());
        }
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
        let environment = environment(&self.process);
        let environment = environment
            .iter()
            .map(|one| one.to_string_lossy().into_owned());
        self.hooks
            .run_inside(&environment.collect::<Vec<_>>())
            .map_err(|error| text::one_line(&error))
    }
}

impl Executor for Program {
    /// Another container may also share the PID namespace, and may look into this process as long as it
    /// waits.
    fn close_files(&self) -> Result<(), String> {
        sys::let_go_of_files(&self.preserve_fds)
            .map_err(|error| format!("close the host's files: {}", text::message(&error)))
    }

    fn prepare(&self) -> Result<(), String> {
        find(&self.process)?;
        // The process may not show the environment of the runtime's caller.
        sys::wipe_environment();
        // The runtime cannot have completed the container before this process is ready. So it was
        // killed, and nobody would ever start this process.
        if !sys::has_reader(self.report) {
            return Err("the runtime has ended".to_owned());
        }
        if !self.keeps_keyring {
            new_keyring()?;
        }
        // As late as possible: descriptors are opened until now, and another to wait for the start.
        let is_early = self.is_filtered_early();
        rlimits::set(&self.process, |limit| {
            is_early || !rlimits::takes_files(limit)
        })?;
        drop_all_but_filter(&self.process, self.filter.is_some())?;
        match is_early {
            true => load_filter(&self.process, self.filter.as_ref()),
            false => Ok(()),
        }
    }

    fn execute(&self) -> ! {
        // Closed, not marked close-on-exec: the kernel looks up the interpreter of a script while
        // marked descriptors are still open, and an image may name one by `/proc/self/fd`
        // (CVE-2024-21626).
        sys::close_all_except(&self.preserve_fds);
        let (Err(reason), code) = match self.run_hooks() {
            Ok(()) => (self.run(), FAILURE),
            Err(reason) => (Err(reason), HOOK_FAILURE),
        };
        // Nobody waits for an answer any more. The container's own standard error is the only place
        // left for a message.
        let _ = writeln!(std::io::stderr(), "{reason}");
        sys::exit_at_once(code)
    }
}

/// Removes the session keyring of the runtime's caller, with its keys, from the calling process.
pub(crate) fn new_keyring() -> Result<(), String> {
    sys::new_session_keyring(None).map_err(|error| {
        format!(
            "create a session keyring: {}; --no-new-keyring keeps the caller's, and the sysctl kernel.keys.maxkeys allows more",
            text::message(&error)
        )
    })
}

/// Replaces this process by the program. Returns only on failure.
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
    let env = environment(process);
    let env = env.iter().map(|variable| text(variable.as_bytes()));
    let env = env.collect::<Result<Vec<_>, _>>()?;
    sys::reset_signals();
    sys::restore_limits();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None);
    let Err(errno) = execve(&path, &args, &env);
    Err(format!(
        "exec {}: {}",
        program.display(),
        text::message(&errno.into())
    ))
}

/// Returns the program's environment: of several values of a name the last, and the user's home if the
/// process names none.
fn environment(process: &Process) -> Vec<OsString> {
    let variables = last_of_each(process.env().as_deref().unwrap_or_default());
    let has_home = |one: &&String| one.starts_with("HOME=") && one.len() > "HOME=".len();
    let home = match variables.iter().any(has_home) {
        true => None,
        false => {
            Some([OsStr::new("HOME="), home(process.user().uid()).as_os_str()].join(OsStr::new("")))
        }
    };
    let named = variables.into_iter().filter(|one| *one != "HOME=");
    named.map(OsString::from).chain(home).collect()
}

/// Returns the last of each group of variables with the same name, as runc does.
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

/// Finds the program as execvp(3) would, with the container's `PATH`. Engines look for the texts of
/// its errors.
fn find(process: &Process) -> Result<PathBuf, String> {
    let name = process
        .args()
        .iter()
        .flatten()
        .next()
        .ok_or("process.args must not be empty")?;
    let fail = |reason: &str| Err(format!("exec: {name:?}: {reason}"));
    let capabilities = process.capabilities().as_ref();
    let effective = capabilities.and_then(|sets| sets.effective().as_ref());
    let may_all = effective.is_some_and(|set| set.contains(&Capability::DacOverride));
    if name.contains('/') {
        return match check(Path::new(name), may_all) {
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
    let path = path.unwrap_or(rootfs::DEFAULT_PATH);
    for candidate in rootfs::candidates(OsStr::new(path), OsStr::new(name)) {
        match check(&candidate, may_all) {
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

/// The reason why a file cannot be executed.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("{0}")]
    Missing(String),
    #[error("is a directory")]
    Directory,
    #[error("permission denied")]
    Denied,
}

/// `may_all` says that the process has the capability for which the permissions of a file do not
/// count, if anybody may execute it.
fn check(path: &Path, may_all: bool) -> Result<(), Unfit> {
    let metadata = fs::metadata(path).map_err(|error| Unfit::Missing(text::message(&error)))?;
    if metadata.is_dir() {
        return Err(Unfit::Directory);
    }
    // Capabilities let root pass access(2) even for files that nobody may execute.
    let executable = metadata.permissions().mode() & 0o111 != 0;
    if executable && (may_all || access(path, AccessFlags::X_OK).is_ok()) {
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
