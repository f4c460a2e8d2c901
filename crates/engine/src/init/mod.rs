//! Making a container's first process.
//!
//! The runtime's process makes it, in new user and PID namespaces if there are any; a process goes
//! between where existing namespaces are joined. The first process waits until it has its ids and is
//! in its cgroup. Then it makes the other namespaces, the mounts, and its root. Whatever needs the
//! runtime's rights it asks for through a channel: hooks, clocks, network devices, and the sources of
//! mounts. At last it waits for the start, and becomes the program.

mod channel;
mod first;
mod namespaces;
mod network;
mod settings;
mod sources;

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libcontainer::notify_socket::NotifyListener;
use mounts::{ChangeOfRoot, Device, Mount};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use sys::Fork;

use crate::cgroup::OpenCgroup;
use crate::process::Executor;
use crate::{Create, Document, Error, State, Status, hooks};
use channel::{Channel, Message};
use namespaces::Namespaces;

/// The data from which a first process is made.
pub(crate) struct Plan<'a> {
    pub(crate) document: &'a Document,
    /// The container's state, as hooks get it but for the first process.
    pub(crate) state: State,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Vec<Device>,
    pub(crate) change: ChangeOfRoot,
    pub(crate) executor: &'a dyn Executor,
    pub(crate) hook_start: hooks::Start,
    /// Whether the runtime is root in the first user namespace.
    pub(crate) is_host_root: bool,
    /// The socket to which the terminal's master is sent.
    pub(crate) console: Option<OwnedFd>,
    pub(crate) listener: NotifyListener,
    /// Number of descriptors, from 3 up, that are kept.
    pub(crate) preserve_fds: i32,
}

impl<'a> Plan<'a> {
    /// Reads a document that was checked.
    pub(crate) fn new(
        request: &'a Create,
        document: &'a Document,
        executor: &'a dyn Executor,
        hook_start: hooks::Start,
        listener: NotifyListener,
    ) -> Result<Self, Error> {
        let root = Path::new(document.root_path().unwrap_or_default());
        let mounts = document
            .mounts()
            .map(|mount| Ok(Mount::parse(mount)?.inside(root)));
        let mounts = mounts
            .collect::<Result<_, String>>()
            .map_err(Error::Refused)?;
        let devices = Device::parse_all(&document["linux"]["devices"]).map_err(Error::Refused)?;
        let console = match &request.console_socket {
            Some(path) => {
                let socket = sys::connect(path).map_err(Error::state("connect to", path))?;
                Some(socket.into())
            }
            None => None,
        };
        let annotations = document.get("annotations").and_then(Value::as_object);
        let annotations = annotations.into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            document,
            state: State {
                oci_version: text(&document["ociVersion"]),
                id: request.id.clone(),
                pid: 0,
                status: Status::Creating,
                bundle: request.bundle.clone(),
                rootfs: document.root_path().unwrap_or_default().into(),
                created: String::new(),
                annotations: annotations
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect(),
                owner: String::new(),
            },
            mounts,
            devices,
            change: match document.makes_namespace("mount") {
                false => ChangeOfRoot::Chroot,
                true if request.no_pivot => ChangeOfRoot::Move,
                true => ChangeOfRoot::Pivot,
            },
            executor,
            hook_start,
            is_host_root: sys::in_first_user_namespace() && nix::unistd::geteuid().is_root(),
            console,
            listener,
            preserve_fds: request.preserve_fds.cast_signed(),
        })
    }

    /// Returns the container's state for hooks.
    pub(crate) fn state_with(&self, init: Pid) -> State {
        State {
            pid: init.as_raw(),
            ..self.state.clone()
        }
    }
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("id", &self.state.id)
            .finish_non_exhaustive()
    }
}

/// The work of the runtime's while the first process is made.
pub(crate) trait Runtime {
    /// Puts the process into its cgroups of which it was not born.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be there.
    fn place(&self, init: Pid) -> Result<(), Error>;

