//! The names under which sessions are found.
//!
//! A monitor listens under a name that contains everything that makes two sessions the same: the
//! user, the job, the image and its state, the mounts, and the caller's namespaces. A program that
//! starts meanwhile, or soon after, joins the session. It uses the same image mount and page cache,
//! and starts without building anything. The ranks of a job can then also read each other's memory,
//! which the kernel refuses between the user namespaces of two sessions (`process_vm_readv`,
//! ptrace(2)).
//!
//! The name is an abstract socket's ([unix(7)]). It disappears with its process, so nothing is ever
//! stale. Anybody may take a name first, so a caller checks which process answers
//! ([`crate::peer`]).
//!
//! [unix(7)]: https://man7.org/linux/man-pages/man7/unix.7.html

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use image::RootFs;
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::peer;
use crate::protocol::PATIENCE;
use crate::secret::Secret;
use crate::{Changes, Error, SessionSpec};

/// Time to wait in the queue of each name when all names are asked.
const IN_A_QUEUE: Duration = Duration::from_millis(500);

/// Largest number of programs that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The name of a session.
#[derive(Debug, Clone)]
pub(crate) struct Name(SocketAddrUnix);

/// Returns the beginning of the names of a user's instances.
pub(crate) fn instances() -> String {
    format!("front/instance/{}/", geteuid())
}

/// Returns the beginning of the names of a user's other sessions. The job follows, if there is one,
/// and a digest of everything else that makes two sessions the same.
pub(crate) fn sessions() -> String {
    format!("front/session/{}/", geteuid())
}

/// Returns the remainders of the names with this beginning, from the kernel's list of sockets
/// ([proc_net(5)], `unix`).
///
/// [proc_net(5)]: https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
pub(crate) fn names(beginning: &str) -> io::Result<BTreeSet<String>> {
    let prefix = format!("@{beginning}");
    let sockets = fs::read("/proc/net/unix")?;
    let lines = String::from_utf8_lossy(&sockets).into_owned();
    let names = lines
        .lines()
        .filter_map(|line| line.split_whitespace().nth(7)?.strip_prefix(&prefix));
    Ok(names.map(str::to_owned).collect())
}

/// Asks under each of the names, with one time limit for all: others may have taken any number of
/// names. `look` gets the ends of the waits for an answer and in the queue.
///
/// # Errors
///
/// Fails when there are too many names.
pub(crate) fn ask_all<'a, T>(
    names: impl Iterator<Item = &'a String>,
    look: impl Fn(&'a str, Instant, Instant) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let end = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    for name in names {
        if Instant::now() >= end {
            return Err(Error::TooManyNames);
        }
        let busy = end.min(Instant::now() + IN_A_QUEUE);
        found.extend(look(name, end, busy));
    }
    Ok(found)
}

impl Name {
    /// Returns the name of an instance; `None` if it is too long for a socket.
    pub(crate) fn instance(name: &str) -> Option<Self> {
        Self::whole(&format!("{}{name}", instances()))
    }

    /// Returns the name of a session, as [`names`] lists it.
    pub(crate) fn session(name: &str) -> Option<Self> {
        Self::whole(&format!("{}{name}", sessions()))
    }

