//! Making a container.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::SigSet;
use nix::unistd::setgroups;
use serde_json::{Value, json};

use crate::cgroup::Own;
use crate::cgroup::spawn::{own_cgroup, within};
use crate::home::give_home;
use crate::pidfd::{open_process, send_pidfd};
use crate::process::exec::Program;
use crate::seccomp::{Courier, Filter};
use crate::shadow_bundle::{
    Prepared, config, has_hooks, keep_keyring, make_private, make_shadow, prepare, shadow,
    write_config, write_pid, write_whole,
};
use crate::stage::stage;
use crate::{Container, Error, Status, cgroup, identifier, leftovers, namespaces, userns};

/// What a container is made from.
#[derive(Debug)]
pub struct Create {
    /// Its id: a name in the state root.
    pub id: String,
    /// The state root.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// The specification, if it is not the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// Where to write the id of its first process.
    pub pid_file: Option<PathBuf>,
    /// The socket to which the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// The socket to which a pidfd of its first process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 up the program inherits.
    pub preserve_fds: i32,
    /// Whether the program, and those that are started beside it later, keep the session keyring of their caller.
    pub no_new_keyring: bool,
    /// Whether `chroot` is used instead of `pivot_root`.
    pub no_pivot: bool,
    /// Whether systemd manages the cgroups.
    pub systemd_cgroup: bool,
    /// Directories of more hooks, as podman and CRI-O have them.
    pub hooks_directories: Vec<PathBuf>,
    /// The signal mask of the program.
    pub mask: SigSet,
    /// What the first process does in the end; `None` means to execute the program.
    pub executor: Option<ExecutorBox>,
}

/// An executor of any kind.
pub struct ExecutorBox(Box<dyn Executor>);

impl ExecutorBox {
    /// Boxes an executor.
    pub fn new(executor: impl Executor + 'static) -> Self {
        Self(Box::new(executor))
    }
}

impl std::fmt::Debug for ExecutorBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExecutorBox")
    }
}

impl Clone for ExecutorBox {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Executor for ExecutorBox {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        self.0.exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.0.validate(spec)
    }

    fn setup_envs(
        &self,
        envs: std::collections::HashMap<String, String>,
    ) -> Result<(), ExecutorSetEnvsError> {
        self.0.setup_envs(envs)
    }
}

