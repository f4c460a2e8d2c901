//! Making a container from a request that was checked.

use std::cell::Cell;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::{SigmaskHow, sigprocmask};
use serde_json::json;

use super::Create;
use super::build::build;
use super::worker::run_in_worker;
use crate::cgroup::{Cgroup, ManagedCgroup, OpenCgroup};
use crate::claims::{Claims, Maker};
use crate::endings::Endings;
use crate::pidfd::{open_process, send_pidfd};
use crate::process::exec::Program;
use crate::process::{Executor, settings, streams};
use crate::seccomp::{Filter, Relay};
use crate::shadow_bundle::{Prepared, make_shadow, shadow, write_pid};
use crate::workers::Report;
use crate::{Container, Document, Error, Status, cgroup, hooks};

/// Makes a container from a request that was checked.
pub(crate) fn make(mut request: Create, prepared: &Prepared) -> Result<Container, Error> {
    let console = request.console_socket.is_some();
    let refused = |reason: &str| Err(Error::Refused(reason.to_owned()));
    match (prepared.document.has_terminal(), console) {
        (true, false) => return refused("process.terminal needs a console socket"),
        (false, true) => return refused("a console socket needs process.terminal"),
        _ => {}
    }
    let report = Report::new()?;
    // A caller with an executor of its own may rely on the process being its child from the
    // beginning.
    let own_executor = request.executor.take();
    let is_ours = own_executor.is_none();
    let (executor, relay) = match own_executor {
        Some(executor) => (executor, None),
        None => program(&request, &prepared.document, &report)?,
    };
    let outputs = Outputs {
        pid_file: request.pid_file.take(),
        pidfd_socket: request.pidfd_socket.take(),
    };
    let maker = Maker::this(Some(&report))?;
    let (root, id) = (&request.root, &request.id);
    let path = prepared.document.cgroup();
    let path = path.filter(|path| is_ours && !request.systemd_cgroup && path.starts_with('/'));
    let mut claims = Claims::take(root, id, path, &maker)?;
    // From here on, a signal that asks us to end undoes everything. The signals of another caller are
    // its own: it may have blocked them for its program.
    let endings = match is_ours {
        true => Some(Endings::hold_back()?),
        false => None,
    };
    let mut making = Making {
        directory: shadow(&request.root, &request.id),
        id: request.id.clone(),
        root: request.root.clone(),
        is_claimed: claims.have_cgroup(),
        own: None,
        open: Cell::new(None),
        is_filtered: false,
        is_ours,
        prepared,
    };
    let begun = making.begin(request.systemd_cgroup);
    let made = begun.and_then(|()| {
        let built = match &endings {
            Some(endings) => run_in_worker(endings, making.own.as_ref(), report, || {
                // Hooks and everything else start with the caller's mask, even if we wait for
                // signals.
                let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&request.mask), None);
                making.build(&request, executor.as_ref())
            }),
            None => making.build(&request, executor.as_ref()),
        };
        // It holds the relay's socket.
        drop(executor);
        if let Some(relay) = relay {
            relay.wait();
        }
        built?;
        let completed = making.complete(&outputs).and_then(|container| {
            endings.iter().try_for_each(Endings::check)?;
            claims.keep().map(|()| container)
        });
        completed.inspect_err(|_| making.end_first())
    });
    let made = made.inspect_err(|_| making.undo());
    // Nobody else takes the id or the cgroup before everything of this container is gone.
    drop(claims);
    made
}

/// A container that is being made.
struct Making<'a> {
    id: String,
    root: PathBuf,
    /// The shadow bundle.
    directory: PathBuf,
    prepared: &'a Prepared,
    /// Whether no other container can be made in the cgroup meanwhile.
    is_claimed: bool,
    /// The container's cgroup, if we manage it ourselves.
    own: Option<ManagedCgroup>,
    /// Its directory, for the first process to be born in.
    open: Cell<Option<OpenCgroup>>,
    /// Whether the cgroup exists already and filters devices.
    is_filtered: bool,
    /// Whether the first process becomes the program, not an executor of the caller's.
    is_ours: bool,
}

