//! Runs hooks.

use std::io::{self, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libcontainer::oci_spec::runtime::Hook;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::wrapper::{OWN, words};
use crate::descendants::kill_tree;
use crate::{Error, State, Status};

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
        for hook in &self.hooks {
            let mut command = Command::new(hook.path());
            match hook.args().as_deref().and_then(<[_]>::split_first) {
                Some((name, args)) => command.arg0(name).args(args),
                None => &mut command,
            };
            let own = hook.env().as_deref().unwrap_or(environment);
            run_one(hook, command, own, &state)?;
        }
        Ok(())
    }
}

/// Runs hooks one after the other in the runtime's namespaces, in the bundle's directory, each with
/// the container's state on its standard input. The first that fails ends the run.
pub(crate) fn run(hooks: &[Hook], state: &State) -> Result<(), Error> {
    let (bundle, state) = (&state.bundle, text(state));
    for hook in hooks {
        let mut command = Command::new(OWN);
        let parent = Some(Pid::this());
        command.args(words(
            hook.path(),
            hook.args().as_deref(),
            bundle,
            parent,
            &[],
        ));
        let environment = hook.env().as_deref().unwrap_or_default();
        run_one(hook, command, environment, &state)?;
    }
    Ok(())
}

fn run_one(
    hook: &Hook,
    mut command: Command,
    environment: &[String],
    state: &Value,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Hook {
        path: hook.path().clone(),
        reason,
    };
    let system = |error: io::Error| failed(text::message(&error));
    let pairs = environment.iter().filter_map(|pair| pair.split_once('='));
    let child = command
        .env_clear()
        .envs(pairs)
        .stdin(input(state).map_err(system)?)
        .stdout(Stdio::null())
        .spawn()
        .map_err(system)?;
    let limit = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok());
    match wait(child, limit).map_err(system)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(format!("it ended with {status}"))),
        None => Err(failed(format!(
            "it ran past its timeout of {} s",
            limit.unwrap_or_default()
        ))),
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
