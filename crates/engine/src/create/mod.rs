//! Making a container.

mod build;
mod making;
mod worker;

pub(crate) use making::make;

use std::fs;
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::sys::signal::SigSet;
use serde_json::Value;

use crate::process::Executor;
use crate::shadow_bundle::{Prepared, make_private, prepare};
use crate::{Container, Document, Error, cgroup, identifier, readiness};

/// The parameters of a new container.
#[derive(Debug)]
pub struct Create {
    /// The container's id: a name in the state root.
    pub id: String,
    /// The state root.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// The specification, if it is not the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// The file to which the id of the first process is written.
    pub pid_file: Option<PathBuf>,
    /// The socket to which the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// The socket to which a pidfd of the first process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// Number of descriptors, from 3 up, that the program inherits.
    pub preserve_fds: u32,
    /// Whether the program and the processes that later join it keep the session keyring of their
    /// caller.
    pub no_new_keyring: bool,
    /// Whether `chroot` is used instead of `pivot_root`.
    pub no_pivot: bool,
    /// Whether systemd manages the cgroups.
    pub systemd_cgroup: bool,
    /// Directories with further hooks, as podman and CRI-O have them.
    pub hooks_directories: Vec<PathBuf>,
    /// The socket of the service manager that is told when the program is ready.
    pub notify_socket: Option<PathBuf>,
    /// The signal mask of the program.
    pub mask: SigSet,
    /// The last step of the first process; `None` means to execute the program.
    pub executor: Option<Box<dyn Executor>>,
}

impl Create {
    /// Returns the parameters of a container with all defaults.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        root: impl Into<PathBuf>,
        bundle: impl Into<PathBuf>,
    ) -> Self {
        Self {
            id: id.into(),
            root: root.into(),
            bundle: bundle.into(),
            config: None,
            pid_file: None,
            console_socket: None,
            pidfd_socket: None,
            preserve_fds: 0,
            no_new_keyring: false,
            no_pivot: false,
            systemd_cgroup: false,
            hooks_directories: Vec::new(),
            notify_socket: None,
            mask: SigSet::empty(),
            executor: None,
        }
    }
}

/// Makes a container, up to the point where it waits to be started. The calling process must be
/// single-threaded.
///
/// # Errors
///
/// Fails when the bundle is invalid, asks for something unsupported, or cannot be carried out.
/// Nothing of the container is left then.
pub fn create(mut request: Create) -> Result<Container, Error> {
    let prepared = check(&mut request)?;
    make(request, &prepared)
}

/// Reads the specification and checks that it can be carried out. Makes the request's paths
/// absolute.
pub(crate) fn check(request: &mut Create) -> Result<Prepared, Error> {
    identifier::check(&request.id)?;
    sys::check_kernel().map_err(Error::Create)?;
    make_private(&request.root)?;
    request.root = fs::canonicalize(&request.root).map_err(Error::state("open", &request.root))?;
    request.bundle =
        fs::canonicalize(&request.bundle).map_err(Error::state("open", &request.bundle))?;
    if request.root.join(&request.id).symlink_metadata().is_ok() {
        return Err(Error::Exists);
    }
    let listening = listening();
    let preserved = preserved(request.preserve_fds, listening)?;
    let last = preserved.last().copied().unwrap_or(2);
    request.preserve_fds = last.cast_unsigned() - 2;
    let config = match &request.config {
        Some(config) => config,
        None => &request.bundle.join("config.json"),
    };
    let mut prepared = prepare(
        &request.id,
        &request.bundle,
        config,
        request.systemd_cgroup,
        &request.hooks_directories,
    )?;
    pass_on_sockets(&mut prepared.document, listening);
    if request.notify_socket.is_some() {
        readiness::give(&mut prepared.document, &request.root.join(&request.id));
    }
    if request.no_new_keyring {
        prepared.document.keep_keyring();
    }
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    if !request.systemd_cgroup
        && let Some(path) = prepared.document.cgroup()
    {
        cgroup::refuse_frozen(path)?;
    }
    Ok(prepared)
}

/// Returns the descriptors that a program keeps, with those of socket activation. The sockets must be
/// open; of the others, the program gets those that are. Slurm leaves one open, of any number.
pub(crate) fn preserved(asked: u32, listening: u32) -> Result<Vec<RawFd>, Error> {
    let open = sys::inherited_among(asked.saturating_add(listening));
    let mut sockets = (3..).zip(0..listening).map(|(fd, _)| fd);
    match sockets.find(|fd| !open.contains(fd)) {
        Some(missing) => Err(Error::Refused(format!(
            "LISTEN_FDS names {listening} sockets from 3 up, but {missing} is not open"
        ))),
        None => Ok(open),
    }
}

/// Tells the program about the sockets that a service manager passes, as runc does. The program is
/// the first process of its container.
fn pass_on_sockets(document: &mut Document, count: u32) {
    if count == 0 {
        return;
    }
    let environment = &mut document["process"]["env"];
    let mut variables = environment.as_array().cloned().unwrap_or_default();
    let is_other = |variable: &Value| {
        let text = variable.as_str().unwrap_or_default();
        !["LISTEN_FDS=", "LISTEN_PID="]
            .iter()
            .any(|name| text.starts_with(name))
    };
    variables.retain(is_other);
    variables.push(format!("LISTEN_FDS={count}").into());
    variables.push("LISTEN_PID=1".into());
    *environment = variables.into();
}

/// Returns the number of sockets that a service manager passes to this process,
/// [sd_listen_fds(3)]. Variables that are meant for another process are ignored.
///
/// [sd_listen_fds(3)]: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
fn listening() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => count,
        _ => 0,
    }
}
