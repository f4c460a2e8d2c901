//! The monitor: a process that stays beside a payload and waits for its end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use image::RootFs;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, pidfd_send_signal, setrlimit};

use crate::caller::Caller;
use crate::connections::{Connections, NO_DESCRIPTORS};
use crate::layers::Claim;
use crate::observer::{Member, Reporter};
use crate::process::{self, has_ended, pid};
use crate::protocol::Command;
use crate::stopped::Children;
use crate::{SessionSpec, image_mount, protocol};

/// Lets the process run on every processor that the system allows. A launcher may have bound the
/// first rank to one processor, and a process that serves all ranks must not wait for it.
pub(crate) fn use_all_processors() {
    let mut all = CpuSet::new();
    for processor in 0..CpuSet::count() {
        let _ = all.set(processor);
    }
    let _ = sched_setaffinity(Pid::from_raw(0), &all);
}

/// Lets a monitor have as many members as the system allows: each takes two descriptors.
pub(crate) fn allow_many_members() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Time that a session without members waits for the next one. A script that starts a program for
/// each of its files then builds one session, not one for each file.
const LINGER: Duration = Duration::from_millis(1500);

/// Number of descriptors that a monitor has besides those of its members, and needs to answer a
/// caller.
const OWN_DESCRIPTORS: u64 = 32;

/// Number of descriptors for each member: its process and its standard error.
const OF_A_MEMBER: u64 = 2;

/// The monitor of a session: it knows the members, admits more, and ends when the last is gone.
pub(crate) struct Monitor<'a> {
    namespaces: Vec<File>,
    connections: Connections,
    /// The servers of images, if there are any. Without them, there is nothing to join.
    servers: Option<Children>,
    about: &'a str,
    members: Vec<Member>,
    /// The member that ended last, until its exit status is known.
    last: Option<Member>,
    reporter: Reporter<'a>,
    of_one_program: bool,
    /// The right to write to a directory that keeps changes, given up while there is no member.
    claim: Option<Claim>,
    /// The root file system if it is an overlay of a directory, which may change, and the time of
    /// the last look at the directory.
    changing: Option<(PathBuf, Instant)>,
}

impl<'a> Monitor<'a> {
    pub(crate) fn new(
        session: &SessionSpec<'a>,
        namespaces: Vec<File>,
        connections: Connections,
        servers: Option<Children>,
        claim: Option<Claim>,
        began: Instant,
    ) -> Self {
        Self {
            claim,
            namespaces,
            connections,
            servers,
            about: session.about,
            reporter: Reporter::new(session.observer),
            of_one_program: session.of_one_program,
            changing: matches!(session.root, RootFs::Directory(_))
                .then(|| (session.layout.root(), began))
                .filter(|_| session.has_overlay() && session.changes.is_none()),
            members: Vec::new(),
            last: None,
        }
    }

    /// Stays until the last member has ended and no other has come. If that member was killed, ends
    /// the processes that are left in the container at once. Otherwise background processes go on,
    /// and keep the image mounted as long as they live.
    pub(crate) fn keep(mut self, first: Member) {
        self.members.push(first);
        // The time at which this process ends unless somebody joins.
        let mut end: Option<Instant> = None;
        loop {
            let look = self.reporter.next().filter(|_| !self.members.is_empty());
            let next = [end, look, self.connections.next()]
                .into_iter()
                .flatten()
                .min();
            let limit = next.map(|next| next.saturating_duration_since(Instant::now()));
            // No event could be noticed any more.
            let Some(happened) = self.wait(limit) else {
                return self.connections.close();
            };
            self.servers.iter().for_each(Children::tend);
            if self.has_lost_server() {
                // Reads of the image fail from now on. The next caller builds a new session.
                self.connections.close();
                self.servers = None;
            }
            if happened.call || self.connections.pending() > 0 {
                let heard = self.connections.receive();
                let joins = heard
                    .iter()
                    .filter(|(_, command)| *command == Command::Join);
                let last = joins.map(|(caller, _)| caller.began).max();
                let is_current = last.is_some_and(|last| self.is_current(last));
                for (caller, command) in heard {
                    self.serve(caller, command, is_current);
                }
            }
            // Introductions are received as soon as they come: the kernel limits the number that
            // are in flight.
            self.members.iter_mut().for_each(Member::receive);
            if happened.end {
                if self.of_one_program {
                    self.connections.close();
                }
                let ended = self
                    .members
                    .extract_if(.., |member| has_ended(&member.process));
                for mut member in ended {
                    member.receive();
                    self.reporter.of_end(&member);
                    // The member's standard error is closed here, so that its reader sees the end.
                    self.last = Some(Member::unknown(member.process));
                }
            }
            let namespaces = &self.namespaces;
            self.reporter.of_running(&self.members, || {
                let inside = mount_namespace(namespaces).map(|name| members(&name));
                { inside.into_iter().flatten() }.map(Pid::as_raw).collect()
            });
            if !self.members.is_empty() {
                end = None;
                continue;
            }
            // Kernels before 6.15 do not report how the process ended. Others do so only once its
            // parent knows.
            let status = self
                .last
                .as_ref()
                .and_then(|last| sys::exit_status(last.process.as_fd()));
            if status.is_some_and(|status| status & 0x7f == Signal::SIGKILL as i32) {
                return end_leftovers(&self.namespaces);
            }
            if status.is_some() || happened.word {
                self.last = None;
            }
            self.claim.iter().for_each(Claim::give_up);
            if Instant::now() >= *end.get_or_insert_with(|| Instant::now() + LINGER) {
                return;
            }
        }
    }

