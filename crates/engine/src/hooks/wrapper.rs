//! Our own program in front of a hook: it gives the hook the surroundings that the runtime's own
//! state would spoil.
//!
//! The wrapper ends with the runtime, closes the runtime's files, unblocks signals, and goes to the
//! hook's directory.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, execv};
use rustix::fs::{FileType, MemfdFlags, fstat};

/// The first argument with which the runtime's program becomes a hook: see [`become_hook`].
pub const HOOK: &str = "hook";

/// The path of the running program.
pub(super) const OWN: &str = "/proc/self/exe";

/// Largest state that a hook is given, in bytes.
const MOST: u64 = 16 << 20;

/// Returns the arguments with which our program becomes a hook of this process's, which runs in a
/// directory.
pub(super) fn words(path: &Path, args: Option<&[String]>, directory: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![HOOK.into(), directory.into()];
    words.push(Pid::this().to_string().into());
    words.push(path.into());
    match args.filter(|args| !args.is_empty()) {
        Some(args) => words.extend(args.iter().map(OsString::from)),
        None => words.push(path.into()),
    }
    words
}

/// Becomes a hook. After [`HOOK`], the arguments are its directory, the parent process, and the hook's
/// path and arguments. Returns only on failure.
///
/// # Errors
///
/// Fails when the runtime has ended, or the hook cannot be executed.
pub fn become_hook(mut words: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let failed = "the arguments of a hook are not as they were written";
    let directory = words.next().ok_or(failed)?;
    let parent = words
        .next()
        .and_then(|word| word.to_str()?.parse::<i32>().ok());
    // A process of the container may be able to look into this one until it is the hook.
    let _ = nix::sys::prctl::set_dumpable(false);
    // A runtime that is killed leaves no hook.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let ended = "the runtime has ended";
    if parent.ok_or(failed)? != Pid::parent().as_raw() {
        return Err(ended.to_owned());
    }
    let path = words.next().ok_or(failed)?;
    sys::close_all_except(&[]);
    // The bundle of a container that has stopped may be gone.
    let _ = std::env::set_current_dir(directory);
    let state = read_input();
    let has_state =
        state.map_err(|error| format!("read the container's state: {}", text::message(&error)))?;
    if !has_state {
        return Err(ended.to_owned());
    }
    sys::reset_signals();
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let text = |word: &OsStr| CString::new(word.as_bytes()).map_err(|_| failed);
    let args = words
        .map(|word| text(&word))
        .collect::<Result<Vec<_>, _>>()?;
    let Err(errno) = execv(&text(&path)?, &args);
    Err(format!(
        "hook {}: {}",
        path.display(),
        text::message(&errno.into())
    ))
}

/// Replaces a pipe at standard input by a file with all that the pipe brings. Returns whether it
/// brings anything.
fn read_input() -> io::Result<bool> {
    let stdin = io::stdin();
    let kind = FileType::from_raw_mode(fstat(stdin.as_fd())?.st_mode);
    if kind != FileType::Fifo {
        return Ok(true);
    }
    let mut file = File::from(rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC)?);
    let mut state = Vec::new();
    stdin.lock().take(MOST).read_to_end(&mut state)?;
    file.write_all(&state)?;
    file.rewind()?;
    rustix::stdio::dup2_stdin(&file)?;
    Ok(!state.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_keeps_its_words() {
        let us = Pid::this().to_string();
        let args = ["x", "y"].map(str::to_owned);
        let directory = Path::new("/bundle");
        let with = words(Path::new("/bin/a"), Some(&args), directory);
        assert_eq!(with, ["hook", "/bundle", &us, "/bin/a", "x", "y"]);
        let without = words(Path::new("/bin/c"), None, directory);
        assert_eq!(without, ["hook", "/bundle", &us, "/bin/c", "/bin/c"]);
    }
}
