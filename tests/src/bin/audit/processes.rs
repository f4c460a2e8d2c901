//! Other processes.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::fs::{OFlags, open};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::{Audit, for_writing, name_of};

/// Files of a process that are valuable to a reader.
const READABLE: [&str; 8] = [
    "environ", "maps", "auxv", "stack", "syscall", "io", "pagemap", "timers",
];

/// Files of a process that are valuable when opened for writing.
const WRITABLE: [&str; 6] = [
    "mem",
    "clear_refs",
    "oom_score_adj",
    "comm",
    "uid_map",
    "projid_map",
];

/// Names in `/proc/PID/ns`.
const NAMESPACES: [&str; 9] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid",
    "time",
    "user",
    "uts",
    "pid_for_children",
];

/// Number of ids that are tried besides those in `/proc`.
const PIDS: i32 = 100_000;

impl Audit {
    pub(crate) fn processes(&mut self) {
        let own = std::process::id().cast_signed();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut pids: Vec<i32> = pids.filter(|pid| *pid != own).collect();
        pids.sort_unstable();
        for pid in pids {
            self.process(pid);
        }
    }

    fn process(&mut self, pid: i32) {
        let of = format!("{pid} {}", name_of(pid));
        let place = PathBuf::from(format!("/proc/{pid}"));
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for name in ["root", "cwd"] {
            self.tried();
            if open(place.join(name), directory, rustix::fs::Mode::empty()).is_ok() {
                let detail = match (fs::metadata(place.join(name)), fs::metadata("/")) {
                    (Ok(theirs), Ok(ours))
                        if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) =>
                    {
                        "the same as ours".to_owned()
                    }
                    _ => fs::read_link(place.join(name)).map_or_else(
                        |_| "another".to_owned(),
                        |path| format!("another, {}", path.display()),
                    ),
                };
                self.got(name, &of, &detail);
            }
        }
        self.tried();
        if File::open(place.join("exe")).is_ok() {
            let target = fs::read_link(place.join("exe")).unwrap_or_default();
            self.got("exe", &of, &target.display().to_string());
        }
        for name in READABLE {
            self.tried();
            let mut byte = [0];
            let read = File::open(place.join(name)).and_then(|mut file| file.read(&mut byte));
            if matches!(read, Ok(1..)) {
                self.got(name, &of, "");
            }
        }
        self.tried();
        if File::open(place.join("mem")).is_ok() {
            self.got("mem", &of, "for reading");
        }
        for name in WRITABLE {
            self.tried();
            if for_writing(&place.join(name)) {
                self.got("write", &of, name);
            }
        }
        self.descriptors_of(&place, &of);
        self.namespaces(&place, &of);
        self.tried();
        if kill(Pid::from_raw(pid), None).is_ok() {
            self.got("signal", &of, "");
        }
        self.memory(pid, &of);
    }

    fn descriptors_of(&mut self, place: &Path, of: &str) {
        for name in ["fd", "fdinfo", "map_files"] {
            self.tried();
            let Ok(entries) = fs::read_dir(place.join(name)) else {
                continue;
            };
            let entries: Vec<_> = entries.flatten().collect();
            let targets = entries.iter().filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?;
                let name = entry.file_name();
                Some(format!("{}={}", name.display(), target.display()))
            });
            let targets: Vec<String> = targets.collect();
            // A list of numbers reveals less than the targets of the numbers.
            if targets.is_empty() && !entries.is_empty() {
                self.got(&format!("{name}-numbers"), of, &entries.len().to_string());
            }
            if targets.is_empty() {
                continue;
            }
            self.got(name, of, &targets.join(" "));
        }
    }

    fn namespaces(&mut self, place: &Path, of: &str) {
        for name in NAMESPACES {
            self.tried();
            if File::open(place.join("ns").join(name)).is_ok() {
                let theirs = fs::read_link(place.join("ns").join(name)).unwrap_or_default();
                let ours = fs::read_link(Path::new("/proc/self/ns").join(name));
                let same = ours.is_ok_and(|ours| ours == theirs);
                let detail = if same { "the same as ours" } else { "another" };
                self.got(&format!("ns/{name}"), of, detail);
            }
        }
    }

    /// Reads memory, attaches, and takes descriptors: the kernel checks the permission before
    /// everything else.
    fn memory(&mut self, pid: i32, of: &str) {
        self.tried();
        let mut byte = [0];
        let remote = RemoteIoVec { base: 1, len: 1 };
        let read = process_vm_readv(
            Pid::from_raw(pid),
            &mut [IoSliceMut::new(&mut byte)],
            &[remote],
        );
        if matches!(read, Ok(_) | Err(Errno::EFAULT)) {
            self.got("process_vm_readv", of, "");
        }
        self.tried();
        // This stops no process, and ends with the thread that did it.
        let seized =
            std::thread::spawn(move || ptrace::seize(Pid::from_raw(pid), ptrace::Options::empty()));
        if matches!(seized.join(), Ok(Ok(()))) {
            self.got("ptrace", of, "");
        }
        self.tried();
        let handle = rustix::process::Pid::from_raw(pid)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let taken = handle.map(|handle| pidfd_getfd(handle, 0, PidfdGetfdFlags::empty()));
        if matches!(taken, Some(Ok(_) | Err(rustix::io::Errno::BADF))) {
            self.got("pidfd_getfd", of, "");
        }
    }

    /// Tries processes that `/proc` does not show, because it belongs to another namespace, or
    /// hides them.
    pub(crate) fn hidden_processes(&mut self) {
        for pid in 1..PIDS {
            self.tried();
            let shown = || Path::new(&format!("/proc/{pid}")).exists();
            let is_there = kill(Pid::from_raw(pid), None) == Ok(());
            if is_there && !shown() {
                self.got("signal", &format!("{pid} -"), "which /proc does not show");
            }
        }
    }
}
