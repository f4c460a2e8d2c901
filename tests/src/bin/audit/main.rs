//! `audit`: tries everything that a hostile program could reach, and prints a line for each thing
//! that it got.
//!
//! A test starts it inside a container. It prints sorted lines `GOT <what> <of pid, by name>
//! <detail>`. The last line is the number of tries, so that a program that ended early is not
//! mistaken for one that got nothing. Things that it can open are inspected and closed again.
//! Nothing is written except one byte to a socket of `front`'s, which asks for a description. No
//! signal but 0 is sent, and a node that could be made is removed again.
//!
//! It runs in any image, so it is linked statically:
//! `RUSTFLAGS="-C target-feature=+crt-static" cargo build -p tests --bin audit --target x86_64-unknown-linux-gnu`

#![forbid(unsafe_code)]

mod files;
mod own;
mod processes;
mod sockets;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

/// The things that the program got, and the number of tries.
#[derive(Default)]
struct Audit {
    lines: BTreeSet<String>,
    tries: u64,
    /// The beginning of every line: the place from which it is tried.
    from: &'static str,
}

fn main() {
    let mut audit = Audit::default();
    // Before anything else is opened.
    audit.descriptors();
    audit.own_rights();
    audit.working_directory();
    audit.keys();
    audit.terminal();
    audit.sockets();
    audit.files_for_writing();
    audit.devices();
    audit.nodes();
    audit.mounts();
    audit.processes();
    audit.hidden_processes();
    // The same again with every capability that a user namespace of its own gives.
    if own_user_namespace() {
        audit.got("user-namespace", "-", "of its own");
        audit.from = "nested:";
        audit.mounts();
        audit.nodes();
        audit.processes();
        audit.files_for_writing();
    }
    audit.print();
}

/// Enters a user namespace. A thread that has ended may still be counted for a moment.
fn own_user_namespace() -> bool {
    (0..50).any(|_| {
        let made = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
        if made == Err(Errno::EINVAL) {
            std::thread::sleep(Duration::from_millis(10));
        }
        made.is_ok()
    })
}

impl Audit {
    fn got(&mut self, what: &str, of: &str, detail: &str) {
        let detail = detail.replace('\n', " ");
        let line = format!("GOT {}{what} {of} {detail}", self.from);
        self.lines.insert(line.trim_end().to_owned());
    }

    fn tried(&mut self) {
        self.tries += 1;
    }

    #[allow(clippy::print_stdout)]
    fn print(&self) {
        for line in &self.lines {
            println!("{line}");
        }
        println!("TRIED {}", self.tries);
    }
}

/// Whether a file can be opened for writing. Nothing is written or truncated.
fn for_writing(path: &Path) -> bool {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags).open(path).is_ok()
}

/// Returns the name of a process, in parentheses.
fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("({})", name.trim_end())
}