    fn serve(&mut self, caller: Caller, command: Command, is_current: bool) {
        match command {
            Command::Join if !self.has_room() => {
                protocol::send_full(&caller.socket, caller.token, NO_DESCRIPTORS);
            }
            // The caller then tries to take the name, and finds it free.
            Command::Join if !is_current => self.connections.close(),
            Command::Join => {
                // A caller that did not get the reply is not a member.
                let (socket, token) = (&caller.socket, caller.token);
                if protocol::send_ready(socket, token, &self.namespaces, self.about).is_ok() {
                    self.members.push(match self.reporter.is_wanted() {
                        true => Member::awaited(caller.process, caller.socket),
                        false => Member::unknown(caller.process),
                    });
                }
            }
            Command::Look => {
                let members = self.members.iter();
                let members = members.filter_map(|member| pid(&member.process));
                protocol::send_session(&caller.socket, caller.token, self.about, members);
            }
            Command::Wake => {}
        }
    }

    /// Whether there are descriptors for one more member.
    fn has_room(&self) -> bool {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let members = self.members.len() + self.connections.pending();
        let members = u64::try_from(members).unwrap_or(u64::MAX);
        members.saturating_add(1).saturating_mul(OF_A_MEMBER)
            <= limit.saturating_sub(OWN_DESCRIPTORS)
    }

    /// Whether callers that already ran at `began` find a running program, and the image as it was
    /// then.
    fn is_current(&mut self, began: Instant) -> bool {
        if self.has_lost_server() || self.is_over() {
            return false;
        }
        let mut claim = self.claim.iter();
        if self.members.is_empty() && !claim.all(|claim| claim.take().is_ok_and(|taken| taken)) {
            return false;
        }
        match &mut self.changing {
            // The kernel takes some time for such a look, and ranks that come at once have to wait
            // meanwhile.
            Some((root, since)) if *since < began => {
                *since = Instant::now();
                image_mount::look_anew(root).is_ok()
            }
            _ => true,
        }
    }

    /// Whether the session's program has ended in at least one of its ranks.
    fn is_over(&self) -> bool {
        let mut members = self.members.iter();
        self.of_one_program && members.any(|member| has_ended(&member.process))
    }

    fn has_lost_server(&self) -> bool {
        let mut servers = self.servers.iter().flat_map(Children::processes);
        servers.any(has_ended)
    }

