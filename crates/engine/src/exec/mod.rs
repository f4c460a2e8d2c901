//! Starting another process in a container.
//!
//! libcontainer's own way cannot enter a container whose user namespace is not ours, and it starts
//! the process without the container's seccomp filter. So we enter the namespaces of the
//! container's first process ourselves.

mod answer;

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::Process;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::SigSet;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::Value;

use answer::{Answer, Entering};

use crate::create::preserved;
use crate::first_process::send;
use crate::pidfd::{open_process, send_pidfd};
use crate::process::join::{self, Entry, Nobody};
use crate::process::{affinity, scheduling, settings, streams};
use crate::seccomp::Filter;
use crate::shadow_bundle::{available_capabilities, write_pid};
use crate::supervise::Supervisor;
use crate::terminal::{Terminal, receive_master};
use crate::workers::{Report, Workers};
use crate::{Container, Document, Error, Status, cgroup, normalise};

/// The parameters of a new process in a container.
#[derive(Debug)]
pub struct Exec {
    /// The process, in the specification's terms.
    pub process: Value,
    /// The file to which the process's id is written.
    pub pid_file: Option<PathBuf>,
    /// The socket to which the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// The socket to which a pidfd of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// Number of descriptors, from 3 up, that the process inherits.
    pub preserve_fds: u32,
    /// A cgroup below the container's, with the controllers before a colon, as runc takes it.
    pub cgroups: Vec<String>,
    /// Whether the process may start in a frozen container.
    pub ignore_paused: bool,
    /// Whether the process is detached from its caller.
    pub detach: bool,
}

/// The data that the new process needs, prepared before anything is made.
struct Plan<'a> {
    process: Process,
    /// The process's scheduler.
    scheduler: Value,
    /// The container's document.
    document: &'a Document,
    filter: Option<Filter>,
    init: BorrowedFd<'a>,
    namespaces: CloneFlags,
    cgroups: cgroup::JoinedCgroups,
    /// Whether the caller allowed a frozen container.
    may_be_frozen: bool,
    console: Option<OwnedFd>,
    preserve_fds: Vec<RawFd>,
    keeps_keyring: bool,
    nobody: Nobody,
    mask: SigSet,
}

impl Plan<'_> {
    /// Returns the descriptors that are needed until the program is executed. `report` is the one
    /// to which a failure is reported.
    fn needed(&self, report: RawFd) -> Vec<RawFd> {
        let preserved = self.preserve_fds.iter().copied();
        let socket = self.filter.as_ref().and_then(Filter::socket);
        preserved.chain([report]).chain(socket).collect()
    }
}

/// Starts a process in a container. Returns its exit code, 128 plus the number for a signal, or 0
/// when detached. The calling process must be single-threaded.
///
/// # Errors
///
/// Fails when the container does not run, or the process cannot be started as requested.
pub fn exec(container: &Container, request: &Exec) -> Result<u8, Error> {
    let init_pid = check(container, request.ignore_paused)?;
    let document = container.document()?;
    let own = document.get("process").unwrap_or(&Value::Null);
    let (process, warnings) = normalise::process(&request.process, own, &available_capabilities())
        .map_err(Error::Process)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    crate::process::rlimits::check(process.get("rlimits")).map_err(Error::Process)?;
    let scheduler = process["scheduler"].clone();
    scheduling::check(&scheduler).map_err(Error::Process)?;
    let process = settings::typed(&process).map_err(Error::Process)?;
    join::refuse_unsupported(&process)?;
    let terminal = process.terminal().unwrap_or(false);
    if request.console_socket.is_some() && !terminal {
        return Err(Error::Process("a console socket needs a terminal".into()));
    }
    if request.detach && terminal && request.console_socket.is_none() {
        return Err(Error::Process(
            "a detached process with a terminal needs a console socket".into(),
        ));
    }
    let preserve_fds = preserved(request.preserve_fds, 0)?;
    let init = open_process(init_pid)?;
    tracing::debug!("nsexec container setup: enter the namespaces of process {init_pid}");
    let supervisor = if request.detach {
        None
    } else {
        Some(Supervisor::begin()?)
    };
    let Console { theirs, ours } = Console::of(request, terminal)?;
    let (filter, relay) = container.filter(&document)?.unzip();
    let plan = Plan {
        process,
        scheduler,
        document: &document,
        filter,
        init: init.as_fd(),
        namespaces: other_namespaces(init_pid)?,
        cgroups: container.joined_cgroups(init_pid, &request.cgroups)?,
        may_be_frozen: request.ignore_paused,
        console: theirs,
        preserve_fds,
        keeps_keyring: document.keeps_keyring(),
        nobody: Nobody::find(),
        mask: supervisor
            .as_ref()
            .map_or_else(SigSet::empty, |supervisor| supervisor.before),
    };
    let started = start(plan, supervisor.as_ref());
    // Its process has told of no failure, so that it has come to these steps, named as by runc.
    if started.is_ok() {
        tracing::debug!("child process in init()");
        tracing::debug!("setns_init: about to exec");
    }
    if let Some(relay) = relay.flatten() {
        relay.wait();
    }
    let pid = started?;
    let reported = report(request, pid, ours);
    let (pidfd, terminal) = reported.inspect_err(|_| {
        let _ = send(pid, nix::libc::SIGKILL);
        let _ = waitpid(pid, None);
    })?;
    match supervisor {
        Some(supervisor) => supervisor.wait(pid, &pidfd, terminal),
        None => Ok(0),
    }
}

