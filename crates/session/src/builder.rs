//! The process that makes the session, and then keeps it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{
    Create, Executor, ExecutorBox, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
    Spec,
};
use image::RootFs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};
use oci_spec::runtime::LinuxNamespaceType;

use crate::cgroup::Stand;
use crate::connections::Connections;
use crate::fuse::Server;
use crate::instance::Start;
use crate::monitor::{self, Monitor, use_all_processors};
use crate::name::Name;
use crate::observer::Member;
use crate::process::{detach_stdio, ignore_signals};
use crate::spec::Note;
use crate::stopped::Child;
use crate::{
    Error, SessionSpec, cgroup, connections, image_mount, init, mounts, name, peer, protocol,
    userns,
};

/// The container's name in the engine's state, which lies in the session and is seen by nobody.
const CONTAINER: &str = "session";

/// How long one rank may speak alone.
const HEAD_START: Duration = Duration::from_millis(100);

/// Builds the session, hands it over and keeps it. Returns when the process shall end. Others wait at
/// `open`, if they may join.
pub(crate) fn run(
    session: &SessionSpec<'_>,
    socket: OwnedFd,
    caller: OwnedFd,
    mut open: Option<name::Open>,
) {
    let began = Instant::now();
    // The caller becomes the payload, and nobody is to take it for a monitor then.
    open.iter().for_each(name::Open::listen_as_own);
    // Apart from the caller's terminal and process group: what is sent there is for the payload.
    let _ = setsid();
    ignore_signals();
    use_all_processors();
    sys::close_inherited();
    if !session.verbose {
        detach_stdio();
    }
    let _ = std::env::set_current_dir("/");
    let _ = nix::sys::prctl::set_name(c"front: builder");
    let built = match build(session, &socket, &mut open) {
        Ok(built) => built,
        Err(error) => {
            protocol::send_failure(&socket, &sys::one_line(&error));
            drop(socket);
            // Who says so must have its say before the others end their job.
            std::thread::sleep(HEAD_START);
            return connections::refuse(open, None);
        }
    };
    detach_stdio();
    let _ = nix::sys::prctl::set_name(peer::MONITOR);
    monitor::allow_many_members();
    let Built {
        namespaces,
        taken,
        init,
        server,
        stand,
    } = built;
    let taken = taken.and_then(name::open);
    let has_own_processes = session.has_own_processes();
    if !has_own_processes {
        // Only making it took this process, which can be looked into, and it is gone before anybody comes in.
        end_init(init);
    }
    if protocol::send_ready(&socket, 0, &namespaces, "").is_err() {
        // The caller was told, or is gone; there is nobody to keep it for.
        if has_own_processes {
            end_init(init);
        }
        return drop(stand);
    }
    // Not before now: whatever was made meanwhile would hold it, too.
    let introduction = session
        .observer
        .and_then(|_| protocol::receive_introduction(&socket, true).ok());
    drop(socket);
    let caller = match introduction {
        Some(introduction) => Member::known(caller, introduction),
        None => Member::unknown(caller),
    };
    if let Some(instance) = session.instance {
        drop(caller);
        let connections = Connections::new(taken);
        monitor::monitor_instance(
            &namespaces,
            connections,
            &instance.about,
            init,
            server.as_ref(),
        );
        return drop(stand);
    }
    let is_shared = open.is_some();
    let connections = Connections::new(open);
    if !has_own_processes {
        drop(stand);
        return Monitor::new(session, namespaces, connections, server, began).keep(caller);
    }
    // The first process is theirs, and ends with them.
    match is_shared {
        true => Monitor::new(session, namespaces, connections, server, began).keep(caller),
        false => monitor::wait(&caller.process, server.as_ref()),
    }
    end_init(init);
    drop(stand);
}

/// A finished session: what must be handed over.
struct Built {
    /// In the order in which they are to be entered.
    namespaces: Vec<File>,
    /// An instance's name.
    taken: Option<OwnedFd>,
    init: Pid,
    /// The image's server.
    server: Option<Child>,
    stand: Stand,
}

