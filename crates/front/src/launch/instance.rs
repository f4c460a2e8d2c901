//! Starts instances, and joins running ones.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use bundle::Account;
use serde::{Deserialize, Serialize};
use session::Instance;

use super::join::enter;
use super::record::Record;
use super::{Prepared, open_image, print};
use crate::caller::Caller;
use crate::messages::Messages;
use crate::request::Request;

/// Data about an instance, which its monitor publishes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// The data that every container has.
    #[serde(flatten)]
    pub container: Record,
    /// The files for the standard output and error of its program.
    pub logs: Logs,
}

/// The files that an instance's program writes to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logs {
    /// Standard output.
    pub out: PathBuf,
    /// Standard error.
    pub err: PathBuf,
}

/// Starts an instance. Returns when its first process runs. The ID of this process is written to
/// `pid_file`.
///
/// # Errors
///
/// Fails when an instance of that name exists, and when the instance cannot be made. Then only its
/// logs are left.
pub fn start_instance(
    name: &str,
    request: Request,
    pid_file: Option<&Path>,
    caller: &Caller,
    messages: &Messages,
) -> Result<ExitCode> {
    super::warn_of_names(caller, messages);
    super::warn_of_words(&request, caller, messages);
    if !Instance::is_name(name) {
        bail!(
            "{name} is not a valid instance name: up to {} letters, digits and -._",
            Instance::LONGEST_NAME
        );
    }
    if !request.container.mounts.fuse.is_empty() {
        bail!("--fusemount: not supported for instances; mount it on the host, and bind it");
    }
    if matches!(Instance::find(name), Ok(Some(_))) {
        bail!("instance {name} already exists");
    }
    let dry_run = request.dry_run;
    let options = request.registry.as_ref();
    let image = open_image(&request.source, options, caller, messages)?;
    let prepared = Prepared::new(request, image, Some(name), caller, messages)?;
    if dry_run {
        return print(&prepared.bundle.spec);
    }
    super::limits::apply(&prepared.container.limits)?;
    let logs = Logs::new(name, &caller.account(), caller);
    let record = InstanceRecord {
        container: prepared.record(true),
        logs,
    };
    let instance = Instance {
        name: name.to_owned(),
        about: serde_json::to_string(&record).context("describe the instance")?,
        start: program(&prepared, &record.logs, *messages)?,
    };
    prepared.open(Some(&instance), None, caller, messages)?;
    if let Some(path) = pid_file {
        let pid = Instance::find(name)?.and_then(|running| running.pid());
        let text = pid.map(|pid| format!("{pid}\n")).unwrap_or_default();
        let written = sys::replace_file(path, text.as_bytes(), 0o644);
        if let Err(error) = written {
            let reason = text::message(&error);
            messages.warning(format_args!("write {}: {reason}", path.display()));
        }
    }
    messages.info("instance started successfully");
    Ok(ExitCode::SUCCESS)
}

/// Returns the program that the instance's first process starts, with its output in the logs.
/// Returns `None` for an image without a startscript.
fn program(prepared: &Prepared, logs: &Logs, messages: Messages) -> Result<Option<session::Start>> {
    if !prepared.has_program()? {
        messages.info("No startscript found in container; the instance runs no program");
        return Ok(None);
    }
    let open = |path: &Path| {
        let directory = path.parent().unwrap_or(path);
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        let mut options = File::options();
        options.append(true).create(true).mode(0o600);
        // No other user may read the output, or redirect it by a link.
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let opened = made.and_then(|()| options.custom_flags(flags).open(path));
        opened.with_context(|| format!("write {}", path.display()))
    };
    let (out, err) = (open(&logs.out)?, open(&logs.err)?);
    let start = prepared.start.clone();
    let (rights, seen_inside) = (prepared.rights.clone(), prepared.seen_inside);
    Ok(Some(session::Start(Arc::new(move || {
        let attached = rustix::stdio::dup2_stdout(&out).and(rustix::stdio::dup2_stderr(&err));
        if let Err(errno) = attached {
            return format!("write to the logs: {errno}");
        }
        let become_payload = || {
            rights.take_behind_the_engine()?;
            match seen_inside {
                true => start.seen_inside(&messages)?.become_payload(&messages),
                false => start.become_payload(&messages),
            }
        };
        match become_payload() {
            Ok(code) => format!("the image's environment scripts ended with code {code}"),
            Err(error) => text::one_line(error.as_ref()),
        }
    }))))
}

/// Runs a program in an instance.
///
/// # Errors
///
/// Fails when there is no instance of that name, and when nothing was started.
pub fn join(
    name: &str,
    request: Request,
    caller: &Caller,
    messages: &Messages,
) -> Result<ExitCode> {
    let running = Instance::join(name)?.with_context(|| {
        format!("no instance found with name {name}; `front instance list` lists the running ones")
    })?;
    let record: InstanceRecord = serde_json::from_str(&running.about)
        .with_context(|| format!("instance {name} was started by another version"))?;
    let namespaces = running.namespaces();
    let code = enter(
        namespaces,
        record.container,
        Some(name),
        request,
        caller,
        messages,
    )?;
    Ok(ExitCode::from(code))
}

impl Logs {
    /// Returns the paths that Apptainer uses, so that users find the logs.
    fn new(name: &str, account: &Account, caller: &Caller) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let directory = caller
            .configuration(account)
            .join("instances/logs")
            .join(host.trim())
            .join(&account.name);
        Self {
            out: directory.join(format!("{name}.out")),
            err: directory.join(format!("{name}.err")),
        }
    }
}