    /// Runs the hooks of the runtime's namespaces.
    ///
    /// # Errors
    ///
    /// Fails when a hook fails.
    fn run_hooks(&self, state: &State) -> Result<(), Error>;
}

/// Makes the first process, up to its wait for the start, in `cgroup` if that is the directory of a
/// cgroup of version 2. Returns its number. The calling process must be single-threaded.
///
/// # Errors
///
/// Fails when the container cannot be made as requested. The first process has ended then, or ends
/// since nobody talks to it any more.
pub(crate) fn make(
    plan: &Plan<'_>,
    runtime: &dyn Runtime,
    cgroup: Option<OpenCgroup>,
) -> Result<Pid, Error> {
    let failed = |source: io::Error| Error::system("start the container's first process", source);
    let namespaces = Namespaces::of(plan.document)?;
    let (ours, theirs) = Channel::pair().map_err(failed)?;
    let maps_owners = plan
        .mounts
        .iter()
        .any(|mount| mount.maps_owners().is_some());
    let (served, asks) = match namespaces.has_users() || maps_owners {
        true => Channel::pair()
            .map_err(failed)
            .map(|(a, b)| (Some(a), Some(b)))?,
        false => (None, None),
    };
    if namespaces.maps.is_some() || namespaces.makes_time() {
        refuse_foreign_proc()?;
    }
    if plan.is_host_root && (namespaces.has_users() || maps_owners) {
        // Root of the host's who has no other rights could look into a process in a user namespace of
        // root's, which has the host's root directory for a moment. It inherits this.
        let _ = nix::sys::prctl::set_dumpable(false);
    }
    let place = cgroup.as_ref().map(AsFd::as_fd);
    let birth = |sibling| sys::fork_into(namespaces.of_birth(), sibling, place);
    let born = match namespaces.joins() {
        true => sys::fork_at(false, None),
        false => birth(false),
    };
    let child = match born.map_err(|errno| failed(errno.into()))? {
        Fork::Parent(child) => child,
        Fork::Child => {
            drop((ours, served));
            if namespaces.joins() {
                go_between(&namespaces, &theirs, birth);
            }
            drop(cgroup);
            first::run(plan, &namespaces, &theirs, asks)
        }
    };
    drop((theirs, asks));
    let mut making = Making {
        plan,
        namespaces: &namespaces,
        runtime,
        channel: ours,
    };
    making.complete(child, served)
}

/// Refuses a `/proc` of another PID namespace: a number would name another process there.
fn refuse_foreign_proc() -> Result<(), Error> {
    let own = fs::read_link("/proc/self").map_err(Error::state("read", "/proc/self"))?;
    match own.to_str() == Some(&std::process::id().to_string()) {
        true => Ok(()),
        false => Err(Error::Create(
            "/proc belongs to another PID namespace; mount one of this namespace".to_owned(),
        )),
    }
}

/// Joins the existing namespaces, and makes the first process as a child of the runtime's. Returns in
/// the first process only.
fn go_between(
    namespaces: &Namespaces,
    channel: &Channel,
    birth: impl FnOnce(bool) -> nix::Result<Fork>,
) {
    // Processes of the container may be able to look into this one.
    let _ = nix::sys::prctl::set_dumpable(false);
    let born = namespaces.join().and_then(|()| {
        birth(true).map_err(|errno| format!("fork: {}", text::message(&errno.into())))
    });
    let message = match born {
        Ok(Fork::Child) => return,
        Ok(Fork::Parent(pid)) => Message::Born(pid.as_raw()),
        Err(error) => Message::Failed(error),
    };
    let _ = channel.send(&message);
    sys::exit_at_once(0)
}

/// A first process that is being made, as the runtime sees it.
struct Making<'a> {
    plan: &'a Plan<'a>,
    namespaces: &'a Namespaces,
    runtime: &'a dyn Runtime,
    channel: Channel,
}