    /// Waits for a caller, a member's end, or the exit status of the last member, at most `limit`.
    /// Returns `None` if it is impossible to wait.
    fn wait(&self, limit: Option<Duration>) -> Option<Happened> {
        // The last member's exit status is needed only once no member is left. poll(2) always
        // reports POLLHUP; it is set when the parent has collected the status, and stays set.
        let last = self.last.iter().filter(|_| self.members.is_empty());
        let word = last.map(|last| PollFd::new(&last.process, PollFlags::empty()));
        let calls: Vec<_> = { self.connections.descriptors() }
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        let callers = calls.len();
        let ends = self
            .members
            .iter()
            .map(|member| PollFd::new(&member.process, PollFlags::IN));
        let servers = self.servers.iter().flat_map(looks);
        let mut fds: Vec<PollFd<'_>> = word.chain(calls).chain(ends).chain(servers).collect();
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        let any = |fds: &[PollFd<'_>]| fds.iter().any(|fd| !fd.revents().is_empty());
        let words = usize::from(self.members.is_empty() && self.last.is_some());
        let (word, rest) = fds.split_at(words);
        let (call, rest) = rest.split_at(callers);
        let (end, _servers) = rest.split_at(self.members.len());
        Some(Happened {
            word: any(word),
            call: any(call),
            end: any(end),
        })
    }
}

/// The events that a monitor waits for.
struct Happened {
    /// The exit status of the last member may be known.
    word: bool,
    /// A caller has come or has sent something.
    call: bool,
    /// A member has ended.
    end: bool,
}

/// Returns the descriptors that report changes of the images' servers.
fn looks(servers: &Children) -> impl Iterator<Item = PollFd<'_>> {
    let ends = servers.processes().iter();
    let ends = ends.map(|process| PollFd::new(process, PollFlags::IN));
    let changes = PollFd::from_borrowed_fd(servers.changes(), PollFlags::IN);
    ends.chain([changes])
}

/// Waits until a process has ended.
pub(crate) fn wait(process: &OwnedFd, servers: Option<&Children>) {
    while !has_ended(process) {
        let end = PollFd::new(process, PollFlags::IN);
        let changes =
            servers.map(|servers| PollFd::from_borrowed_fd(servers.changes(), PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = [end].into_iter().chain(changes).collect();
        let _ = poll(&mut fds, None);
        servers.iter().for_each(|servers| servers.tend());
    }
}

/// Monitors an instance until its first process has ended, which ends all others in it.
pub(crate) fn monitor_instance(
    namespaces: &[File],
    mut connections: Connections,
    about: &str,
    init: Pid,
    servers: Option<&Children>,
) {
    let Ok(process) = process::open(init.as_raw()) else {
        return;
    };
    // The proxies of processes inside.
    let mut members: Vec<OwnedFd> = Vec::new();
    while !has_ended(&process) {
        let ends = [PollFd::new(&process, PollFlags::IN)];
        let calls = { connections.descriptors() }.map(|fd| PollFd::new(fd, PollFlags::IN));
        let changes =
            servers.map(|servers| PollFd::from_borrowed_fd(servers.changes(), PollFlags::IN));
        let mut fds: Vec<PollFd<'_>> = ends.into_iter().chain(changes).chain(calls).collect();
        let next = connections.next();
        let limit = next.map(|next| next.saturating_duration_since(Instant::now()));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let _ = poll(&mut fds, limit.as_ref());
        drop(fds);
        servers.iter().for_each(|servers| servers.tend());
        members.retain(|member| !has_ended(member));
        for (caller, command) in connections.receive() {
            match command {
                Command::Look | Command::Join => {
                    let (socket, token) = (&caller.socket, caller.token);
                    let about = format!("{init}\n{about}");
                    // A caller that did not get the reply is not a member.
                    let told = protocol::send_ready(socket, token, namespaces, &about);
                    if told.is_ok() && command == Command::Join {
                        members.push(caller.process);
                    }
                }
                // The kernel ends a pid namespace only when each process in it has been collected,
                // and a stopped parent collects none.
                Command::Wake => members.iter().for_each(|member| {
                    let _ = pidfd_send_signal(member, rustix::process::Signal::CONT);
                }),
            }
        }
    }
    // The first process is collected when this process ends: its id must not be reused before.
}

/// Kills every process in the mount namespace, until none is left.
fn end_leftovers(namespaces: &[File]) {
    let Some(namespace) = mount_namespace(namespaces) else {
        return;
    };
    // New processes may be made meanwhile. The number of rounds is limited, so that a fork bomb
    // cannot keep this process busy for ever.
    for _ in 0..100 {
        let members = members(&namespace);
        if members.is_empty() {
            return;
        }
        for pid in members {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn members(namespace: &OsString) -> Vec<Pid> {
    let own = Pid::this();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/ns/mnt"))
                .is_ok_and(|link| link.as_os_str() == namespace)
        })
        .collect()
}

fn mount_namespace(namespaces: &[File]) -> Option<OsString> {
    let mut names = namespaces.iter().filter_map(namespace_name);
    names.find(|name| name.as_bytes().starts_with(b"mnt:"))
}

/// Returns the kernel's name for a namespace, `mnt:[4026531840]`.
fn namespace_name(namespace: &File) -> Option<OsString> {
    let link = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    fs::read_link(link).ok().map(Into::into)
}