impl Making<'_> {
    /// Makes the shadow bundle and the cgroup.
    fn begin(&mut self, systemd_cgroup: bool) -> Result<(), Error> {
        // The shadow bundle comes first: everything that is made later can be found and removed by
        // it.
        make_shadow(&self.directory, &self.prepared.document)?;
        let path = self.prepared.document.cgroup();
        // With systemd, the cgroup is systemd's to manage.
        if let Some(path) = path.filter(|_| self.is_ours && !systemd_cgroup) {
            let (own, open) = ManagedCgroup::make(path).unzip();
            (self.own, self.open) = (own, Cell::new(open));
            if self.own.is_some() {
                Cgroup::of_path(path, &self.id).limit(self.prepared.document.resources())?;
            }
        }
        self.is_filtered = match (
            self.prepared.document.cgroup(),
            self.prepared.document.devices(),
        ) {
            (Some(path), Some(rules)) if self.prepared.has_early_hooks() && !systemd_cgroup => {
                cgroup::filter_devices_first(path, rules)?
            }
            _ => false,
        };
        Ok(())
    }

    /// Makes the state and the first process. Called in a process of its own, unless the executor is
    /// the caller's.
    fn build(&self, request: &Create, executor: &dyn Executor) -> Result<(), Error> {
        build(
            request,
            &self.prepared.document,
            executor,
            self.open.take(),
            self.is_ours,
        )
    }

    /// Completes the state, and does the work that waits for the first process.
    fn complete(&self, outputs: &Outputs) -> Result<Container, Error> {
        let (root, id) = (&self.root, &self.id);
        if self.is_ours {
            let state = root.join(id);
            fs::set_permissions(&state, fs::Permissions::from_mode(0o700))
                .map_err(Error::state("keep others out of", &state))?;
        }
        let mut container = Container::load_new(root, id)?;
        if self.is_ours {
            container.write_begin()?;
        }
        finish(&container, self.prepared, self.is_filtered, outputs)?;
        if let Some(pid) = container.pid().filter(|_| self.is_ours) {
            streams::give_streams(pid, &self.prepared.document);
        }
        Ok(container)
    }

    /// Ends the first process of a container whose state is written, and everything that it has
    /// started.
    fn end_first(&self) {
        let _ = Container::load_new(&self.root, &self.id).and_then(Container::abandon);
    }

    /// Removes everything of a container that could not be made.
    fn undo(&self) {
        if let Some(own) = &self.own {
            own.remove();
        }
        let is_made = self.is_filtered || self.is_claimed || cgroup::has_old_hierarchies();
        let made = self.prepared.document.cgroup().filter(|_| is_made);
        if let Some(path) = made.filter(|path| path.starts_with('/')) {
            let _ = Cgroup::of_path(path, &self.id).remove();
        }
        let _ = fs::remove_dir_all(self.root.join(&self.id));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns the executor that becomes the program, and the relay of the filter's descriptor, if there
/// is one.
fn program(
    request: &Create,
    document: &Document,
    report: &Report,
) -> Result<(Box<dyn Executor>, Option<Relay>), Error> {
    let process = settings::typed_process(document).map_err(Error::Refused)?;
    let state = || {
        json!({
            "ociVersion": document["ociVersion"],
            "id": request.id,
            "status": Status::Creating.to_string(),
            "bundle": request.bundle,
            "annotations": document["annotations"],
        })
    };
    let (filter, relay) = Filter::of(document, &request.root, state)?.unzip();
    let late = hooks::Hooks {
        hooks: document.hooks("startContainer").unwrap_or_default(),
        state: state(),
    };
    let program = Program {
        process,
        report: report.writer.as_raw_fd(),
        filter,
        mask: request.mask,
        preserve_fds: sys::inherited_among(request.preserve_fds),
        keeps_keyring: request.no_new_keyring,
        hooks: late,
    };
    Ok((Box::new(program), relay.flatten()))
}

/// The places where the caller wants the first process reported.
struct Outputs {
    pid_file: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
}

/// Does the remaining work once the first process waits for its start.
fn finish(
    container: &Container,
    prepared: &Prepared,
    is_filtered: bool,
    outputs: &Outputs,
) -> Result<(), Error> {
    let Some(pid) = container.pid() else {
        return Ok(());
    };
    if let Some(rules) = prepared.document.devices().filter(|_| !is_filtered) {
        cgroup::filter_devices(pid, rules)?;
    }
    if let Some(path) = &outputs.pid_file {
        write_pid(path, pid)?;
    }
    if let Some(path) = &outputs.pidfd_socket {
        send_pidfd(path, &open_process(pid)?)?;
    }
    Ok(())
}
