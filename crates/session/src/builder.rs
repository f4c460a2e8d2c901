//! The builder: the process that makes the session, and then monitors it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Create, Executor, Spec};
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
use crate::instance::{self, Start};
use crate::layers::Claim;
use crate::monitor::{self, Monitor, use_all_processors};
use crate::name::Name;
use crate::observer::Member;
use crate::process::{self, detach_stdio, ignore_signals};
use crate::spec::Note;
use crate::stopped::Children;
use crate::{
    Error, SessionSpec, cgroup, connections, image_mount, mounts, name, peer, protocol, userns,
};

/// The container's name in the engine's state, which is inside the session and visible to nobody.
const CONTAINER: &str = "session";

/// Time that one rank has to report a failure before the others are told.
const HEAD_START: Duration = Duration::from_millis(100);

/// Builds the session, hands it over and monitors it. Returns when the process should end. Other
/// callers wait at `open`, if they may join.
pub(crate) fn run(
    session: &SessionSpec<'_>,
    socket: OwnedFd,
    caller: OwnedFd,
    mut open: Option<name::Open>,
) {
    let began = Instant::now();
    // The caller becomes the payload, and must not be mistaken for a monitor then.
    open.iter().for_each(name::Open::listen_as_own);
    // Leaves the caller's terminal and process group: signals sent there are for the payload.
    let _ = setsid();
    ignore_signals();
    use_all_processors();
    sys::close_inherited();
    if !session.verbose {
        detach_stdio();
    }
    let _ = std::env::set_current_dir("/");
    let _ = nix::sys::prctl::set_name(c"front: builder");
    let built = match build(session, &socket, &caller, &mut open) {
        Ok(built) => built,
        Err(error) => {
            protocol::send_failure(&socket, &text::one_line(&error));
            drop(socket);
            // The rank that reports the failure must have time to do so before the others end their
            // job.
            std::thread::sleep(HEAD_START);
            return connections::refuse(open, None);
        }
    };
    detach_stdio();
    let _ = nix::sys::prctl::set_name(peer::MONITOR);
    monitor::allow_many_members();
    keep(session, built, socket, caller, Beginning { open, began });
}

/// The beginning of a session: the socket at which other callers wait, and the time.
struct Beginning {
    open: Option<name::Open>,
    began: Instant,
}

/// Hands the session over to its first caller, and keeps it as long as it is needed.
fn keep(
    session: &SessionSpec<'_>,
    built: Built,
    socket: OwnedFd,
    caller: OwnedFd,
    Beginning { open, began }: Beginning,
) {
    let Built {
        namespaces,
        taken,
        init,
        servers,
        stand,
        claim,
    } = built;
    let taken = taken.and_then(name::open);
    let has_own_processes = session.has_own_processes();
    if !has_own_processes {
        // This process was only needed to make the session. It can be looked into, so it has to be
        // gone before anybody enters.
        end_init(init);
    }
    if protocol::send_ready(&socket, 0, &namespaces, "").is_err() {
        // The caller was told, or is gone. There is nobody to keep the session for.
        if has_own_processes {
            end_init(init);
        }
        return drop(stand);
    }
    // Received only now: a process that was made before would hold the descriptor in it, too.
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
            servers.as_ref(),
        );
        return drop(stand);
    }
    let is_shared = open.is_some();
    let connections = Connections::new(open);
    if !has_own_processes {
        drop(stand);
        return Monitor::new(session, namespaces, connections, servers, claim, began).keep(caller);
    }
    // The container's first process belongs to the members, and ends with them.
    match is_shared {
        true => Monitor::new(session, namespaces, connections, servers, claim, began).keep(caller),
        false => monitor::wait(&caller.process, servers.as_ref()),
    }
    end_init(init);
    drop(stand);
}

/// A finished session.
struct Built {
    /// The namespaces, in the order in which they must be entered.
    namespaces: Vec<File>,
    /// The socket with an instance's name.
    taken: Option<OwnedFd>,
    init: Pid,
    /// The servers of images.
    servers: Option<Children>,
    stand: Stand,
    /// The right to write to a directory that keeps changes.
    claim: Option<Claim>,
}

fn build(
    session: &SessionSpec<'_>,
    socket: &OwnedFd,
    caller: &OwnedFd,
    open: &mut Option<name::Open>,
) -> Result<Built, Error> {
    let layout = session.layout;
    let privileged = userns::is_real_root();
    let mut note = |note: Note| protocol::send_note(socket, &note.to_string());
    // Names contain the user's number, which is another one inside.
    let name = session
        .instance
        .map(|instance| Name::instance(&instance.name));
    if !privileged {
        userns::enter_user_namespace(session.users, &mut note)?;
    }
    let mut servers = Vec::new();
    for image in session.images() {
        servers.push(match image {
            // The servers are started before the mount namespace is made, so that they do not hold
            // it.
            RootFs::Squashfs(squashed) if !privileged => Server::start(squashed, open)?,
            _ => None,
        });
    }
    let processes = servers.iter().flatten().map(Server::process);
    let processes = processes.collect::<Result<Vec<_>, _>>()?;
    let children = (!processes.is_empty()).then(|| Children::new(processes));
    let children = children.transpose().map_err(Error::Fork)?;
    // The name is taken before anything is made, so that there is only one instance of that name.
    // It is taken after the servers' start, because a server would hold it longer than the instance
    // lasts.
    let taken = match (session.instance, name) {
        (Some(instance), Some(name)) => Some(take(&instance.name, name)?),
        _ => None,
    };
    enter_mount_namespace()?;
    image_mount::lay_out(layout)?;
    let claim = image_mount::mount_images(session, servers, &mut note)?;
    write_files(session)?;
    mounts::mount_all(
        &layout.root(),
        session.spec.mounts().as_deref().unwrap_or_default(),
        session.here.as_ref(),
    )?;
    // After the mounts, so that the container sees the host's cgroups.
    let stand = cgroup::mask(layout, privileged)?;
    let (init, namespaces) = create_container(session, caller, privileged)?;
    if session.contained && !privileged {
        forbid_cgroup_namespaces()?;
    }
    Ok(Built {
        namespaces,
        taken,
        init,
        servers: children,
        stand,
        claim,
    })
}

