//! Making a container from a request that was checked.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigmaskHow, sigprocmask};
use nix::unistd::setgroups;
use serde_json::json;

use super::{Create, ExecutorBox, surroundings};
use crate::cgroup::spawn::{managed_cgroup, run_in_cgroup};
use crate::cgroup::{Cgroup, ManagedCgroup, OpenCgroup};
use crate::claims::{Claims, Maker};
use crate::error::of_library;
use crate::home::give_home;
use crate::pidfd::{open_process, send_pidfd};
use crate::proc_mounts::ProcMounts;
use crate::process::exec::Program;
use crate::seccomp::{Filter, Relay};
use crate::shadow_bundle::{Prepared, make_shadow, shadow, show_document, write_pid};
use crate::stage::stage;
use crate::workers::Report;
use crate::{Container, Document, Error, Status, cgroup, hooks, leftovers, userns};

/// Makes a container from a request that was checked.
pub(crate) fn make(mut request: Create, prepared: &Prepared) -> Result<Container, Error> {
    let mut document = prepared.document.clone();
    let report = Report::new()?;
    let mut relay = None;
    // A caller with an executor of its own may rely on the process being its child from the
    // beginning.
    let is_ours = request.executor.is_none();
    if is_ours {
        let (program, sent) = take_program(&request, &mut document, &report)?;
        request.executor = Some(program);
        relay = sent;
    }
    let outputs = Outputs {
        pid_file: request.pid_file.take(),
        pidfd_socket: request.pidfd_socket.take(),
    };
    let maker = Maker::this(Some(&report))?;
    let (root, id) = (&request.root, &request.id);
    let path = prepared.document.cgroup();
    let path = path.filter(|path| is_ours && !request.systemd_cgroup && path.starts_with('/'));
    let claims = Claims::take(root, id, path, &maker)?;
    let mut making = Making {
        directory: shadow(&request.root, &request.id),
        id: request.id.clone(),
        root: request.root.clone(),
        bundle: request.bundle.clone(),
        proc_mounts: ProcMounts::of(&prepared.document),
        is_claimed: claims.have_cgroup(),
        own: None,
        open: None,
        is_filtered: false,
        is_ours,
        prepared,
    };
    let begun = making.begin(request.systemd_cgroup);
    let made = begun.and_then(|()| {
        let built = match is_ours {
            true => {
                let open = making.open.take();
                run_in_cgroup(making.own.as_ref(), open, report, || {
                    making.build(request, document)
                })
            }
            false => prepare_and_build(request, document, prepared, None),
        };
        if let Some(relay) = relay {
            relay.wait();
        }
        built.and_then(|()| making.complete(&outputs))
    });
    let container = made.inspect_err(|_| making.undo())?;
    claims.keep()?;
    Ok(container)
}