fn build(
    session: &SessionSpec<'_>,
    socket: &OwnedFd,
    open: &mut Option<name::Open>,
) -> Result<Built, Error> {
    let layout = session.layout;
    let privileged = userns::is_real_root();
    let server = if privileged {
        None
    } else {
        userns::enter_user_namespace()?;
        match session.root {
            // Before the mount namespace, so that the server does not hold it.
            RootFs::Squashfs(squashed) => Server::start(squashed, open)?,
            _ => None,
        }
    };
    let child = server.as_ref().map(Server::child).transpose()?;
    // Before anything is made, so that there is one of each; after the server, which would hold it
    // longer than the instance lasts.
    let taken = match session.instance {
        Some(instance) => Some(take(&instance.name)?),
        None => None,
    };
    enter_mount_namespace()?;
    image_mount::lay_out(layout)?;
    let mut note = |note: Note| protocol::send_note(socket, &note.to_string());
    image_mount::mount_image(
        layout,
        session.root,
        server,
        session.mount_points,
        session.cache,
        &mut note,
    )?;
    write_files(session)?;
    mounts::mount_all(
        &layout.root(),
        session.spec.mounts().as_deref().unwrap_or_default(),
    )?;
    // After the mounts, so that the container sees the host's cgroups.
    let stand = cgroup::cover(layout, privileged)?;
    let (init, namespaces) = create_container(session, privileged)?;
    if session.contained && !privileged {
        forbid_cgroup_namespaces()?;
    }
    Ok(Built {
        namespaces,
        taken,
        init,
        server: child,
        stand,
    })
}

/// Has nobody in the session's user namespace, and in those below it, make a cgroup namespace. In one of their own they
/// could mount the cgroups that were delegated to the user, and freeze and kill what is outside.
fn forbid_cgroup_namespaces() -> Result<(), Error> {
    let path = Path::new("/proc/sys/user/max_cgroup_namespaces");
    fs::write(path, "0").map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

fn take(called: &str) -> Result<OwnedFd, Error> {
    let name = Name::instance(called);
    if let Some(taken) = name.as_ref().and_then(Name::take) {
        return Ok(taken);
    }
    let end = Instant::now() + protocol::PATIENCE;
    let call = name.map(|name| name.call(protocol::Command::Look, end, end));
    let ours = matches!(call, Some(Ok(Some(call))) if call.next().is_ok());
    Err(match ours {
        true => Error::Taken(called.to_owned()),
        false => Error::Held(called.to_owned()),
    })
}

/// Opens the session's namespaces. The user namespace comes first: it gives the right to enter the
/// others. Real root has none of its own.
fn namespaces(init: Pid, privileged: bool, spec: &Spec) -> Result<Vec<File>, Error> {
    let init = init.to_string();
    let user = (!privileged).then(|| open_namespace("self", "user"));
    let linux = spec.linux().as_ref();
    let kinds = linux.and_then(|linux| linux.namespaces().as_ref());
    let has = |kind| kinds.is_some_and(|kinds| kinds.iter().any(|own| own.typ() == kind));
    let others = [
        (LinuxNamespaceType::Mount, "mnt"),
        (LinuxNamespaceType::Ipc, "ipc"),
        (LinuxNamespaceType::Pid, "pid"),
    ];
    let others = others.into_iter().filter(|(kind, _)| has(*kind));
    let others = others.map(|(_, name)| open_namespace(&init, name));
    user.into_iter().chain(others).collect()
}

fn enter_mount_namespace() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Error::MountNamespace(errno.into()))?;
    // As `mount slave = yes` of Apptainer: what the host mounts later appears, and nothing of ours
    // goes the other way.
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|errno| Error::MountNamespace(errno.into()))
}