impl Making<'_> {
    fn complete(&mut self, child: Pid, served: Option<Channel>) -> Result<Pid, Error> {
        let init = match self.namespaces.joins() {
            true => self.child_of_between(child)?,
            false => child,
        };
        let failed = |source: io::Error| Error::system("complete the first process", source);
        if let Some((users, groups)) = &self.namespaces.maps {
            users.write(init, "uid_map").map_err(failed)?;
            groups.write(init, "gid_map").map_err(failed)?;
        }
        self.runtime.place(init)?;
        let server = match served {
            Some(channel) => Some(self.start_server(&channel, init)?),
            None => None,
        };
        self.channel
            .send(&Message::Go(init.as_raw()))
            .map_err(failed)?;
        self.answer_all(init)?;
        if let Some(server) = server {
            let _ = sys::kill(server, nix::libc::SIGKILL);
            let _ = waitpid(server, None);
        }
        Ok(init)
    }

    /// Waits for the process that goes between, and returns the first process.
    fn child_of_between(&self, between: Pid) -> Result<Pid, Error> {
        let message = self.receive()?;
        let _ = waitpid(between, None);
        let Message::Born(number) = message else {
            return Err(Error::Create("an unexpected message came".to_owned()));
        };
        // The kernel says whether it is our child: another process could have sent any number.
        let init = Pid::from_raw(number);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match number > 0 && waitid(Id::Pid(init), flags).is_ok() {
            true => Ok(init),
            false => Err(Error::Create("its first process ended early".to_owned())),
        }
    }

    /// Starts the process that serves the sources of mounts.
    fn start_server(&self, channel: &Channel, init: Pid) -> Result<Pid, Error> {
        let runtime = Pid::this();
        match sys::fork_at(false, None) {
            Ok(Fork::Parent(pid)) => Ok(pid),
            Ok(Fork::Child) => {
                // Ends with the runtime, also if that has ended just now.
                let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
                if Pid::parent() != runtime {
                    sys::exit_at_once(1);
                }
                let root = self.plan.document.root_path().unwrap_or_default();
                let has_users = self.namespaces.has_users();
                sources::serve(channel, init, has_users, &self.plan.mounts, Path::new(root));
                sys::exit_at_once(0)
            }
            Err(errno) => Err(Error::system("serve the sources of mounts", errno)),
        }
    }

    fn receive(&self) -> Result<Message, Error> {
        let failed = |source: io::Error| Error::system("listen to the first process", source);
        match self.channel.receive().map_err(failed)? {
            Some(Message::Failed(text)) => Err(Error::Create(text::printable(&text))),
            Some(message) => Ok(message),
            None => Err(Error::Create("its first process ended early".to_owned())),
        }
    }

    /// Does what the first process asks for, until it is ready.
    fn answer_all(&self, init: Pid) -> Result<(), Error> {
        let answer = |text: Vec<u8>| {
            self.channel
                .send(&Message::Done(text))
                .map_err(|source| Error::system("answer the first process", source))
        };
        // Each request comes once.
        let (mut hooks, mut clocks, mut devices) = (false, false, false);
        loop {
            match self.receive()? {
                Message::Ready => return Ok(()),
                Message::Hooks if !std::mem::replace(&mut hooks, true) => {
                    self.runtime.run_hooks(&self.plan.state_with(init))?;
                    answer(Vec::new())?;
                }
                Message::Clocks if !std::mem::replace(&mut clocks, true) => {
                    self.set_clocks(init)?;
                    answer(Vec::new())?;
                }
                Message::Devices if !std::mem::replace(&mut devices, true) => {
                    answer(network::move_devices(self.plan.document, init)?)?;
                }
                _ => return Err(Error::Create("an unexpected message came".to_owned())),
            }
        }
    }

    /// Sets the clocks of the time namespace ([time_namespaces(7)]).
    ///
    /// [time_namespaces(7)]: https://man7.org/linux/man-pages/man7/time_namespaces.7.html
    fn set_clocks(&self, init: Pid) -> Result<(), Error> {
        let offsets = settings::clock_offsets(self.plan.document);
        fs::write(format!("/proc/{init}/timens_offsets"), offsets)
            .map_err(|source| Error::system("set linux.timeOffsets", source))
    }
}
