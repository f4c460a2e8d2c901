//! Restoring a container's processes.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;

use libcontainer::config::YoukiConfig;
use libcontainer::container::{Container as Inner, ContainerStatus};
use libcontainer::oci_spec::runtime::Spec;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::Deserialize;

use super::criu::Criu;
use super::{CriuOptions, DESCRIPTORS, EXTERNAL, outside};
use crate::claims::{Claims, Maker};
use crate::create::check;
use crate::descendants::{children, kill_tree};
use crate::endings::Endings;
use crate::pidfd::open_process;
use crate::shadow_bundle::{Prepared, make_private, make_shadow, scratch, shadow, write_pid};
use crate::supervise::Supervisor;
use crate::workers::LOOK;
use crate::{Container, Create, Document, Error, Foreground, cgroup};

/// The parameters of a restore.
#[derive(Debug)]
pub struct Restore {
    /// The container.
    pub container: Create,
    /// CRIU's options.
    pub options: CriuOptions,
    /// The LSM's profile, `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// The LSM's context of mounts that have one.
    pub lsm_mount_context: Option<String>,
}

/// Restores a saved container's processes and returns its exit code as [`run`](crate::run) does.
/// The hooks of the specification are not run. The calling process must be single-threaded.
///
/// # Errors
///
/// Fails when the bundle is invalid, or CRIU cannot restore the container. Nothing is left then.
pub fn restore(mut request: Restore, mode: Foreground) -> Result<u8, Error> {
    let prepared = check(&mut request.container)?;
    if prepared.document.has_terminal() {
        return Err(Error::Criu(
            "a container with a terminal cannot be restored".to_owned(),
        ));
    }
    let supervisor = match mode {
        Foreground::Detached => None,
        Foreground::Attached { .. } => Some(Supervisor::begin()?),
    };
    let container = bring_back(&request, &prepared)?;
    let (Foreground::Attached { keep }, Some(supervisor)) = (mode, supervisor) else {
        return Ok(0);
    };
    let pid = container.pid().ok_or(Error::Missing)?;
    let code = supervisor.wait(pid, &open_process(pid)?, None)?;
    if !keep {
        container.remove_ended()?;
    }
    Ok(code)
}

fn bring_back(request: &Restore, prepared: &Prepared) -> Result<Container, Error> {
    let Create { id, root, .. } = &request.container;
    let images = &request.options.images;
    if !images.is_dir() {
        return Err(Error::state("open", images)(
            std::io::ErrorKind::NotFound.into(),
        ));
    }
    let maker = Maker::this(None)?;
    let path = prepared.document.cgroup();
    let path = path.filter(|path| path.starts_with('/'));
    let path = path.filter(|_| !request.container.systemd_cgroup);
    let mut claims = Claims::take(root, id, path, &maker)?;
    // From here on, a signal that asks us to end undoes everything.
    let endings = Endings::hold_back()?;
    let revived =
        revive(request, prepared, &endings).and_then(|container| claims.keep().map(|()| container));
    revived.inspect_err(|_| {
        let _ = Container::load_new(root, id).and_then(Container::abandon);
        for left in [root.join(id), shadow(root, id), scratch(root, "criu", id)] {
            let _ = fs::remove_dir_all(left);
        }
    })
}

/// Has CRIU restore the processes, and writes the state. The caller has claimed the container's id
/// and cgroup.
fn revive(request: &Restore, prepared: &Prepared, endings: &Endings) -> Result<Container, Error> {
    let Create { id, root, .. } = &request.container;
    let images = &request.options.images;
    make_shadow(&shadow(root, id), &prepared.document)?;
    let place = scratch(root, "criu", id);
    let rootfs = place.join("root");
    make_private(&rootfs)?;
    let pid_file = place.join("pid");
    let mut criu = Criu::new("restore", &request.options)?;
    let command = &mut criu.command;
    // The restored process becomes our child, so that we can wait for it.
    command.args(["--restore-detached", "--restore-sibling"]);
    command
        .arg("--root")
        .arg(&rootfs)
        .arg("--pidfile")
        .arg(&pid_file);
    for (destination, source) in outside(&prepared.document) {
        command.args(["--external", &format!("mnt[{destination}]:{source}")]);
    }
    for (number, key) in inherited_streams(images) {
        command.args(["--inherit-fd", &format!("fd[{number}]:{key}")]);
    }
    let namespaces = open_namespaces(&prepared.document)?;
    for (namespace, key) in &namespaces {
        command.args([
            "--inherit-fd",
            &format!("fd[{}]:{key}", namespace.as_raw_fd()),
        ]);
    }
    if let Some(profile) = &request.lsm_profile {
        command.args(["--lsm-profile", profile]);
    }
    if let Some(context) = &request.lsm_mount_context {
        command.args(["--lsm-mount-context", context]);
    }
    let source = prepared.document.root_path().unwrap_or("/");
    run(criu, Path::new(source), &rootfs, endings)?;
    drop(namespaces);
    let pid = fs::read_to_string(&pid_file).map_err(Error::state("read", &pid_file))?;
    let pid = pid.trim().parse().map(Pid::from_raw);
    let pid = pid.map_err(|_| Error::Criu("it gave no process id".to_owned()))?;
    let _ = fs::remove_dir_all(&place);
    let completed =
        complete(request, prepared, pid).and_then(|container| endings.check().map(|()| container));
    completed.inspect_err(|_| {
        let _ = sys::kill(pid, nix::libc::SIGKILL);
    })
}