impl Create {
    /// A container with nothing special about it.
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
/// Fails when the bundle is not sound, asks for what is not supported, or cannot be carried out;
/// then nothing of the container is left.
pub fn create(mut request: Create) -> Result<Container, Error> {
    let prepared = check(&mut request)?;
    make(request, &prepared)
}

/// Finds out what is asked for, and whether it can be; gives the request its paths in full.
pub(crate) fn check(request: &mut Create) -> Result<Prepared, Error> {
    identifier::check(&request.id)?;
    make_private(&request.root)?;
    request.root = fs::canonicalize(&request.root).map_err(Error::state("open", &request.root))?;
    request.bundle =
        fs::canonicalize(&request.bundle).map_err(Error::state("open", &request.bundle))?;
    if request.root.join(&request.id).symlink_metadata().is_ok() {
        return Err(Error::Exists);
    }
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
    if request.no_new_keyring {
        keep_keyring(&mut prepared.document);
    }
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    if !request.systemd_cgroup
        && let Some(path) = &prepared.cgroup
    {
        cgroup::refuse_occupied(path)?;
        cgroup::refuse_frozen(path)?;
    }
    Ok(prepared)
}

/// Makes a container of what was found.
pub(crate) fn make(mut request: Create, prepared: &Prepared) -> Result<Container, Error> {
    let mut document = prepared.document.clone();
    let mut courier = None;
    // Who brings an executor may count on the process being its child from the first.
    let is_ours = request.executor.is_none();
    if is_ours {
        let (program, sent) = take_program(&request, &mut document)?;
        request.executor = Some(program);
        courier = sent;
    }
    let (root, bundle) = (request.root.clone(), request.bundle.clone());
    let told = Told {
        pid_file: request.pid_file.take(),
        pidfd_socket: request.pidfd_socket.take(),
    };
    let id = request.id.clone();
    let directory = shadow(&root, &id);
    // First of all, so that whatever is made later can be found and removed by it.
    let text = make_shadow(&directory, &bundle, &prepared.document)?;
    let own = is_ours
        .then(|| own_cgroup(prepared, &root, &id, request.systemd_cgroup))
        .flatten();
    let is_filtered = match (&prepared.cgroup, &prepared.devices) {
        (Some(path), Some(rules)) if prepared.has_early_hooks() && !request.systemd_cgroup => {
            cgroup::filter_devices_first(path, rules)?
        }
        _ => false,
    };
    let joined =
        { prepared.cgroup.as_deref() }.filter(|path| path.starts_with('/') && own.is_none());
    let joined = joined.filter(|_| namespaces::makes(&document, "cgroup"));
    let made = match is_ours {
        true => within(own.as_ref(), || {
            if let Some(path) = joined {
                cgroup::join_what_libcontainer_does_not(path, &mut document)?;
            }
            prepare_and_build(request, document, prepared, own.as_ref())
        }),
        false => prepare_and_build(request, document, prepared, None),
    };
    if let Some(courier) = courier {
        courier.wait();
    }
    let made = made.and_then(|()| {
        if is_ours {
            let state = root.join(&id);
            fs::set_permissions(&state, fs::Permissions::from_mode(0o700))
                .map_err(Error::state("keep others out of", &state))?;
        }
        let mut container = Container::load(&root, &id)?;
        container.set_bundle(&bundle)?;
        if is_ours {
            container.write_begin()?;
        }
        // In place of what libcontainer was shown.
        write_whole(&config(&directory), &text)?;
        if own.is_some() {
            container.set_cgroup(prepared)?;
            container.limit(prepared)?;
        }
        finish(&container, prepared, is_filtered, &told).inspect_err(|_| {
            let _ = Container::load(&root, &id).and_then(|container| container.delete(true));
        })?;
        Ok(container)
    });
    made.inspect_err(|_| {
        if let Some(own) = &own {
            own.remove();
        }
        // The part of it that was made before libcontainer came.
        let is_made = is_filtered || cgroup::has_old_hierarchies();
        let made = prepared.cgroup.as_ref().filter(|_| is_made);
        if let Some(path) = made.filter(|path| path.starts_with('/')) {
            let _ = cgroup::remove(Path::new(path), false, &id);
        }
        let _ = fs::remove_dir_all(root.join(&id));
        let _ = fs::remove_dir_all(&directory);
    })
}

/// What becomes the program. It takes from the document what it does itself, in place of libcontainer:
/// the capabilities, the limits and the filter. Who carries the filter's descriptor is returned, if anybody.
fn take_program(
    request: &Create,
    document: &mut Value,
) -> Result<(ExecutorBox, Option<Courier>), Error> {
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
    let (filter, courier) = Filter::of(document, &request.root, state)?.unzip();
    for (of, name) in [
        ("process", "capabilities"),
        ("process", "rlimits"),
        ("linux", "seccomp"),
    ] {
        if let Some(object) = document.get_mut(of).and_then(Value::as_object_mut) {
            object.remove(name);
        }
    }
    let program = Program {
        process,
        filter,
        mask: request.mask,
        preserve_fds: request.preserve_fds,
        keeps_keyring: request.no_new_keyring,
        has_late_hooks: has_hooks(document, "startContainer"),
    };
    Ok((ExecutorBox::new(program), courier.flatten()))
}

fn prepare_and_build(
    request: Create,
    mut document: Value,
    prepared: &Prepared,
    own: Option<&Own>,
) -> Result<(), Error> {
    give_home(&mut document);
    leftovers::remove(&document);
    let _user_namespace = prepare_ground(&mut document, own)?;
    write_config(&shadow(&request.root, &request.id), &document)?;
    build(request, prepared)
}

/// Makes what libcontainer cannot. The returned user namespace has to live until the container does.
fn prepare_ground(document: &mut Value, own: Option<&Own>) -> Result<Option<OwnedFd>, Error> {
    userns::enter_if_ordinary(document)?;
    shed_groups(document);
    if let Some(own) = own {
        own.bind_mounts(document);
        document["linux"]["cgroupsPath"] = own.decoy().into();
        if let Some(linux) = document["linux"].as_object_mut() {
            linux.remove("resources");
        }
    }
    let is_closed = own.is_none() && cgroup::is_old_and_closed();
    if is_closed {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|errno| Error::system("create a mount namespace", errno))?;
        cgroup::cover_cgroups()?;
        cgroup::bind_what_covers(document);
    }
    stage(document, is_closed)?;
    userns::make(document)
}

/// The caller's groups are not the container's; libcontainer replaces them only by others.
fn shed_groups(document: &Value) {
    let keep = document.pointer("/annotations/run.oci.keep_original_groups");
    if keep.is_none() {
        // Refused in a user namespace that an ordinary user made.
        let _ = setgroups(&[]);
    }
}

/// Where the caller wants to be told of the first process. libcontainer would follow a link at the file's place.
struct Told {
    pid_file: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
}

/// What is left to do once the first process waits for its start.
fn finish(
    container: &Container,
    prepared: &Prepared,
    is_filtered: bool,
    told: &Told,
) -> Result<(), Error> {
    let Some(pid) = container.pid() else {
        return Ok(());
    };
    if let Some(rules) = prepared.devices.as_ref().filter(|_| !is_filtered) {
        cgroup::filter_devices(pid, rules)?;
    }
    if let Some(path) = &told.pid_file {
        write_pid(path, pid)?;
    }
    if let Some(path) = &told.pidfd_socket {
        send_pidfd(path, &open_process(pid)?)?;
    }
    Ok(())
}

/// What went wrong, without the names of the steps in libcontainer that it came through.
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
        |error: &(dyn std::error::Error + 'static)| Error::Create(reason(&sys::one_line(error)));
    let executor = request.executor.ok_or(Error::Missing)?;
    // libcontainer takes a console socket only from who leaves the container alone.
    if prepared.terminal && request.console_socket.is_none() {
        return Err(Error::Refused(
            "process.terminal needs a console socket".to_owned(),
        ));
    }
    if !prepared.terminal && request.console_socket.is_some() {
        return Err(Error::Refused(
            "a console socket needs process.terminal".to_owned(),
        ));
    }
    ContainerBuilder::new(request.id, SyscallType::default())
        .with_executor(executor)
        .with_root_path(request.root)
        .map_err(|error| failed(&error))?
        .with_console_socket(request.console_socket)
        .with_preserved_fds(request.preserve_fds)
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
