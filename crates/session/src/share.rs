//! Joining a session that is there already, in place of building another.
//!
//! A keeper listens under a name that says all that makes two sessions the same: who, in which job,
//! which image in which state, which mounts, from which namespaces. A program that starts meanwhile, or
//! soon after, joins: one image mount, one page cache, and a start without building anything. The ranks
//! of a job can read each other's memory then, which the kernel refuses between the user namespaces of
//! two sessions (`process_vm_readv`, ptrace(2)).
//!
//! The first to come has the name before it builds, so that those who come at the same time wait for it.
//!
//! The name is an abstract socket's ([unix(7)]): it is gone with its process, so nothing is ever
//! stale. Anybody may take a name first; what counts is which process answers ([`peer`]).
//!
//! [unix(7)]: https://man7.org/linux/man-pages/man7/unix.7.html

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use image::RootFs;
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::handover::{self, Message, PATIENCE, Token, Wish};
use crate::{Ground, keeper, peer};

/// How many programs may wait to be let in.
const BACKLOG: i32 = 1024;

/// The name of the session that a request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Name(SocketAddrUnix);

/// What the names of a user's instances begin with.
pub(crate) fn instances() -> String {
    format!("front/instance/{}/", geteuid())
}

/// What the names of a user's other sessions begin with; the job follows, if there is one, and what else
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
    pub(crate) fn of(ground: &Ground<'_>) -> Option<Self> {
        let mut spec = ground.spec.clone();
        spec.set_process(None);
        let sources = sources(&spec);
        let spec = serde_json::to_string(&spec).ok()?;
        // What runs together is ended together: a session must not outlive its own for another's.
        let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::made_of(
            NO_JOB,
            ground.root,
            (spec, sources, cgroup, ground.files, ground.mount_points),
        )
    }

    /// Works out the name of a job's session on this machine. Its ranks may have a cgroup each; and as the
    /// machine is the same for all of them, what they ask for says enough.
    pub(crate) fn of_job(job: &str, root: &RootFs, asked: &str) -> Option<Self> {
        Self::made_of(job, root, asked)
    }

    fn made_of(job: &str, root: &RootFs, what: impl Hash) -> Option<Self> {
        let ids = (geteuid().as_raw(), getegid().as_raw());
        // Sockets of this kind are of one network namespace; what else there is of namespaces a member keeps.
        let mut parts = vec![format!("{ids:?}"), image(root)?];
        for namespace in ["mnt", "user", "pid"] {
            let link = fs::read_link(format!("/proc/self/ns/{namespace}")).ok()?;
            parts.push(link.to_string_lossy().into_owned());
        }
        let digest = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &parts, &what).hash(&mut hasher);
            hasher.finish()
        };
        Self::session(&format!("{job}/{:016x}{:016x}", digest(0), digest(1)))
    }

    /// Calls the keeper of that name, and waits for it until `end`; `None` when there is none of ours, or none that
    /// answers by then.
    pub(crate) fn call(&self, wish: Wish, end: Instant) -> Option<Call> {
        match self.reach(wish, end, Instant::now()) {
            Ok(Reached::Answering(call)) => Some(call),
            _ => None,
        }
    }

    /// Joins the session of that name, or takes the name. A rank of a job, which is told of by `program`, waits for
    /// whoever builds the session.
    pub(crate) fn join_or_take(&self, program: Option<&str>) -> Entry {
        let patience = match program {
            Some(_) => PATIENCE_IN_JOB,
            None => PATIENCE,
        };
        let end = Instant::now() + patience;
        // Whoever has the name and does not answer is not of ours.
        let mut silence = Instant::now() + PATIENCE;
        while Instant::now() < silence.min(end) {
            let busy = end.min(Instant::now() + PATIENCE_WHILE_BUSY);
            match self.reach(Wish::Join, end, busy) {
                Ok(Reached::Answering(call)) => {
                    match call.welcome() {
                        Welcome::Joined(namespaces, about) => {
                            if let Some(program) = program {
                                // Not before it is known whom it goes to.
                                let _ = handover::send_introduction(&call.socket, program);
                            }
                            return Entry::Joined(namespaces, about);
                        }
                        Welcome::Refused => return Entry::Refused,
                        Welcome::Full(reason) => return Entry::Full(reason),
                        Welcome::Unproved => return Entry::Neither,
                        // It has ended, or was never finished.
                        Welcome::Ended => silence = Instant::now() + PATIENCE,
                    }
                }
                Ok(Reached::Others) => return Entry::Neither,
                Err(_) => {}
            }
            if let Some(listener) = self.take().and_then(open) {
                return Entry::Taken(listener);
            }
            // Taken meanwhile, and opened the next moment.
            std::thread::sleep(Duration::from_millis(1));
        }
        Entry::Neither
    }

    /// Connects, waiting in a full queue until `busy`, and says what is wished for.
    fn reach(&self, wish: Wish, end: Instant, busy: Instant) -> io::Result<Reached> {
        // The rank that takes a name becomes the payload once the session is built. One who called before it handed the
        // name to the builder, and looks afterwards, has to call again.
        for _ in 0..2 {
            let socket = self.connect(busy)?;
            let peer = socket_peercred(&socket)?;
            if peer.uid.as_raw() != geteuid().as_raw() {
                return Ok(Reached::Others);
            }
            // Whoever listens is a rank that has yet to build, or a keeper. A payload has no business here, and would
            // let its callers wait.
            let listener = peer.pid.as_raw_nonzero().get();
            if peer::is_stranger(listener) {
                continue;
            }
            rustix::io::ioctl_fionbio(&socket, false)?;
            return Ok(match Call::begin(socket, wish, listener, end)? {
                Some(call) => Reached::Answering(call),
                None => Reached::Others,
            });
        }
        Ok(Reached::Others)
    }

    fn connect(&self, busy: Instant) -> io::Result<OwnedFd> {
        let socket = socket(SocketFlags::NONBLOCK)?;
        // Each message then comes with the id of the process that sent it; the first may be there once this returns.
        set_socket_passcred(&socket, true)?;
        // Whoever has the name may let callers stand in a queue for ever.
        while let Err(errno) = connect(&socket, &self.0) {
            if errno != Errno::AGAIN || Instant::now() >= busy {
                return Err(errno.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(socket)
    }

    /// Takes the name; `None` when it is taken. Nobody is let in before [`open`].
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        let socket = socket(SocketFlags::empty()).ok()?;
        bind(&socket, &self.0).ok()?;
        Some(socket)
    }
}

/// What stands in a name for the job, outside of any.
pub(crate) const NO_JOB: &str = "-";

/// Who was reached under a name.
enum Reached {
    /// A process of the same user.
    Answering(Call),
    /// Somebody else.
    Others,
}

/// A call to a keeper of ours.
#[derive(Debug)]
pub(crate) struct Call {
    socket: OwnedFd,
    end: Instant,
    keeper: i32,
    /// A handle of the keeper's process: as long as that is there, its number is no other's.
    process: OwnedFd,
    /// What its answers repeat.
    token: Token,
}

impl Call {
    /// Waits to be greeted, and says what is wished for; `None` when that is not by a keeper of ours. While a session is
    /// built, that takes its time, for as long as `listener` is a process that may build it.
    fn begin(socket: OwnedFd, wish: Wish, listener: i32, end: Instant) -> io::Result<Option<Self>> {
        let mut waits = 0;
        let (message, origin) = loop {
            limit(&socket, end.min(Instant::now() + PATIENCE))?;
            match handover::receive_from(&socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    waits += 1;
                    let is_late = waits >= MOST_WAITS && !peer::may_be_building(listener);
                    if Instant::now() >= end || is_late || peer::is_stranger(listener) {
                        return Ok(None);
                    }
                }
                received => break received?,
            }
        };
        let (Message::Hello, Some(keeper)) = (message, origin.pid) else {
            return Ok(None);
        };
        let number = rustix::process::Pid::from_raw(keeper).ok_or(Errno::SRCH)?;
        // The handle first: what is found out about the number is about this process then, or it has ended.
        let process = pidfd_open(number, PidfdFlags::empty())?;
        if !peer::is_keeper(keeper) {
            return match keeper::ends_within(&process, A_MOMENT) {
                true => Err(Errno::SRCH.into()),
                false => Ok(None),
            };
        }
        let token = handover::token();
        handover::send_wish(&socket, wish, origin.token, token)?;
        Ok(Some(Self {
            socket,
            end,
            keeper,
            process,
            token,
        }))
    }

    /// Waits for the next answer. It repeats what was asked after the keeper was found to be ours: what was prepared by a
    /// process that has ended since, and has its number taken by a keeper, does not.
    pub(crate) fn next(&self) -> io::Result<Message> {
        limit(&self.socket, self.end.min(Instant::now() + PATIENCE))?;
        let (message, origin) = handover::receive_from(&self.socket)?;
        // It is looked at again, as it may have executed another program since: a payload. One that refuses may end
        // meanwhile, and can no longer be looked at for a moment before it has ended.
        let is_ours = match message {
            Message::Failed(_) | Message::Full(_) => {
                peer::is_keeper(self.keeper) || keeper::ends_within(&self.process, A_MOMENT)
            }
            _ => peer::is_keeper(self.keeper) && !keeper::has_ended(&self.process),
        };
        match origin.pid == Some(self.keeper) && origin.token == self.token && is_ours {
            true => Ok(message),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// Waits for what a keeper answers to who joins.
    pub(crate) fn welcome(&self) -> Welcome {
        let namespaces = match self.next() {
            Ok(Message::Ready(namespaces)) => namespaces,
            Ok(Message::Failed(_)) => return Welcome::Refused,
            Ok(Message::Full(reason)) => return Welcome::Full(reason),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Welcome::Unproved;
            }
            Err(error) if error.kind() == io::ErrorKind::Other => {
                return Welcome::Full(error.to_string());
            }
            _ => return Welcome::Ended,
        };
        match self.next() {
            Ok(Message::Session { about, .. }) => Welcome::Joined(namespaces, about),
            _ => Welcome::Ended,
        }
    }
}

/// Has the next wait on a socket end with the call.
fn limit(socket: &OwnedFd, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    Ok(set_socket_timeout(socket, Timeout::Recv, Some(left))?)
}

/// What a keeper answers to who joins.
#[derive(Debug)]
pub(crate) enum Welcome {
    /// The session's namespaces, and what its first member said of it.
    Joined(Vec<OwnedFd>, String),
    /// That there must be none.
    Refused,
    /// That there is no place in it, and why.
    Full(String),
    /// Nothing: it has ended.
    Ended,
    /// Something, and it is no keeper of ours.
    Unproved,
}

/// What a name gives to who asks for it.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The namespaces of the session that has it, and what its first member said of it.
    Joined(Vec<OwnedFd>, String),
    /// The name, open: callers wait there until the session is built.
    Taken(OwnedFd),
    /// Nothing: who has it says that there must be no session.
    Refused,
    /// Nothing: there is no place in the session, for this reason.
    Full(String),
    /// Nothing: it is somebody else's, or nobody answers there.
    Neither,
}