/// Reports the new process where the caller wants it, and attaches its terminal to ours.
fn report(
    request: &Exec,
    pid: Pid,
    console: Option<UnixStream>,
) -> Result<(OwnedFd, Option<Terminal>), Error> {
    let pidfd = open_process(pid)?;
    if let Some(path) = &request.pid_file {
        write_pid(path, pid)?;
    }
    if let Some(path) = &request.pidfd_socket {
        send_pidfd(path, &pidfd)?;
    }
    let master = console.map(|socket| receive_master(&socket)).transpose()?;
    Ok((pidfd, master.map(Terminal::attach).transpose()?))
}

/// The sockets through which a process hands over the master end of its terminal.
#[derive(Debug, Default)]
struct Console {
    /// The process's end.
    theirs: Option<OwnedFd>,
    /// Our end, if we serve the terminal ourselves.
    ours: Option<UnixStream>,
}

impl Console {
    fn of(request: &Exec, terminal: bool) -> Result<Self, Error> {
        if let Some(path) = &request.console_socket {
            let socket = sys::connect(path).map_err(Error::state("connect to", path))?;
            return Ok(Self {
                theirs: Some(socket.into()),
                ours: None,
            });
        }
        if !terminal {
            return Ok(Self::default());
        }
        let (theirs, ours) =
            UnixStream::pair().map_err(|source| Error::system("socketpair", source))?;
        Ok(Self {
            theirs: Some(theirs.into()),
            ours: Some(ours),
        })
    }
}

fn check(container: &Container, ignore_paused: bool) -> Result<Pid, Error> {
    match container.status() {
        Status::Paused if !ignore_paused => Err(Error::WrongStatus(
            "cannot exec in a paused container (use --ignore-paused to override)".into(),
        )),
        Status::Stopped | Status::Creating => Err(Error::WrongStatus(
            "cannot exec in a stopped container".into(),
        )),
        Status::Created | Status::Running | Status::Paused => container
            .pid()
            .ok_or_else(|| Error::WrongStatus("container not running".into())),
    }
}

/// Returns the namespaces in which a process differs from us.
fn other_namespaces(pid: Pid) -> Result<CloneFlags, Error> {
    let all = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        // CLONE_NEWTIME, Linux 5.6; nix has no name for it.
        ("time", CloneFlags::from_bits_retain(0x80)),
    ];
    let mut others = CloneFlags::empty();
    for (name, flag) in all {
        let theirs = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
        match (
            fs::read_link(&theirs),
            fs::read_link(format!("/proc/self/ns/{name}")),
        ) {
            (Ok(theirs), Ok(ours)) if theirs != ours => others |= flag,
            (Err(error), Ok(_)) => return Err(Error::state("read", theirs)(error)),
            // The namespaces are equal, or this kernel does not have the kind.
            _ => {}
        }
    }
    Ok(others)
}

