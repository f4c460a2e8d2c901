//! Our children and theirs, as `/proc` lists them ([proc_tid_children(5)]).
//!
//! [proc_tid_children(5)]: https://man7.org/linux/man-pages/man5/proc_tid_children.5.html

use std::fs;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::first_process::send;

/// Returns the children of the calling thread.
pub(crate) fn children() -> Vec<Pid> {
    let flags =
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    // The list takes the kernel longer than this answer.
    if waitid(Id::All, flags) == Err(Errno::ECHILD) {
        return Vec::new();
    }
    numbers(&fs::read_to_string("/proc/thread-self/children").unwrap_or_default())
}

/// Returns the children of a process.
pub(crate) fn children_of(process: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| numbers(&list)).collect()
}

/// Kills a process and all of its descendants. Each is stopped before its children are listed, so
/// that it makes no others.
pub(crate) fn kill_tree(process: Pid) {
    let _ = send(process, nix::libc::SIGSTOP);
    for child in children_of(process) {
        kill_tree(child);
    }
    let _ = send(process, nix::libc::SIGKILL);
}

fn numbers(list: &str) -> Vec<Pid> {
    let numbers = list.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::first_process::is_alive;

    #[test]
    fn a_tree_is_killed_as_a_whole() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 100 & wait"])
            .spawn()
            .unwrap();
        let process = Pid::from_raw(shell.id().cast_signed());
        let sleeping = loop {
            if let [sleeping] = children_of(process)[..] {
                break sleeping;
            }
            std::thread::yield_now();
        };
        kill_tree(process);
        shell.wait().unwrap();
        while is_alive(sleeping) {
            std::thread::yield_now();
        }
    }
}
