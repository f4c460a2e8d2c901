//! Our own program in front of a hook: it gives the hook the surroundings that the runtime's own
//! state would spoil.
//!
//! The wrapper leaves the container's cgroup, unblocks signals, reads the state from the pipe at
//! once, so that libcontainer does not wait for the hook to read it, and goes to the bundle.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, execv};
use rustix::fs::{FileType, MemfdFlags, fstat};
use serde_json::json;

use super::EARLY;
use crate::Document;
use crate::proc_mounts::{ProcMounts, check_from_hook};

/// The first argument with which the runtime's program becomes a hook: see [`become_hook`].
pub const HOOK: &str = "hook";

/// The first argument with which the runtime's program looks at mounts: see [`look_at_mounts`].
pub const LOOK: &str = "hook-look";

/// The path of the running program.
pub(super) const OWN: &str = "/proc/self/exe";

/// The number of a parent that is not known yet.
const UNKNOWN: i32 = 0;

/// Largest state that a hook is given, in bytes.
const MOST: u64 = 16 << 20;

/// Puts our own program in front of the hooks that libcontainer runs outside of the container's
/// root. Those of the runtime's namespaces first move to the cgroups whose `cgroup.procs` are
/// open at `cgroups`; these descriptors must not be marked close-on-exec.
pub(crate) fn wrap(document: &mut Document, bundle: &Path, cgroups: &[OwnedFd]) {
    for point in ["prestart", "createRuntime", "createContainer"] {
        // The others are started by a process of the container's, which is not yet there.
        let is_early = EARLY.contains(&point);
        let (parent, left) = match is_early {
            true => (Some(Pid::this()), cgroups),
            false => (None, &[][..]),
        };
        for hook in document.hooks_mut(point) {
            let path = hook["path"].as_str().unwrap_or_default().to_owned();
            let args: Option<Vec<String>> =
                serde_json::from_value(hook["args"].clone()).unwrap_or_default();
            let words = words(Path::new(&path), args.as_deref(), bundle, parent, left);
            let words = words.iter().map(|word| word.to_string_lossy());
            let name = std::iter::once("slipway".into());
            hook["args"] = name.chain(words).collect::<Vec<_>>().into();
            hook["path"] = json!(OWN);
        }
    }
}

/// Puts our own look at the container's mounts in front of all hooks, if there are hooks.
pub(crate) fn look_first(document: &mut Document, expected: &ProcMounts) {
    if !expected.has_hooks() {
        return;
    }
    let root = document.root_path().unwrap_or_default();
    let expected = serde_json::to_string(expected).unwrap_or_default();
    let look = json!({"path": OWN, "args": ["slipway", LOOK, root, expected]});
    let hooks = &mut document["hooks"]["prestart"];
    match hooks.as_array_mut() {
        Some(list) => list.insert(0, look),
        None => *hooks = json!([look]),
    }
}

/// Looks at the mounts of a container that is being made. After [`LOOK`], the arguments are the
/// container's root and the expected mounts.
///
/// # Errors
///
/// Fails when there is a mount that nobody asked for.
pub fn look_at_mounts(mut words: impl Iterator<Item = OsString>) -> Result<(), String> {
    let failed = "the arguments of the look are not as they were written";
    let root = words.next().ok_or(failed)?;
    let expected = words.next().and_then(|text| text.into_string().ok());
    let mut state = String::new();
    io::stdin()
        .lock()
        .take(MOST)
        .read_to_string(&mut state)
        .map_err(|error| format!("read the container's state: {}", text::message(&error)))?;
    check_from_hook(&state, Path::new(&root), &expected.ok_or(failed)?)
}

/// Returns the arguments with which our program becomes a hook. `parent` is the process that will
/// start it, if that is known.
pub(super) fn words(
    path: &Path,
    args: Option<&[String]>,
    bundle: &Path,
    parent: Option<Pid>,
    cgroups: &[OwnedFd],
) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![HOOK.into(), bundle.into()];
    let parent = parent.map_or(UNKNOWN, Pid::as_raw);
    words.push(parent.to_string().into());
    words.push(cgroups.len().to_string().into());
    let numbers = cgroups.iter().map(|cgroup| cgroup.as_raw_fd().to_string());
    words.extend(numbers.map(OsString::from));
    words.push(path.into());
    match args.filter(|args| !args.is_empty()) {
        Some(args) => words.extend(args.iter().map(OsString::from)),
        None => words.push(path.into()),
    }
    words
}

/// Becomes a hook. After [`HOOK`], the arguments are the bundle, the parent process, a number of
/// descriptors, the descriptors of `cgroup.procs` of the cgroups to move to, and the hook's path and
/// arguments. Returns only on failure.
///
/// # Errors
///
/// Fails when the runtime has ended, a cgroup cannot be entered, or the hook cannot be executed.
pub fn become_hook(mut words: impl Iterator<Item = OsString>) -> Result<Infallible, String> {
    let failed = "the arguments of a hook are not as they were written";
    let bundle = words.next().ok_or(failed)?;
    let mut number = || words.next()?.to_str()?.parse::<i32>().ok();
    let (parent, number) = (number().ok_or(failed)?, number().ok_or(failed)?);
    // A runtime that is killed leaves no hook.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    let ended = "the runtime has ended";
    if parent != UNKNOWN && parent != Pid::parent().as_raw() {
        return Err(ended.to_owned());
    }
    for _ in 0..number {
        let cgroup = words.next().and_then(|word| word.to_str()?.parse().ok());
        let cgroup: u32 = cgroup.ok_or(failed)?;
        let cgroup = format!("/proc/self/fd/{cgroup}");
        fs::write(&cgroup, "0").map_err(|error| {
            let place = fs::read_link(&cgroup).unwrap_or_else(|_| cgroup.into());
            format!(
                "hook: go back to {}: {}",
                place.display(),
                text::message(&error)
            )
        })?;
    }
    let path = words.next().ok_or(failed)?;
    sys::close_all_except(&[]);
    // The bundle of a container that has stopped may be gone.
    let _ = std::env::set_current_dir(bundle);
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
        let mut document = Document::from(json!({"hooks": {
            "prestart": [{"path": "/bin/a", "args": ["x", "y"]}],
            "createContainer": [{"path": "/bin/c"}],
            "poststop": [{"path": "/b"}],
        }}));
        let open = OwnedFd::from(File::open("/dev/null").unwrap());
        let number = open.as_raw_fd().to_string();
        let us = Pid::this().to_string();
        wrap(&mut document, Path::new("/bundle"), &[open]);
        let args = |point: &str| document["hooks"][point][0]["args"].clone();
        assert_eq!(
            args("prestart"),
            json!([
                "slipway", "hook", "/bundle", us, "1", number, "/bin/a", "x", "y"
            ])
        );
        assert_eq!(
            args("createContainer"),
            json!(["slipway", "hook", "/bundle", "0", "0", "/bin/c", "/bin/c"])
        );
        assert_eq!(document["hooks"]["poststop"][0]["path"], "/b");
    }
}