/// Starts the process as our child, and waits until it executes its program.
fn start(plan: Plan<'_>, supervisor: Option<&Supervisor>) -> Result<Pid, Error> {
    let may_be_frozen = plan.may_be_frozen;
    let report = Report::new()?;
    let workers = Workers::new(&report)?;
    let Report { reader, writer } = report;
    // A process of the container may take bytes back from the pipe.
    rustix::io::ioctl_fionbio(&reader, true)
        .map_err(|errno| Error::system("prepare a pipe", errno))?;
    let mut forked = Err(nix::errno::Errno::EBUSY);
    for directory in plan.cgroups.directories() {
        forked = sys::fork_at(false, directory);
        if forked.is_ok() {
            break;
        }
    }
    let go_between = match forked {
        Ok(sys::Fork::Parent(pid)) => pid,
        Ok(sys::Fork::Child) => {
            drop(reader);
            go_between(plan, writer)
        }
        Err(errno) => {
            return Err(Error::system(
                "start a process in the container's cgroup",
                errno,
            ));
        }
    };
    drop(writer);
    drop(plan);
    let mut entering = Entering {
        reader,
        workers,
        may_be_frozen,
        messages: Vec::new(),
    };
    let answer = entering.receive(supervisor);
    // It has nothing to do any more.
    let _ = send(go_between, nix::libc::SIGKILL);
    let _ = waitpid(go_between, None);
    let workers = entering.workers;
    let started = answer.and_then(|answer| {
        let mut pids = answer.pids.into_iter();
        match (pids.find(|pid| workers.has_child(*pid)), answer.error) {
            (Some(pid), None) => Ok(pid),
            (_, Some(error)) => Err(Error::Exec(error)),
            (None, None) => Err(Error::Exec("its process ended early".to_owned())),
        }
    });
    started.inspect_err(|_| {
        workers.end();
        workers.end_children();
    })
}

/// Enters the container and forks the new process as a child of our parent. The fork is needed
/// because a PID namespace takes effect only for children.
fn go_between(plan: Plan<'_>, mut pipe: std::io::PipeWriter) -> ! {
    // Programs in the container may be able to look into this process.
    sys::wipe_environment();
    let number = pipe.as_raw_fd();
    let mut tell = |kind: u8, content: &[u8]| {
        let _ = pipe.write_all(&Answer::message(kind, content));
    };
    if let Err(error) = enter(&plan, number) {
        tell(Answer::ERROR, error.as_bytes());
        sys::exit_at_once(1);
    }
    match sys::fork_at(true, None) {
        Ok(sys::Fork::Parent(pid)) => {
            tell(Answer::PID, &pid.as_raw().to_ne_bytes());
            sys::exit_at_once(0)
        }
        Ok(sys::Fork::Child) => {
            let Err(error) = join::become_process(&Entry {
                process: &plan.process,
                scheduler: &plan.scheduler,
                document: plan.document,
                filter: plan.filter.as_ref(),
                console: plan.console.as_ref().map(AsRawFd::as_raw_fd),
                preserve_fds: &plan.preserve_fds,
                needed: plan.needed(number),
                mask: &plan.mask,
                keeps_keyring: plan.keeps_keyring,
                nobody: plan.nobody,
            });
            tell(Answer::ERROR, error.as_bytes());
            sys::exit_at_once(1)
        }
        Err(errno) => {
            let error = format!("fork: {}", text::message(&errno.into()));
            tell(Answer::ERROR, error.as_bytes());
            sys::exit_at_once(1)
        }
    }
}

fn enter(plan: &Plan<'_>, pipe: RawFd) -> Result<(), String> {
    let affinity = plan.process.exec_cpu_affinity().as_ref();
    let initial = affinity.and_then(|affinity| affinity.initial().as_ref());
    if let Some(cpus) = initial {
        affinity::set(cpus)?;
        tracing::debug!("nsexec: affinity: {}", affinity::mask());
    }
    plan.cgroups.enter()?;
    if initial.is_none() {
        affinity::reset(Pid::this());
    }
    if let Some(score) = plan.process.oom_score_adj() {
        fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|error| format!("process.oomScoreAdj: {}", text::message(&error)))?;
    }
    streams::shield_null()
        .map_err(|errno| format!("/dev/null: {}", text::message(&errno.into())))?;
    // From here on, processes in the container could look into this one: those with
    // CAP_SYS_PTRACE even though it is not dumpable. No file of the host may be open, such as the
    // cgroup's directory. The owners of the closed descriptors are not used any more.
    let _ = nix::sys::prctl::set_dumpable(false);
    let console = plan.console.as_ref().map(AsRawFd::as_raw_fd);
    let mut needed = plan.needed(pipe);
    needed.extend(console.into_iter().chain([plan.init.as_raw_fd()]));
    sys::close_all_except(&needed);
    if plan.namespaces.is_empty() {
        return Ok(());
    }
    setns(plan.init, plan.namespaces).map_err(|errno| {
        format!(
            "enter the container's namespaces: {}",
            text::message(&errno.into())
        )
    })
}
