//! A build in a process of its own, so that nothing is left when it ends by a signal.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::set_child_subreaper;
use sys::{ExitCode, Fork};

/// The signals that end a build. The terminal sends them to the build as well.
const ENDING: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// Runs a build in a child process, and waits for it. Then ends the processes that it left, and
/// calls `clean`, however the build has ended, with whether it has ended well. Does so even if this
/// process is killed: another one, between the two, does the same.
///
/// # Errors
///
/// Fails when no process can be made.
pub fn supervise(build: impl FnOnce() -> u8, clean: impl Fn(bool)) -> Result<ExitCode> {
    let status = in_child(|| {
        let status = match in_child(build) {
            Ok(status) => status,
            Err(_) => return crate::messages::FAILURE,
        };
        clean(matches!(status, WaitStatus::Exited(_, 0)));
        code(status)
    })?;
    if !matches!(status, WaitStatus::Exited(..)) {
        clean(false);
    }
    Ok(ExitCode::from(code(status)))
}

/// Runs a function in a child process that ends with this one. Returns its status after the end of
/// all processes that it left. Children that this process had before are not ended.
fn in_child(run: impl FnOnce() -> u8) -> Result<WaitStatus> {
    let mut heeded: SigSet = ENDING.into_iter().collect();
    heeded.add(Signal::SIGCHLD);
    let mask = heeded.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let mask = mask.context("block signals")?;
    let own = rustix::process::getpid();
    set_child_subreaper(Some(own)).context("adopt the build's processes")?;
    let others = children();
    match sys::fork().context("start the build")? {
        Fork::Parent(child) => {
            let status = wait(child, &heeded);
            end_children_except(&others);
            Ok(status)
        }
        Fork::Child => {
            let signal = Some(rustix::process::Signal::TERM);
            let _ = rustix::process::set_parent_process_death_signal(signal);
            let _ = set_child_subreaper(Some(rustix::process::getpid()));
            let _ = mask.thread_set_mask();
            sys::exit_at_once(i32::from(run()));
        }
    }
}

/// Returns the exit code for a status. Ends this process by the signal by which the build has ended,
/// as a shell expects it.
fn code(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(u8::MAX),
        WaitStatus::Signaled(_, signal, _) => {
            die(signal);
            128 + u8::try_from(signal as i32).unwrap_or(0)
        }
        _ => crate::messages::FAILURE,
    }
}

/// Waits for the build. Hands on the signals that this process gets.
fn wait(child: Pid, heeded: &SigSet) -> WaitStatus {
    loop {
        match heeded.wait() {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(signal) => drop(kill(child, signal)),
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status) if status.pid() == Some(child) => return status,
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}

/// Ends the processes that have become children of this one because their parents have ended.
pub fn end_children() {
    end_children_except(&[]);
}

/// Time that a container's own processes get to end by themselves, and time between two looks.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(5));

fn end_children_except(others: &[Pid]) {
    let began = Instant::now();
    loop {
        let mut left = children();
        left.retain(|child| !others.contains(child));
        if left.is_empty() {
            return;
        }
        for child in left {
            // The monitor of a container cleans up after it.
            if began.elapsed() > PATIENCE.0 || !is_ours(child) {
                let _ = kill(child, Signal::SIGKILL);
            }
            let _ = waitpid(child, Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(PATIENCE.1);
    }
}

/// Whether a process has the name of this one, or of one that has executed `/proc/self/exe`.
fn is_ours(process: Pid) -> bool {
    let name = |process: &str| fs::read(format!("/proc/{process}/comm")).ok();
    name(&process.to_string()).is_some_and(|named| named == b"exe\n" || name("self") == Some(named))
}

/// Returns the children of this process ([proc_pid_task(5)], Linux 4.2).
///
/// [proc_pid_task(5)]: https://man7.org/linux/man-pages/man5/proc_pid_task.5.html
fn children() -> Vec<Pid> {
    children_of("self")
}

fn children_of(process: &str) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")));
    let mut found = Vec::new();
    for list in lists.flatten() {
        let numbers = list.split_whitespace().filter_map(|one| one.parse().ok());
        found.extend(numbers.map(Pid::from_raw));
    }
    found
}

/// Returns all processes that have come from this one and have not ended.
pub fn descendants() -> BTreeSet<i32> {
    let (mut found, mut ahead) = (BTreeSet::new(), children());
    while let Some(process) = ahead.pop() {
        if !has_ended(process) && found.insert(process.as_raw()) {
            ahead.extend(children_of(&process.to_string()));
        }
    }
    found
}

/// Whether a process has ended, and its parent has not heard of it (proc_pid_stat(5), "Z").
fn has_ended(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may have any letters.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    rest.is_none_or(|rest| rest.starts_with(['Z', 'X']))
}

/// Ends this process by the signal by which the build has ended, as a shell expects it.
fn die(signal: Signal) {
    sys::reset_signals();
    let _ = nix::sys::signal::raise(signal);
    let mut set = SigSet::empty();
    set.add(signal);
    let _ = set.thread_unblock();
}
