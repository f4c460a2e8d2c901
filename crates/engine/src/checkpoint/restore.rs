//! Bringing back.

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
use serde_json::Value;

use super::criu::Criu;
use super::{CriuOptions, DESCRIPTORS, EXTERNAL, joined, outside};
use crate::create::check;
use crate::pidfd::open_process;
use crate::shadow_bundle::{Prepared, make_private, make_shadow, scratch, shadow, write_pid};
use crate::supervise::Attendance;
use crate::{Container, Create, Error, Foreground, cgroup};

/// What is brought back, and how.
#[derive(Debug)]
pub struct Restore {
    /// The container.
    pub container: Create,
    /// What CRIU is told.
    pub options: CriuOptions,
    /// The LSM's profile, `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// The context of mounts that have one.
    pub lsm_mount_context: Option<String>,
}

/// Brings a saved container's processes back; returns its exit code as [`run`](crate::run) does. The
/// hooks of the specification are not run. The calling process must be single-threaded.
///
/// # Errors
///
/// Fails when the bundle is not sound, or CRIU cannot bring back what it has saved; nothing is left
/// then.
pub fn restore(mut request: Restore, mode: Foreground) -> Result<u8, Error> {
    let prepared = check(&mut request.container)?;
    if prepared.terminal {
        return Err(Error::Criu(
            "a container with a terminal cannot be restored".to_owned(),
        ));
    }
    let (root, id) = (request.container.root.clone(), request.container.id.clone());
    let attendance = match mode {
        Foreground::Detached => None,
        Foreground::Attached { .. } => Some(Attendance::begin()?),
    };
    let container = bring_back(&request, &prepared).inspect_err(|_| {
        for left in [
            root.join(&id),
            shadow(&root, &id),
            scratch(&root, "criu", &id),
        ] {
            let _ = fs::remove_dir_all(left);
        }
    })?;
    let (Foreground::Attached { keep }, Some(attendance)) = (mode, attendance) else {
        return Ok(0);
    };
    let pid = container.pid().ok_or(Error::Missing)?;
    let code = attendance.wait(pid, &open_process(pid)?, None)?;
    if !keep {
        Container::load(&root, &id)?.delete(true)?;
    }
    Ok(code)
}

fn bring_back(request: &Restore, prepared: &Prepared) -> Result<Container, Error> {
    let Create {
        id, root, bundle, ..
    } = &request.container;
    let images = &request.options.images;
    if !images.is_dir() {
        return Err(Error::state("open", images)(
            std::io::ErrorKind::NotFound.into(),
        ));
    }
    make_shadow(&shadow(root, id), bundle, &prepared.document)?;
    let place = scratch(root, "criu", id);
    let rootfs = place.join("root");
    make_private(&rootfs)?;
    let pid_file = place.join("pid");
    let mut criu = Criu::new("restore", &request.options)?;
    let command = &mut criu.command;
    // As our child, that we can wait for it.
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
    let source = prepared.document["root"]["path"].as_str().unwrap_or("/");
    run(criu, Path::new(source), &rootfs)?;
    drop(namespaces);
    let pid = fs::read_to_string(&pid_file).map_err(Error::state("read", &pid_file))?;
    let pid = pid.trim().parse().map(Pid::from_raw);
    let pid = pid.map_err(|_| Error::Criu("it gave no process id".to_owned()))?;
    let _ = fs::remove_dir_all(&place);
    let settled = settle(request, prepared, pid);
    settled.inspect_err(|_| {
        let _ = sys::kill(pid, nix::libc::SIGKILL);
    })
}

/// Where the standard streams were pipes, ours take their place.
fn inherited_streams(images: &Path) -> Vec<(usize, String)> {
    let text = fs::read(images.join(DESCRIPTORS)).unwrap_or_default();
    let streams: Vec<String> = serde_json::from_slice(&text).unwrap_or_default();
    let streams = streams.into_iter().take(3).enumerate();
    streams
        .filter(|(_, name)| name.starts_with("pipe:"))
        .collect()
}

/// The namespaces that the specification has the container join, for CRIU to inherit.
fn open_namespaces(document: &Value) -> Result<Vec<(OwnedFd, &'static str)>, Error> {
    let mut opened = Vec::new();
    for (kind, _, key) in EXTERNAL {
        if let Some(path) = joined(document, kind) {
            let namespace = fs::File::open(path).map_err(Error::state("open", path))?;
            rustix::io::fcntl_setfd(&namespace, rustix::io::FdFlags::empty())
                .map_err(|errno| Error::system("hand on a namespace", errno))?;
            opened.push((namespace.into(), key));
        }
    }
    Ok(opened)
}

/// Runs CRIU where the container's root is a mount, as it must be, and nobody else sees it.
fn run(mut criu: Criu, source: &Path, rootfs: &Path) -> Result<(), Error> {
    const UNMOUNTED: i32 = 101;
    const UNSTARTED: i32 = 102;
    let child = match sys::fork().map_err(|errno| Error::system("fork", errno))? {
        sys::Fork::Parent(pid) => pid,
        sys::Fork::Child => {
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
    match waitpid(child, None) {
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

/// Writes the state of the container that is there again, and limits it.
fn settle(request: &Restore, prepared: &Prepared, pid: Pid) -> Result<Container, Error> {
    let Create {
        id, root, bundle, ..
    } = &request.container;
    let state = root.join(id);
    make_private(&state)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::library("write the container's state", error)
    };
    let spec: Spec = serde_json::from_value(prepared.document.clone()).map_err(|e| failed(&e))?;
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
    YoukiConfig::from_spec(&spec, id)
        .and_then(|config| config.save(&state))
        .map_err(|error| failed(&error))?;
    let mut container = Container::load(root, id)?;
    container.write_begin()?;
    container.set_cgroup(prepared)?;
    container.limit(prepared)?;
    if let Some(rules) = &prepared.devices {
        cgroup::filter_devices(pid, rules)?;
    }
    if let Some(path) = &request.container.pid_file {
        write_pid(path, pid)?;
    }
    Ok(container)
}