/// How long one stands in a full queue, which may be a stranger's.
const PATIENCE_WHILE_BUSY: Duration = Duration::from_secs(4);

/// How often a keeper is waited for that has built its session, and greets nobody.
const MOST_WAITS: u32 = 4;

/// How long a job's rank waits for the session that another builds: without it, it could not work with
/// the others. An image that must be extracted takes its time.
const PATIENCE_IN_JOB: Duration = Duration::from_secs(600);

/// Has the calling process be the one that callers of a name see behind it.
pub(crate) fn listen_as_own(listener: &OwnedFd) {
    let _ = listen(listener, BACKLOG);
}

/// Lets callers come to a name that was taken.
pub(crate) fn open(socket: OwnedFd) -> Option<OwnedFd> {
    listen(&socket, BACKLOG).ok()?;
    // So that asking whether somebody calls never waits.
    rustix::io::ioctl_fionbio(&socket, true).ok()?;
    Some(socket)
}

fn socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | flags,
        None,
    )?)
}

/// How long a caller who is sent away may take to say what is wished for, and a process to end that is about to.
const A_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// A caller, from the first word to what it wishes for.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) socket: OwnedFd,
    /// A handle of their process.
    pub(crate) process: OwnedFd,
    pid: i32,
    since: Instant,
    /// What the wish is to repeat.
    hello: Token,
    /// What the answers are to repeat.
    pub(crate) token: Token,
}