/// Forbids cgroup namespaces in the session's user namespace and in those below it. In a cgroup
/// namespace of their own, processes could mount the cgroups that were delegated to the user, and
/// freeze and kill processes outside.
fn forbid_cgroup_namespaces() -> Result<(), Error> {
    let path = Path::new("/proc/sys/user/max_cgroup_namespaces");
    fs::write(path, "0").map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

fn take(called: &str, name: Option<Name>) -> Result<OwnedFd, Error> {
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

/// Opens the session's namespaces. The user namespace comes first, because it gives the right to
/// enter the others. Real root has none of its own.
fn namespaces(init: Pid, privileged: bool, spec: &Spec) -> Result<Vec<File>, Error> {
    let init = init.to_string();
    let user = (!privileged).then(|| open_namespace("self", "user"));
    let has = |kind| has_namespace(spec, kind);
    let others = [
        (LinuxNamespaceType::Mount, "mnt"),
        (LinuxNamespaceType::Ipc, "ipc"),
        (LinuxNamespaceType::Network, "net"),
        (LinuxNamespaceType::Uts, "uts"),
        (LinuxNamespaceType::Pid, "pid"),
    ];
    let others = others.into_iter().filter(|(kind, _)| has(*kind));
    let others = others.map(|(_, name)| open_namespace(&init, name));
    user.into_iter().chain(others).collect()
}

fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let linux = spec.linux().as_ref();
    let kinds = linux.and_then(|linux| linux.namespaces().as_ref());
    kinds.is_some_and(|kinds| kinds.iter().any(|own| own.typ() == kind))
}

fn enter_mount_namespace() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Error::MountNamespace(errno.into()))?;
    // As with Apptainer's `mount slave = yes`: later mounts of the host appear here, and ours do
    // not appear on the host.
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
        // The placeholder stays where it is. The payload goes to the directory itself, and reports
        // why it cannot.
        process.set_cwd("/".into());
    }
    let config = serde_json::to_vec(&staged).map_err(|error| Error::Engine(error.to_string()))?;
    write(session.layout.bundle().join("config.json"), &config)
}

/// Has the engine make the container, and opens its namespaces. The container's first process waits
/// for its start and never runs: the caller takes its place. The first process of an instance
/// starts the instance's program.
fn create_container(
    session: &SessionSpec<'_>,
    caller: &OwnedFd,
    privileged: bool,
) -> Result<(Pid, Vec<File>), Error> {
    let layout = session.layout;
    let failed = |error: engine::Error| Error::Engine(text::one_line(&error));
    let (report, theirs) = protocol::pair().map_err(Error::Fork)?;
    let placeholder = Placeholder {
        builder: Arc::new(process::open_own().map_err(Error::Fork)?),
        first: session.has_own_processes().then(|| {
            let start = session.instance.and_then(|instance| instance.start.clone());
            (start, Arc::new(theirs))
        }),
    };
    let mut container = engine::create(Create {
        executor: Some(Box::new(placeholder)),
        ..Create::new(CONTAINER, layout.state(), layout.bundle())
    })
    .map_err(failed)?;
    let init = container
        .pid()
        .ok_or_else(|| Error::Engine("the container has no process".to_owned()))?;
    let finished = namespaces(init, privileged, session.spec).and_then(|namespaces| {
        if session.has_own_processes() {
            container.start().map_err(failed)?;
            // The other end of the socket was closed with the executor, so this returns when the
            // process ends. The scripts of the image run before the report, for as long as they
            // like, and their caller may be killed meanwhile.
            if !process::is_readable_before_end(&report, caller) {
                return Err(Error::Builder("the caller has ended".to_owned()));
            }
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

/// The executor of the container's first process. It executes no program: it keeps the process
/// waiting, or makes it the first of the container's own processes.
#[derive(Debug, Clone)]
struct Placeholder {
    builder: Arc<OwnedFd>,
    /// The program to start and the socket for its report, if this is the first of the container's
    /// own processes.
    first: Option<(Option<Start>, Arc<OwnedFd>)>,
}

impl Executor for Placeholder {
    fn prepare(&self) -> Result<(), String> {
        // The builder must be able to open this process's namespace, and this process must not
        // outlive a builder that was killed.
        let _ = nix::sys::prctl::set_dumpable(true);
        process::end_with(&self.builder).map_err(|_| "the session's builder has ended".to_owned())
    }

    fn execute(&self) -> ! {
        let Some((start, report)) = &self.first else {
            loop {
                std::thread::park();
            }
        };
        instance::init::run(start.as_ref(), report);
        sys::exit_at_once(0)
    }
}