    fn whole(name: &str) -> Option<Self> {
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes());
        address.ok().map(Self)
    }

    /// Returns the name of the session with this specification; `None` if something that it depends
    /// on cannot be found out.
    pub(crate) fn of(session: &SessionSpec<'_>) -> Option<Self> {
        let mut spec = session.spec.clone();
        spec.set_process(None);
        let sources = sources(&spec);
        let spec = serde_json::to_string(&spec).ok()?;
        // Processes of one cgroup are ended together. A session must not outlive its own cgroup
        // because of members in another.
        let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
        let others = session.layers.iter().chain(session.data);
        let others = others.map(image).collect::<Option<Vec<_>>>()?;
        let changes = match session.changes {
            // Nobody else sees them.
            Some(Changes::Memory(_)) => return None,
            Some(Changes::Directory(directory)) => Some(directory.identity().ok()?),
            None => None,
        };
        let layers = (others, changes, format!("{:?}", session.users));
        let files = (session.files, session.mount_points);
        Self::made_of(NO_JOB, session.root, (spec, sources, cgroup, files, layers))
    }

    /// Returns the name of a job's session on this machine. Its ranks may have a cgroup each. As
    /// the machine is the same for all of them, their request is enough.
    pub(crate) fn of_job(job: &str, root: &RootFs, asked: &str) -> Option<Self> {
        Self::made_of(job, root, asked)
    }

    fn made_of(job: &str, root: &RootFs, what: impl Hash) -> Option<Self> {
        let ids = (geteuid().as_raw(), getegid().as_raw());
        // Two copies or versions of the program would not believe each other.
        let program = peer::own_program().ok()?;
        // Abstract sockets belong to a network namespace, so that one is not included. A member
        // keeps its namespaces of the other kinds.
        let mut parts = vec![format!("{ids:?} {program:?}"), image(root)?];
        parts.push(peer::own_user_namespace().ok()?.to_string());
        parts.push(namespace("pid")?);
        parts.push(root_mount().or_else(|| namespace("mnt"))?);
        let digest = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &parts, &what).hash(&mut hasher);
            hasher.finish()
        };
        Self::session(&format!("{job}/{:016x}{:016x}", digest(0), digest(1)))
    }

    /// Connects, and waits in the queue until `busy`.
    pub(crate) fn connect(&self, busy: Instant) -> io::Result<OwnedFd> {
        let socket = socket(SocketFlags::empty())?;
        // Each message then carries the id of its sender. The first message may be there as soon as
        // this function returns.
        set_socket_passcred(&socket, true)?;
        // The owner of the name might leave callers in its queue for ever. They are accepted in
        // turn.
        let limit = busy.saturating_duration_since(Instant::now());
        let limit = limit.max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        connect(&socket, &self.0)?;
        Ok(socket)
    }

    /// Takes the name. Returns `None` if it is taken. Callers cannot connect before [`open`].
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        let socket = socket(SocketFlags::empty()).ok()?;
        bind(&socket, &self.0).ok()?;
        Some(socket)
    }
}

/// The word in a name in place of the job, for a session without a job.
pub(crate) const NO_JOB: &str = "-";

/// A name to which callers can connect.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) listener: OwnedFd,
    /// The secret, which shows whether a caller is outside of containers.
    pub(crate) secret: Secret,
}

impl Open {
    /// Makes the calling process the one that callers see as the listener.
    pub(crate) fn listen_as_own(&self) {
        let _ = listen(&self.listener, BACKLOG);
    }
}

/// Lets callers connect to a name that was taken.
pub(crate) fn open(socket: OwnedFd) -> Option<Open> {
    // The secret comes first, because callers look for it at once.
    let secret = Secret::new().ok()?;
    // The sockets that are accepted from this one report the sender, too.
    set_socket_passcred(&socket, true).ok()?;
    listen(&socket, BACKLOG).ok()?;
    // Checking for a caller must never block.
    rustix::io::ioctl_fionbio(&socket, true).ok()?;
    Some(Open {
        listener: socket,
        secret,
    })
}

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | flags,
        None,
    )?)
}

/// Returns the identity of the source of each bind in a specification, because a path may lead to
/// another file by the next launch. A session holds its sources open, so that their numbers are not
/// reused meanwhile.
fn sources(spec: &Spec) -> Vec<Option<(u64, u64)>> {
    let mounts = spec.mounts().as_deref().unwrap_or_default().iter();
    let binds = mounts.filter(|mount| mount.typ().as_deref().is_none_or(|kind| kind == "bind"));
    binds
        .map(|mount| identity(mount.source().as_deref()?))
        .collect()
}

/// Returns the device and inode of a path's target. They identify it as long as it exists.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    let stat = fs::metadata(path).ok()?;
    Some((stat.dev(), stat.ino()))
}

/// Returns the caller's namespace of a kind.
fn namespace(kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// `STATX_MNT_ID_UNIQUE` of `linux/stat.h`, since Linux 6.8.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Returns the mount of the caller's root, which belongs to a single mount namespace. Returns
/// `None` if the kernel reuses the ids of mounts ([statx(2)]). This is faster than finding the
/// namespace.
///
/// [statx(2)]: https://man7.org/linux/man-pages/man2/statx.2.html
fn root_mount() -> Option<String> {
    let root = statx(CWD, "/", AtFlags::empty(), UNIQUE_MOUNT).ok()?;
    let is_unique = StatxFlags::from_bits_retain(root.stx_mask).contains(UNIQUE_MOUNT);
    is_unique.then(|| format!("mount {}", root.stx_mnt_id))
}

/// Returns the identity and state of an image.
fn image(root: &RootFs) -> Option<String> {
    match root {
        RootFs::Embedded(_) => Some("embedded".to_owned()),
        RootFs::Directory(directory) => {
            let (device, inode) = directory.identity().ok()?;
            let path = directory.path().display();
            Some(format!("directory {device} {inode} {path}"))
        }
        RootFs::Squashfs(squashed) => Some(format!("squashfs {}", squashed.stamp().ok()?)),
    }
}