fn write_files(session: &SessionSpec<'_>) -> Result<(), Error> {
    let write = |path: std::path::PathBuf, content: &[u8]| {
        fs::write(&path, content).map_err(|source| Error::Write { path, source })
    };
    for (name, content) in session.files {
        write(session.layout.files().join(name), content)?;
    }
    let mut staged = session.spec.clone();
    let mounts = session.spec.mounts().as_deref().unwrap_or_default();
    let left = mounts
        .iter()
        .filter(|mount| mounts::is_inits(mount, mounts));
    staged.set_mounts(Some(left.cloned().collect()));
    if let Some(process) = staged.process_mut() {
        // The placeholder stays where it is; the payload goes there itself, and says why it cannot.
        process.set_cwd("/".into());
    }
    let config = serde_json::to_vec(&staged).map_err(|error| Error::Engine(error.to_string()))?;
    write(session.layout.bundle().join("config.json"), &config)
}

/// Has the engine make the container, and opens its namespaces. Its first process stands at the start
/// line and never runs: the caller takes its place. An instance's starts its program.
fn create_container(
    session: &SessionSpec<'_>,
    privileged: bool,
) -> Result<(Pid, Vec<File>), Error> {
    let layout = session.layout;
    let failed = |error: engine::Error| Error::Engine(sys::one_line(&error));
    let (report, theirs) = protocol::pair().map_err(Error::Fork)?;
    let placeholder = Placeholder {
        builder: Pid::this(),
        first: session.has_own_processes().then(|| {
            let start = session.instance.and_then(|instance| instance.start.clone());
            (start, Arc::new(theirs))
        }),
    };
    let mut container = engine::create(Create {
        executor: Some(ExecutorBox::new(placeholder)),
        ..Create::new(CONTAINER, layout.state(), layout.bundle())
    })
    .map_err(failed)?;
    let init = container
        .pid()
        .ok_or_else(|| Error::Engine("the container has no process".to_owned()))?;
    // libcontainer makes the builder undumpable, which closes its own /proc files to it.
    let _ = nix::sys::prctl::set_dumpable(true);
    let finished = namespaces(init, privileged, session.spec).and_then(|namespaces| {
        if session.has_own_processes() {
            container.start().map_err(failed)?;
            // Its end of the socket went with the executor; so this ends when the process does.
            let said = protocol::receive(&report).map_err(Error::Protocol)?;
            if let protocol::Message::Failed(text) = said {
                return Err(Error::Builder(text));
            }
        }
        Ok((init, namespaces))
    });
    if finished.is_err() {
        end_init(init);
    }
    finished
}

fn end_init(init: Pid) {
    let _ = kill(init, Signal::SIGKILL);
    let _ = waitpid(init, None);
}

fn open_namespace(process: &str, name: &'static str) -> Result<File, Error> {
    let open = || -> io::Result<File> { File::open(format!("/proc/{process}/ns/{name}")) };
    open().map_err(|source| Error::Namespace { what: name, source })
}

/// Executes nothing: keeps the container's first process at the start line, or makes it the first of its
/// own processes.
#[derive(Debug, Clone)]
struct Placeholder {
    builder: Pid,
    /// What it starts, and where that is reported, if it is the first of the container's own processes.
    first: Option<(Option<Start>, Arc<OwnedFd>)>,
}

impl Executor for Placeholder {
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        // The builder must be able to open this process's namespace, and this process must not
        // outlive a builder that was killed.
        let _ = nix::sys::prctl::set_dumpable(true);
        let _ = nix::sys::prctl::set_pdeathsig(Some(Signal::SIGKILL));
        if Pid::parent() != self.builder && Pid::parent() != Pid::from_raw(0) {
            return Err(ExecutorValidationError::ArgValidationError(
                "the session's builder is gone".to_owned(),
            ));
        }
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        let Some((start, report)) = &self.first else {
            loop {
                std::thread::park();
            }
        };
        init::run(start.as_ref(), report);
        sys::exit_at_once(0)
    }
}
