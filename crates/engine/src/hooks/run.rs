//! Runs hooks.

use std::io::{self, PipeReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libcontainer::oci_spec::runtime::Hook;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::wrapper::{OWN, words};
use crate::descendants::kill_tree;
use crate::{Document, Error, State, Status};

/// Hooks that run in a container, and the fields of its state that they are given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) state: Value,
}

impl Hooks {
    /// Runs the hooks in the calling process's namespaces and with its environment, as the
    /// container's first process does before it becomes the program.
    pub(crate) fn run_inside(&self, environment: &[String]) -> Result<(), Error> {
        let mut state = self.state.clone();
        state["status"] = json!(Status::Created.to_string());
        state["pid"] = json!(std::process::id());
        for (number, hook) in self.hooks.iter().enumerate() {
            let own = hook.env().as_deref().unwrap_or(environment);
            run_one(hook, plain(hook), Some(own), &state).map_err(failed(
                "startContainer",
                number,
                hook,
            ))?;
        }
        Ok(())
    }
}

/// Runs the hooks of a point of a document; see [`run`].
pub(crate) fn run_at(
    point: &str,
    document: &Document,
    start: Start,
    directory: &Path,
    state: &State,
) -> Result<(), Error> {
    let hooks = document.hooks(point);
    let hooks = hooks.map_err(|error| Error::Refused(format!("hooks.{point}: {error}")))?;
    run(point, &hooks, start, directory, state)
}

/// How a hook is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// By our own program in front of it; see [`become_hook`](super::become_hook).
    Wrapped,
    /// Directly: the calling program does not become hooks.
    Plain,
}

/// Runs hooks of a point one after the other in this process's namespaces, in a directory, each with
/// the container's state on its standard input. A hook without an environment of its own has this
/// process's. The first that fails ends the run.
pub(crate) fn run(
    point: &str,
    hooks: &[Hook],
    start: Start,
    directory: &Path,
    state: &State,
) -> Result<(), Error> {
    let state = text(state);
    hooks.iter().enumerate().try_for_each(|(number, hook)| {
        let command = match start {
            Start::Wrapped => {
                let mut command = Command::new(OWN);
                command.args(words(hook.path(), hook.args().as_deref(), directory));
                command
            }
            Start::Plain => {
                let mut command = plain(hook);
                command.current_dir(directory);
                command
            }
        };
        let failed = failed(point, number, hook);
        run_one(hook, command, hook.env().as_deref(), &state).map_err(failed)
    })
}

/// Returns the command of a hook itself.
fn plain(hook: &Hook) -> Command {
    let mut command = Command::new(hook.path());
    if let Some((name, args)) = hook.args().as_deref().and_then(<[_]>::split_first) {
        command.arg0(name).args(args);
    }
    command
}

/// Names the hook that failed, as runc does.
fn failed(point: &str, number: usize, hook: &Hook) -> impl FnOnce(String) -> Error {
    let (point, path) = (point.to_owned(), hook.path().clone());
    move |reason| Error::Hook {
        point,
        number,
        path,
        reason,
    }
}

fn run_one(
    hook: &Hook,
    mut command: Command,
    environment: Option<&[String]>,
    state: &Value,
) -> Result<(), String> {
    let system = |error: io::Error| text::message(&error);
    if let Some(environment) = environment {
        let pairs = environment.iter().filter_map(|pair| pair.split_once('='));
        command.env_clear().envs(pairs);
    }
    let child = command
        .stdin(input(state).map_err(system)?)
        .stdout(Stdio::null())
        .spawn()
        .map_err(system)?;
    let limit = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok());
    match wait(child, limit).map_err(system)? {
        Some(status) if status.success() => Ok(()),
        // A hook in the container is under its filter.
        Some(status) if status.signal() == Some(nix::libc::SIGSYS) => {
            Err(format!("{status}: bad system call"))
        }
        Some(status) => Err(status.to_string()),
        None => Err(format!(
            "it ran past its timeout of {} s",
            limit.unwrap_or_default()
        )),
    }
}

/// Returns a pipe that holds the state. The pipe is made as large as the state, so that nobody
/// waits for the hook to read it. A filter of the container's that allows pipes need allow nothing
/// else.
fn input(state: &Value) -> io::Result<PipeReader> {
    let text = state.to_string();
    let (reader, mut writer) = io::pipe()?;
    if text.len() > DEFAULT_PIPE {
        rustix::pipe::fcntl_setpipe_size(&writer, text.len())?;
    }
    writer.write_all(text.as_bytes())?;
    Ok(reader)
}

/// Number of bytes that every pipe holds: one page, pipe(7).
const DEFAULT_PIPE: usize = 4096;

/// Time between two looks at a hook that runs.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits for a hook at most `limit` seconds. `None` means that it was killed after that, with all of
/// its descendants. Asks again and again, because a filter may forbid `pidfd_open`.
fn wait(mut child: Child, limit: Option<u64>) -> io::Result<Option<ExitStatus>> {
    let Some(limit) = limit else {
        return child.wait().map(Some);
    };
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(limit) {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(INTERVAL);
    }
    kill_tree(Pid::from_raw(child.id().cast_signed()));
    child.wait()?;
    Ok(None)
}

/// Returns the state that hooks are given ([runtime.md], "State").
///
/// [runtime.md]: https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state
fn text(container: &State) -> Value {
    let mut state = json!({
        "ociVersion": container.oci_version,
        "id": container.id,
        "status": container.status.to_string(),
        "bundle": container.bundle,
        "annotations": container.annotations,
    });
    if container.pid > 0 {
        state["pid"] = json!(container.pid);
    }
    state
}