/// What comes of looking for the next caller.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// One of the same user, who has yet to say what is wished for.
    Caller(Caller),
    /// One that is none of ours, or has gone.
    Stranger,
    /// One for whom there is no descriptor left.
    Waiting,
    /// None.
    Nobody,
}

/// Greets the next caller.
pub(crate) fn admit(listener: &OwnedFd) -> Admitted {
    match accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => greet(socket).map_or(Admitted::Stranger, Admitted::Caller),
        Err(Errno::AGAIN) => Admitted::Nobody,
        Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Admitted::Waiting,
        Err(_) => Admitted::Stranger,
    }
}

fn greet(socket: OwnedFd) -> Option<Caller> {
    let peer = socket_peercred(&socket).ok()?;
    let pid = peer.pid.as_raw_nonzero().get();
    // The handle first, as it is with a keeper.
    let process = pidfd_open(peer.pid, PidfdFlags::empty()).ok()?;
    if peer.uid.as_raw() != geteuid().as_raw() || peer::is_contained(pid) {
        return None;
    }
    set_socket_passcred(&socket, true).ok()?;
    let hello = handover::token();
    handover::send_hello(&socket, hello).ok()?;
    Some(Caller {
        process,
        socket,
        pid,
        since: Instant::now(),
        hello,
        token: 0,
    })
}