/// Returns the standard streams that were pipes. Ours take their place.
fn inherited_streams(images: &Path) -> Vec<(usize, String)> {
    let text = fs::read(images.join(DESCRIPTORS)).unwrap_or_default();
    let streams: Vec<String> = serde_json::from_slice(&text).unwrap_or_default();
    let streams = streams.into_iter().take(3).enumerate();
    streams
        .filter(|(_, name)| name.starts_with("pipe:"))
        .collect()
}

/// Opens the namespaces that the specification has the container join, for CRIU to inherit.
fn open_namespaces(document: &Document) -> Result<Vec<(OwnedFd, &'static str)>, Error> {
    let mut opened = Vec::new();
    for (kind, _, key) in EXTERNAL {
        if let Some(path) = document.joined_namespace(kind) {
            let namespace = fs::File::open(path).map_err(Error::state("open", path))?;
            rustix::io::fcntl_setfd(&namespace, rustix::io::FdFlags::empty())
                .map_err(|errno| Error::system("hand on a namespace", errno))?;
            opened.push((namespace.into(), key));
        }
    }
    Ok(opened)
}

/// Runs CRIU in a mount namespace of its own in which the container's root is a mount, as CRIU
/// requires.
fn run(mut criu: Criu, source: &Path, rootfs: &Path, endings: &Endings) -> Result<(), Error> {
    const UNMOUNTED: i32 = 101;
    const UNSTARTED: i32 = 102;
    let failed = |source: std::io::Error| Error::system("wait for criu", source);
    let restorer = Pid::this();
    let before = children();
    let child = match sys::fork().map_err(|errno| Error::system("fork", errno))? {
        sys::Fork::Parent(pid) => pid,
        sys::Fork::Child => {
            endings.let_through();
            // Ends with us, also if we have ended just now.
            let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
            if Pid::parent() != restorer {
                sys::exit_at_once(UNSTARTED);
            }
            let none = None::<&Path>;
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            let mounted = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(none, "/", none, private, none))
                .and_then(|()| mount(Some(source), rootfs, none, bind, none));
            if mounted.is_err() {
                sys::exit_at_once(UNMOUNTED);
            }
            sys::reset_signals();
            let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
            let _ = criu.command.exec();
            sys::exit_at_once(UNSTARTED)
        }
    };
    let asked = open_process(child)
        .and_then(|process| endings.wait_for(&process, LOOK, || Ok(())).map_err(failed));
    if !matches!(asked, Ok(None)) {
        // CRIU's own children are the processes that it restores.
        let own = children()
            .into_iter()
            .filter(|child| !before.contains(child));
        own.for_each(kill_tree);
    }
    let ended = waitpid(child, None);
    if let Some(signal) = asked? {
        return Err(Error::Interrupted(signal.as_str()));
    }
    match ended {
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        Ok(WaitStatus::Exited(_, UNMOUNTED)) => Err(Error::system(
            "mount the container's root for criu",
            std::io::ErrorKind::PermissionDenied,
        )),
        Ok(WaitStatus::Exited(_, UNSTARTED)) => {
            Err(criu.missing(std::io::ErrorKind::NotFound.into()))
        }
        _ => Err(criu.failure()),
    }
}

/// Writes the state of the restored container and sets its limits.
fn complete(request: &Restore, prepared: &Prepared, pid: Pid) -> Result<Container, Error> {
    let Create {
        id, root, bundle, ..
    } = &request.container;
    let state = root.join(id);
    make_private(&state)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::library("write the container's state", error)
    };
    let spec = Spec::deserialize(&*prepared.document).map_err(|e| failed(&e))?;
    let mut inner = Inner::new(id, ContainerStatus::Creating, None, bundle, &state)
        .map_err(|error| failed(&error))?;
    inner
        .set_status(ContainerStatus::Created)
        .set_status(ContainerStatus::Running)
        .set_pid(pid.as_raw())
        .set_creator(nix::unistd::geteuid().as_raw())
        .set_systemd(request.container.systemd_cgroup)
        .set_annotations(spec.annotations().clone());
    inner.save().map_err(|error| failed(&error))?;
    let config = YoukiConfig::from_spec(&spec, id).map_err(|error| failed(&error))?;
    config.save(&state).map_err(|error| failed(&error))?;
    let mut container = Container::load(root, id)?;
    container.write_begin()?;
    container.set_cgroup(prepared)?;
    container.limit(prepared)?;
    if let Some(rules) = prepared.document.devices() {
        cgroup::filter_devices(pid, rules)?;
    }
    if let Some(path) = &request.container.pid_file {
        write_pid(path, pid)?;
    }
    Ok(container)
}