/// A container that is being made.
struct Making<'a> {
    id: String,
    root: PathBuf,
    bundle: PathBuf,
    /// The shadow bundle.
    directory: PathBuf,
    prepared: &'a Prepared,
    proc_mounts: ProcMounts,
    /// Whether no other container can be made in the cgroup meanwhile.
    is_claimed: bool,
    /// The container's cgroup, if we manage it ourselves.
    own: Option<ManagedCgroup>,
    open: Option<OpenCgroup>,
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
        make_shadow(&self.directory, &self.bundle, &self.prepared.document)?;
        if self.is_ours {
            let managed = managed_cgroup(self.prepared, &self.root, &self.id, systemd_cgroup);
            (self.own, self.open) = managed.unzip();
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

    /// Runs libcontainer. Called in a process of its own.
    fn build(&self, request: Create, mut document: Document) -> Result<(), Error> {
        // Hooks and everything else start with the caller's mask, even if we wait for signals.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&request.mask), None);
        let left = match self.joined(&document) {
            Some(path) => {
                let has_hooks = self.prepared.has_early_hooks();
                cgroup::join_what_libcontainer_does_not(path, has_hooks)?
            }
            None => Vec::new(),
        };
        surroundings::prepare(&mut document);
        hooks::wrap(&mut document, &self.bundle, &left);
        hooks::look_first(&mut document, &self.proc_mounts);
        prepare_and_build(request, document, self.prepared, self.own.as_ref())
    }

    /// Returns the path of the cgroup that has to be joined in hierarchies that libcontainer does
    /// not know, because the container will see them.
    fn joined(&self, document: &Document) -> Option<&str> {
        let path = self.prepared.document.cgroup()?;
        let mut mounts = document.mounts();
        let is_seen =
            document.makes_namespace("cgroup") || mounts.any(|mount| mount["type"] == "cgroup2");
        (path.starts_with('/') && self.own.is_none() && is_seen).then_some(path)
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
        container.set_bundle(&self.bundle)?;
        if self.is_ours {
            container.write_begin()?;
        }
        if self.own.is_some() {
            container.set_cgroup(self.prepared)?;
            container.limit(self.prepared)?;
        }
        finish(&container, self.prepared, self.is_filtered, outputs).inspect_err(|_| {
            let _ = Container::load(root, id).and_then(Container::abandon);
        })?;
        if let Some(pid) = container.pid().filter(|_| self.is_ours) {
            surroundings::give_streams(pid, &self.prepared.document);
            if self.prepared.document.makes_namespace("network")
                && let Err(error) = surroundings::bring_up_loopback(pid)
            {
                let text = text::message(&error);
                tracing::warn!("bring up the loopback interface: {text}");
            }
        }
        Ok(container)
    }

    /// Removes everything of a container that could not be made.
    fn undo(&self) {
        if let Some(own) = &self.own {
            own.remove();
        }
        // The part of the cgroup that was made before libcontainer ran.
        let is_made = self.is_filtered || self.is_claimed || cgroup::has_old_hierarchies();
        let made = self.prepared.document.cgroup().filter(|_| is_made);
        if let Some(path) = made.filter(|path| path.starts_with('/')) {
            let _ = Cgroup::of_path(path, &self.id).remove();
        }
        let _ = fs::remove_dir_all(self.root.join(&self.id));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns the executor that becomes the program. It takes over the capabilities, the limits and
/// the filter, and removes them from the document so that libcontainer does not apply them. Also
/// returns the relay of the filter's descriptor, if there is one.
fn take_program(
    request: &Create,
    document: &mut Document,
    report: &Report,
) -> Result<(ExecutorBox, Option<Relay>), Error> {
    let process = document.get("process").cloned().unwrap_or_default();
    let process = serde_json::from_value(process)
        .map_err(|error| Error::Refused(format!("process: {error}")))?;
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
    for (of, name) in [
        ("process", "capabilities"),
        ("process", "rlimits"),
        ("linux", "seccomp"),
        ("hooks", "startContainer"),
    ] {
        if let Some(object) = document.object_mut(of) {
            object.remove(name);
        }
    }
    let program = Program {
        process,
        report: report.writer.as_raw_fd(),
        proc_mounts: ProcMounts::of(document),
        filter,
        mask: request.mask,
        preserve_fds: sys::inherited_among(request.preserve_fds),
        keeps_keyring: request.no_new_keyring,
        hooks: late,
    };
    Ok((ExecutorBox::new(program), relay.flatten()))
}

fn prepare_and_build(
    request: Create,
    mut document: Document,
    prepared: &Prepared,
    own: Option<&ManagedCgroup>,
) -> Result<(), Error> {
    give_home(&mut document);
    leftovers::remove(&document);
    let _user_namespace = prepare_ground(&mut document, own)?;
    show_document(&shadow(&request.root, &request.id), &document)?;
    build(request, prepared)
}

/// Makes what libcontainer cannot make. The returned user namespace has to be held until the
/// container exists.
fn prepare_ground(
    document: &mut Document,
    own: Option<&ManagedCgroup>,
) -> Result<Option<OwnedFd>, Error> {
    userns::enter_if_ordinary(document)?;
    drop_groups(document);
    if let Some(own) = own {
        own.bind_mounts(document);
        document["linux"]["cgroupsPath"] = own.decoy().into();
        if let Some(linux) = document.object_mut("linux") {
            linux.remove("resources");
        }
    }
    let is_closed = own.is_none() && cgroup::is_old_and_closed();
    if is_closed {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| Error::system("create a mount namespace", errno))?;
        cgroup::mask_cgroups()?;
        cgroup::bind_masks(document);
    }
    stage(document, is_closed)?;
    userns::make(document)
}

/// Drops the caller's groups, which the container must not have. libcontainer only ever replaces
/// them by others.
fn drop_groups(document: &Document) {
    let keep = document.pointer("/annotations/run.oci.keep_original_groups");
    if keep.is_none() {
        // The kernel refuses this in a user namespace that an ordinary user made.
        let _ = setgroups(&[]);
    }
}

/// The places where the caller wants the first process reported. libcontainer would follow a link
/// at the path of the file.
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

/// Returns an error's text without the names of libcontainer's steps.
fn reason(error: &str) -> String {
    const STEPS: [&str; 6] = [
        "failed to create container: ",
        "exec process failed with error ",
        "error in executing process : ",
        "failed executor: ",
        "intermediate process error ",
        "init process error ",
    ];
    let mut rest = error;
    while let Some(shorter) = STEPS.iter().find_map(|step| rest.strip_prefix(step)) {
        rest = shorter;
    }
    rest.to_owned()
}

fn build(request: Create, prepared: &Prepared) -> Result<(), Error> {
    let directory = shadow(&request.root, &request.id);
    let failed =
        |error: &(dyn std::error::Error + 'static)| Error::Create(reason(&of_library(error)));
    let executor = request.executor.ok_or(Error::Missing)?;
    // libcontainer accepts a console socket only from a caller that detaches from the container.
    if prepared.document.has_terminal() && request.console_socket.is_none() {
        return Err(Error::Refused(
            "process.terminal needs a console socket".to_owned(),
        ));
    }
    if !prepared.document.has_terminal() && request.console_socket.is_some() {
        return Err(Error::Refused(
            "a console socket needs process.terminal".to_owned(),
        ));
    }
    ContainerBuilder::new(request.id, SyscallType::default())
        .with_executor(executor)
        .with_root_path(request.root)
        .map_err(|error| failed(&error))?
        .with_console_socket(request.console_socket)
        .with_preserved_fds(request.preserve_fds.cast_signed())
        .validate_id()
        .map_err(|error| failed(&error))?
        .as_init(&directory)
        .with_systemd(request.systemd_cgroup)
        .with_detach(true)
        .with_no_pivot(request.no_pivot)
        .build()
        .map_err(|error| failed(&error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_begins_where_the_steps_end() {
        let long = "failed to create container: exec process failed with error error in executing \
                    process : exec: \"x\": permission denied";
        assert_eq!(reason(long), "exec: \"x\": permission denied");
        assert_eq!(reason("EINVAL"), "EINVAL");
    }
}
