//! Starting another process in a container.
//!
//! libcontainer's own way cannot enter a container whose user namespace is not ours, and starts the
//! process without the container's seccomp filter; so this is done here, from the namespaces that
//! the container's first process is in.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::Process;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::SigSet;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::Value;

use crate::pidfd::{open_process, send_pidfd};
use crate::process::join::{self, Entry, Nobody};
use crate::seccomp::Filter;
use crate::shadow_bundle::{available_capabilities, keeps_keyring, write_pid};
use crate::supervise::Attendance;
use crate::terminal::{Terminal, receive_master};
use crate::{Container, Error, Status, cgroup, fd_passing, normalise};

/// What is started, and how.
#[derive(Debug)]
pub struct Exec {
    /// The process, in the specification's terms.
    pub process: Value,
    /// Where to write its id.
    pub pid_file: Option<PathBuf>,
    /// The socket to which the terminal's master is sent.
    pub console_socket: Option<PathBuf>,
    /// The socket to which a pidfd of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 up it inherits.
    pub preserve_fds: u32,
    /// A cgroup below the container's, with the controllers before a colon, as runc takes it.
    pub cgroups: Vec<String>,
    /// Whether a frozen container is no reason to refuse.
    pub ignore_paused: bool,
    /// Whether it is left to itself.
    pub detach: bool,
}

/// What the new process has to know, ready before anything is made.
struct Plan<'a> {
    process: Process,
    filter: Option<Filter>,
    init: BorrowedFd<'a>,
    namespaces: CloneFlags,
    cgroups: cgroup::Place,
    console: Option<OwnedFd>,
    preserve_fds: u32,
    keeps_keyring: bool,
    nobody: Nobody,
    mask: SigSet,
}

/// Starts a process in a container. Returns its exit code, 128 and the number for a signal; 0 when
/// detached. The calling process must be single-threaded.
///
/// # Errors
///
/// Fails when the container does not run, and when the process cannot be started as asked.
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
    let wrong = |error: serde_json::Error| Error::Process(error.to_string());
    let process: Process = serde_json::from_value(process).map_err(wrong)?;
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
    let init = open_process(init_pid)?;
    let attendance = if request.detach {
        None
    } else {
        Some(Attendance::begin()?)
    };
    let (console, ours) = match &request.console_socket {
        Some(path) => (Some(fd_passing::connect(path)?.into()), None),
        None if terminal => {
            let (theirs, ours) =
                UnixStream::pair().map_err(|source| Error::system("socketpair", source))?;
            (Some(theirs.into()), Some(ours))
        }
        None => (None, None),
    };
    let (filter, courier) = container.filter(&document)?.unzip();
    let plan = Plan {
        process,
        filter,
        init: init.as_fd(),
        namespaces: other_namespaces(init_pid)?,
        cgroups: container.place(init_pid, &request.cgroups)?,
        console,
        preserve_fds: request.preserve_fds,
        keeps_keyring: keeps_keyring(&document),
        nobody: Nobody::find(),
        mask: attendance
            .as_ref()
            .map_or_else(SigSet::empty, |attendance| attendance.before),
    };
    let started = start(plan);
    if let Some(courier) = courier.flatten() {
        courier.wait();
    }
    let pid = started?;
    let pidfd = open_process(pid)?;
    if let Some(path) = &request.pid_file {
        write_pid(path, pid)?;
    }
    if let Some(path) = &request.pidfd_socket {
        send_pidfd(path, &pidfd)?;
    }
    let Some(attendance) = attendance else {
        return Ok(0);
    };
    let terminal = match ours {
        Some(socket) => Some(Terminal::attach(receive_master(&socket)?)?),
        None => None,
    };
    attendance.wait(pid, &pidfd, terminal)
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

/// The namespaces in which a process is and we are not.
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
            // Equal, or a kind that this kernel does not have.
            _ => {}
        }
    }
    Ok(others)
}

/// Starts the process as our child, and waits until it executes its program.
fn start(plan: Plan<'_>) -> Result<Pid, Error> {
    let failed = |source: std::io::Error| Error::system("pipe", source);
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
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
    let mut answer = Vec::new();
    let read = reader.read_to_end(&mut answer);
    let _ = waitpid(go_between, None);
    read.map_err(failed)?;
    let (pid, error) = match answer.split_first_chunk::<4>() {
        Some((pid, error)) => (i32::from_ne_bytes(*pid), error),
        None => (0, &b"its process ended early"[..]),
    };
    if error.is_empty() {
        return Ok(Pid::from_raw(pid));
    }
    if pid > 0 {
        let _ = waitpid(Pid::from_raw(pid), None);
    }
    Err(Error::Exec(String::from_utf8_lossy(error).into_owned()))
}

/// Enters the container, and leaves the new process to our parent: a PID namespace is for children.
fn go_between(plan: Plan<'_>, mut pipe: std::io::PipeWriter) -> ! {
    let mut report = |pid: i32, error: Option<String>| {
        let mut answer = pid.to_ne_bytes().to_vec();
        answer.extend(error.unwrap_or_default().into_bytes());
        // Who reads is waiting for no more than this.
        let _ = pipe.write_all(&answer);
    };
    if let Err(error) = enter(&plan) {
        report(0, Some(error));
        sys::exit_at_once(1);
    }
    // Told before the process can tell anything itself: it waits until we are gone.
    let (mut gate, hold) = match std::io::pipe() {
        Ok(ends) => ends,
        Err(error) => {
            report(0, Some(sys::words(&error)));
            sys::exit_at_once(1)
        }
    };
    match sys::fork_at(true, None) {
        Ok(sys::Fork::Parent(pid)) => {
            report(pid.as_raw(), None);
            sys::exit_at_once(0)
        }
        Ok(sys::Fork::Child) => {
            drop(hold);
            let _ = gate.read(&mut [0]);
            let Err(error) = join::become_process(&Entry {
                process: &plan.process,
                filter: plan.filter.as_ref(),
                console: plan.console.as_ref().map(AsRawFd::as_raw_fd),
                preserve_fds: plan.preserve_fds,
                report: pipe.as_raw_fd(),
                mask: &plan.mask,
                keeps_keyring: plan.keeps_keyring,
                nobody: plan.nobody,
            });
            let _ = pipe.write_all(error.as_bytes());
            sys::exit_at_once(1)
        }
        Err(errno) => {
            report(0, Some(format!("fork: {}", sys::words(&errno.into()))));
            sys::exit_at_once(1)
        }
    }
}

fn enter(plan: &Plan<'_>) -> Result<(), String> {
    let affinity = plan.process.exec_cpu_affinity().as_ref();
    if let Some(cpus) = affinity.and_then(|affinity| affinity.initial().as_ref()) {
        join::set_affinity(cpus)?;
    }
    plan.cgroups
        .enter()
        .map_err(|error| sys::one_line(&error))?;
    if let Some(score) = plan.process.oom_score_adj() {
        fs::write("/proc/self/oom_score_adj", score.to_string())
            .map_err(|error| format!("process.oomScoreAdj: {}", sys::words(&error)))?;
    }
    // From here on who is in the container could look into us.
    let _ = nix::sys::prctl::set_dumpable(false);
    if plan.namespaces.is_empty() {
        return Ok(());
    }
    setns(plan.init, plan.namespaces).map_err(|errno| {
        format!(
            "enter the container's namespaces: {}",
            sys::words(&errno.into())
        )
    })
}
