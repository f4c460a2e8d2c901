//! The names under which sessions are found.
//!
//! A monitor listens under a name that says all that makes two sessions the same: who, in which job,
//! which image in which state, which mounts, from which namespaces. A program that starts meanwhile, or
//! soon after, joins: one image mount, one page cache, and a start without building anything. The ranks
//! of a job can read each other's memory then, which the kernel refuses between the user namespaces of
//! two sessions (`process_vm_readv`, ptrace(2)).
//!
//! The name is an abstract socket's ([unix(7)]): it is gone with its process, so nothing is ever
//! stale. Anybody may take a name first; what counts is which process answers ([`crate::peer`]).
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
use crate::{Error, SessionSpec};

/// How long one who looks at all names stands in the queue of each.
const IN_A_QUEUE: Duration = Duration::from_millis(500);

/// How many programs may wait to be let in.
const BACKLOG: i32 = 1024;

/// The name of the session that a request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Name(SocketAddrUnix);

/// The beginning of the names of a user's instances.
pub(crate) fn instances() -> String {
    format!("front/instance/{}/", geteuid())
}

/// The beginning of the names of a user's other sessions; the job follows, if there is one, and what else
/// makes two the same.
pub(crate) fn sessions() -> String {
    format!("front/session/{}/", geteuid())
}

/// Returns how the names go on that begin so, as the kernel lists sockets ([proc_net(5)], `unix`).
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

/// Asks under each of the names, within one time for all: others may have taken any number of them. `look` is told
/// until when an answer is waited for, and how long to stand in a queue.
///
/// # Errors
///
/// Fails when there are too many.
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
    /// The name of an instance; `None` for one that is too long for a socket.
    pub(crate) fn instance(name: &str) -> Option<Self> {
        Self::whole(&format!("{}{name}", instances()))
    }

    /// The name of a session, as [`names`] lists it.
    pub(crate) fn session(name: &str) -> Option<Self> {
        Self::whole(&format!("{}{name}", sessions()))
    }

    fn whole(name: &str) -> Option<Self> {
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes());
        address.ok().map(Self)
    }

    /// Works out the name of what a ground makes; `None` when something that it depends on cannot be found
    /// out.
    pub(crate) fn of(session: &SessionSpec<'_>) -> Option<Self> {
        let mut spec = session.spec.clone();
        spec.set_process(None);
        let sources = sources(&spec);
        let spec = serde_json::to_string(&spec).ok()?;
        // Processes that run together are ended together: a session must not outlive its own for another's.
        let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::made_of(
            NO_JOB,
            session.root,
            (spec, sources, cgroup, session.files, session.mount_points),
        )
    }

    /// Works out the name of a job's session on this machine. Its ranks may have a cgroup each; and as the
    /// machine is the same for all of them, what they ask for says enough.
    pub(crate) fn of_job(job: &str, root: &RootFs, asked: &str) -> Option<Self> {
        Self::made_of(job, root, asked)
    }

    fn made_of(job: &str, root: &RootFs, what: impl Hash) -> Option<Self> {
        let ids = (geteuid().as_raw(), getegid().as_raw());
        // Two copies or versions of the program would not believe each other.
        let program = peer::own_program().ok()?;
        // Sockets of this kind are of one network namespace; what else there is of namespaces a member keeps.
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

    /// Connects, and stands in the queue until `busy`.
    pub(crate) fn connect(&self, busy: Instant) -> io::Result<OwnedFd> {
        let socket = socket(SocketFlags::empty())?;
        // Each message then comes with the id of the process that sent it; the first may be there once this returns.
        set_socket_passcred(&socket, true)?;
        // Whoever has the name may let callers stand in a queue for ever. They are let in by turns.
        let limit = busy.saturating_duration_since(Instant::now());
        let limit = limit.max(Duration::from_millis(1));
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        connect(&socket, &self.0)?;
        Ok(socket)
    }

    /// Takes the name; `None` when it is taken. Nobody is let in before [`open`].
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        let socket = socket(SocketFlags::empty()).ok()?;
        bind(&socket, &self.0).ok()?;
        Some(socket)
    }
}

/// A name's word in place of the job, outside of any.
pub(crate) const NO_JOB: &str = "-";

/// A name that callers may come to.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) listener: OwnedFd,
    /// Shows which of them are outside of containers.
    pub(crate) secret: Secret,
}

impl Open {
    /// Has the calling process be the one that callers see behind it.
    pub(crate) fn listen_as_own(&self) {
        let _ = listen(&self.listener, BACKLOG);
    }
}

/// Lets callers come to a name that was taken.
pub(crate) fn open(socket: OwnedFd) -> Option<Open> {
    // They look for it at once.
    let secret = Secret::new().ok()?;
    // Each socket that is accepted there tells who sends, too.
    set_socket_passcred(&socket, true).ok()?;
    listen(&socket, BACKLOG).ok()?;
    // So that asking whether somebody calls never waits.
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

/// Says what each bind of a specification shows: a path may lead to something else by the next launch. A session holds
/// what it has bound, so that no number of one is another's meanwhile.
fn sources(spec: &Spec) -> Vec<Option<(u64, u64)>> {
    let mounts = spec.mounts().as_deref().unwrap_or_default().iter();
    let binds = mounts.filter(|mount| mount.typ().as_deref().is_none_or(|kind| kind == "bind"));
    binds
        .map(|mount| identity(mount.source().as_deref()?))
        .collect()
}

/// Says what a path leads to: its device and inode, the same for the same thing as long as it is there.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    let stat = fs::metadata(path).ok()?;
    Some((stat.dev(), stat.ino()))
}

/// Says in which namespace of a kind the caller is.
fn namespace(kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// `STATX_MNT_ID_UNIQUE` of `linux/stat.h`, since Linux 6.8.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Says on which mount the caller's root is, which is of one mount namespace alone; `None` where numbers of mounts are used
/// again ([statx(2)]). It is found faster than the namespace.
///
/// [statx(2)]: https://man7.org/linux/man-pages/man2/statx.2.html
fn root_mount() -> Option<String> {
    let root = statx(CWD, "/", AtFlags::empty(), UNIQUE_MOUNT).ok()?;
    let is_unique = StatxFlags::from_bits_retain(root.stx_mask).contains(UNIQUE_MOUNT);
    is_unique.then(|| format!("mount {}", root.stx_mnt_id))
}

/// Says which image it is, and in which state.
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