impl Caller {
    /// When the call came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// What is wished for: `None` while nothing was said, an error from one who is not ours, or says nothing for too
    /// long. `outside` is the user namespace that callers are in.
    pub(crate) fn wish(&mut self, outside: Option<(u64, u64)>) -> Option<Result<Wish, ()>> {
        match handover::receive_wish(&self.socket) {
            Ok(wished) => {
                self.token = wished.token;
                let is_same = wished.sender == Some(self.pid)
                    && wished.hello == Some(self.hello)
                    && !peer::is_contained(self.pid)
                    && !keeper::has_ended(&self.process);
                let is_outside =
                    outside.is_some() && descriptor_identity(&wished.namespace) == outside;
                Some(if is_same && is_outside {
                    Ok(wished.wish)
                } else {
                    Err(())
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (self.since.elapsed() > PATIENCE).then_some(Err(()))
            }
            Err(_) => Some(Err(())),
        }
    }
}

fn descriptor_identity(descriptor: &OwnedFd) -> Option<(u64, u64)> {
    let stat = rustix::fs::fstat(descriptor).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Sends the next caller away, who then goes on alone.
pub(crate) fn turn_away(listener: &OwnedFd, reason: &str) {
    if let Admitted::Caller(mut caller) = admit(listener) {
        let mut fds = [PollFd::new(&caller.socket, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&A_MOMENT));
        // It is taken, whatever it is: an end that closes with something unread resets the other.
        let _ = caller.wish(None);
        handover::send_full(&caller.socket, caller.token, reason);
    }
}

/// Returns the id of a handle's process, as the caller's `/proc` has it; `None` once it has ended.
pub(crate) fn pid(process: &OwnedFd) -> Option<i32> {
    let info = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let info = fs::read_to_string(info).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
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

/// Says which image it is, and in which state.
fn image(root: &RootFs) -> Option<String> {
    match root {
        RootFs::Embedded(_) => Some("embedded".to_owned()),
        RootFs::Directory(directory) => {
            let stat = fs::metadata(directory.path()).ok()?;
            Some(format!(
                "directory {} {} {}",
                stat.dev(),
                stat.ino(),
                directory.path().display()
            ))
        }
        RootFs::Squashfs(squashed) => Some(format!("squashfs {}", squashed.stamp().ok()?)),
    }
}
