//! `audit`: tries everything that a hostile program could reach, and prints a line for each thing it got.
//!
//! A test starts it inside a container: `GOT <what> <of pid, by name> <detail>`, sorted, and last a line with
//! the number of tries, so that a program that ended early is not taken for one that got nothing. What it
//! finds open it looks at and closes again: nothing is written but one byte to a socket of `front`'s, which
//! asks to be told, no signal is sent but 0, and a node that could be made is removed again.
//!
//! It runs in any image, so it is linked statically:
//! `RUSTFLAGS="-C target-feature=+crt-static" cargo build -p tests --bin audit --target x86_64-unknown-linux-gnu`

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux_keyutils::{KeyRing, KeyRingIdentifier};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustix::fs::{CWD, OFlags, open};
use rustix::mount::{FsOpenFlags, OpenTreeFlags, fsopen, open_tree};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Files of a process that are worth something when they can be read.
const READABLE: [&str; 8] = [
    "environ", "maps", "auxv", "stack", "syscall", "io", "pagemap", "timers",
];

/// Files of a process that are worth something when they can be opened for writing.
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

/// How many ids beside those in `/proc` are tried.
const PIDS: i32 = 100_000;

/// The things that were got, and the number of tries.
#[derive(Default)]
struct Audit {
    lines: BTreeSet<String>,
    tries: u64,
    /// The beginning of every word: the place it is tried from.
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
    // All that again with every capability that an own user namespace gives.
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

/// A thread that has ended may still be counted for a moment.
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

    fn descriptors(&mut self) {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            self.tried();
            let name = entry.file_name();
            let number = name.to_string_lossy();
            if ["0", "1", "2"].contains(&number.as_ref()) {
                continue;
            }
            let target = fs::read_link(entry.path()).unwrap_or_default();
            // The one that lists them.
            if !target.starts_with(format!("/proc/{}/fd", std::process::id())) {
                self.got("descriptor", &number, &target.display().to_string());
            }
        }
    }

    fn own_rights(&mut self) {
        self.tried();
        if let Ok(sets) = rustix::thread::capabilities(None) {
            for (name, set) in [
                ("effective", sets.effective),
                ("permitted", sets.permitted),
                ("inheritable", sets.inheritable),
            ] {
                if !set.is_empty() {
                    self.got("capabilities", name, &format!("{:x}", set.bits()));
                }
            }
        }
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start_matches(':').trim().to_owned())
        };
        for name in ["CapBnd", "CapAmb"] {
            let set = field(name).unwrap_or_default();
            if set.bytes().any(|digit| digit != b'0') {
                self.got("capabilities", name, &set);
            }
        }
        if rustix::thread::no_new_privs() == Ok(false) {
            self.got("new-privileges", "-", "no_new_privs is not set");
        }
        if field("Seccomp").is_some_and(|mode| mode == "0") {
            self.got("all-system-calls", "-", "there is no seccomp filter");
        }
    }

    /// The system call itself, whose word for what is out of reach the C library hides.
    fn working_directory(&mut self) {
        self.tried();
        match rustix::process::getcwd(Vec::new()) {
            Ok(path) if path.as_bytes().starts_with(b"/") => {}
            Ok(path) => self.got("outer-directory", "-", &path.to_string_lossy()),
            Err(errno) => self.got("outer-directory", "-", &errno.to_string()),
        }
        for above in ["/..", "/../../../../../..", "/proc/self/root/.."] {
            self.tried();
            if let (Ok(root), Ok(above)) = (fs::metadata("/"), fs::metadata(above))
                && (root.dev(), root.ino()) != (above.dev(), above.ino())
            {
                self.got("outer-directory", "-", "above the root");
            }
        }
    }

    /// Keys that its caller has for its session and its user, down to what is in them; and those that
    /// the kernel lists, of which its own begin with a dot.
    fn keys(&mut self) {
        for (name, id) in [
            ("session-keyring", KeyRingIdentifier::Session),
            ("user-keyring", KeyRingIdentifier::User),
            ("user-session-keyring", KeyRingIdentifier::UserSession),
        ] {
            self.tried();
            let Ok(ring) = KeyRing::from_special_id(id, false) else {
                continue;
            };
            let what = ring.metadata();
            let what = what.map_or_else(|_| "-".to_owned(), |it| it.get_description().to_owned());
            self.got(name, &what, "");
            self.keyring(&what, &ring, 3);
        }
        let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
        for line in keys.lines() {
            self.tried();
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, _, rights, uid, _, kind, description @ ..] = words.as_slice() {
                let description = description.join(" ");
                if !description.starts_with('.') {
                    let of = format!("{kind} of {uid}");
                    self.got("listed-key", &of, &format!("{description} {rights}"));
                }
            }
        }
    }

    fn keyring(&mut self, of: &str, ring: &KeyRing, depth: u32) {
        let links = ring.get_links(64);
        for link in links.iter().flat_map(|links| links.iter()) {
            self.tried();
            if let Some(inner) = link.as_ring().filter(|_| depth > 0) {
                self.keyring(of, &inner, depth - 1);
            }
            let Some(key) = link.as_key() else { continue };
            let name = key.metadata();
            let name = name.map_or_else(|_| "-".to_owned(), |it| it.get_description().to_owned());
            // Its contents stay where they are.
            let detail = match key.read_to_vec() {
                Ok(content) => format!("{} bytes of it", content.len()),
                Err(_) => "its name".to_owned(),
            };
            self.got("key", of, &format!("{name}, {detail}"));
        }
    }

    /// A terminal into which it could type what its caller's shell would read. There is no safe way to try,
    /// so this says whether the kernel would allow it: as it did before 6.2, or with the switch on.
    fn terminal(&mut self) {
        self.tried();
        if !rustix::termios::isatty(std::io::stdin()) {
            return;
        }
        let name = fs::read_link("/proc/self/fd/0").unwrap_or_default();
        self.got("terminal", "0", &name.display().to_string());
        let switch = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
        if switch.map_or(true, |text| text.trim() != "0") {
            self.got("typing", "0", "TIOCSTI is allowed");
        }
        if File::open("/dev/tty").is_ok() {
            self.got("controlling-terminal", "/dev/tty", "");
        }
    }

    fn sockets(&mut self) {
        let table = fs::read("/proc/net/unix").unwrap_or_default();
        let table = String::from_utf8_lossy(&table).into_owned();
        for line in table.lines().skip(1) {
            // Num RefCount Protocol Flags Type St Inode Path
            let words: Vec<&str> = line.split_whitespace().collect();
            let [_, _, _, flags, kind, _, _, name] = words.as_slice() else {
                continue;
            };
            let listens = *flags == "00010000";
            self.tried();
            match (name.strip_prefix('@'), *kind) {
                (Some(name), "0001") if listens => self.call(name, SocketType::STREAM),
                (Some(name), "0005") if listens => self.call(name, SocketType::SEQPACKET),
                (Some(name), "0002") => self.call(name, SocketType::DGRAM),
                (None, "0001") if listens && UnixStream::connect(name).is_ok() => {
                    self.got("socket", name, "");
                }
                (None, "0002") => {
                    let called = UnixDatagram::unbound().and_then(|own| own.connect(name));
                    if called.is_ok() {
                        self.got("socket", name, "");
                    }
                }
                _ => {}
            }
        }
    }

    /// Calls an abstract socket. A monitor of `front`'s is asked, by one byte, what it would tell.
    fn call(&mut self, name: &str, kind: SocketType) {
        let called = socket_with(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK, None).and_then(
            |socket| {
                let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
                connect(&socket, &address)?;
                Ok(socket)
            },
        );
        let Ok(socket) = called else { return };
        let peer = socket_peercred(&socket);
        let peer = peer.map_or_else(
            |_| "nobody known".to_owned(),
            |peer| {
                let pid = peer.pid.as_raw_nonzero().get();
                format!("of uid {} pid {pid} {}", peer.uid.as_raw(), name_of(pid))
            },
        );
        self.got("abstract-socket", &format!("@{name}"), &peer);
        if !name.starts_with("front/") || kind != SocketType::SEQPACKET {
            return;
        }
        for (length, descriptors) in ask(&socket) {
            let detail = format!("{length} bytes and {descriptors} descriptors");
            self.got("answer", &format!("@{name}"), &detail);
        }
    }

    /// Counts by directory, with one file as an example: there are tens of thousands.
    fn files_for_writing(&mut self) {
        let mut found: BTreeMap<PathBuf, (u32, PathBuf)> = BTreeMap::new();
        for path in ["/proc/sysrq-trigger", "/proc/kcore", "/proc/timer_list"] {
            self.tried();
            if for_writing(Path::new(path)) {
                self.got("write", path, "");
            }
        }
        for top in ["/proc/sys", "/sys", "/proc/irq", "/proc/scsi", "/proc/acpi"] {
            let mut files = Vec::new();
            walk(Path::new(top), 12, &mut files);
            for (path, kind) in files {
                self.tried();
                if kind.is_file() && for_writing(&path) {
                    let directory: PathBuf = path.components().take(4).collect();
                    let entry = found.entry(directory).or_insert_with(|| (0, path));
                    entry.0 += 1;
                }
            }
        }
        for (directory, (count, example)) in found {
            let detail = format!("{count} files, as {}", example.display());
            self.got("write", &directory.display().to_string(), &detail);
        }
    }

    fn devices(&mut self) {
        let mut files = Vec::new();
        walk(Path::new("/dev"), 6, &mut files);
        for (path, kind) in files {
            // Opened, a watchdog begins to wait for food, and a tape rewinds.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_moved_by_opening = ["watchdog", "st", "nst"].iter().any(|kind| {
                let rest = name.strip_prefix(kind);
                rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
            });
            if !(kind.is_char_device() || kind.is_block_device()) || is_moved_by_opening {
                continue;
            }
            let kind = if kind.is_block_device() {
                "block"
            } else {
                "character"
            };
            let opened = |read: bool, write: bool| {
                let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
                let mut options = OpenOptions::new();
                let options = options.read(read).write(write).custom_flags(flags);
                options.open(&path).is_ok()
            };
            let mut rights = String::new();
            for (word, read, write) in [("r", true, false), ("w", false, true)] {
                self.tried();
                if opened(read, write) {
                    rights.push_str(word);
                }
            }
            if !rights.is_empty() {
                let number = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.rdev());
                let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
                let detail = format!("{kind} {major}:{minor} {rights}");
                self.got("device", &path.display().to_string(), &detail);
            }
        }
    }

    /// A node for the first disk's first sectors, and one for memory, removed again at once.
    fn nodes(&mut self) {
        for directory in ["/dev", "/dev/shm", "/tmp", "/var/tmp", "/run", "."] {
            for (kind, major, minor) in [(SFlag::S_IFCHR, 1, 1), (SFlag::S_IFBLK, 8, 0)] {
                self.tried();
                let path = Path::new(directory).join(format!(".audit-{}", std::process::id()));
                let made = mknod(&path, kind, Mode::S_IRUSR, makedev(major, minor));
                if made.is_ok() {
                    let usable = File::open(&path).is_ok();
                    let _ = fs::remove_file(&path);
                    let word = if usable { "and can be opened" } else { "" };
                    self.got("mknod", directory, &format!("{major}:{minor} {word}"));
                }
            }
        }
    }

    /// Mounts that are attached nowhere, and are gone with their descriptors.
    fn mounts(&mut self) {
        for kind in [
            "tmpfs", "proc", "sysfs", "devpts", "cgroup2", "overlay", "ext4",
        ] {
            self.tried();
            if fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).is_ok() {
                self.got("mount", kind, "a new file system");
            }
        }
        self.tried();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if open_tree(CWD, "/", flags).is_ok() {
            self.got("mount", "/", "a copy of the root's mount");
        }
    }

    fn processes(&mut self) {
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
            // A list of numbers is less than what they stand for.
            if targets.is_empty() && !entries.is_empty() {
                self.got(&format!("{name}-numbers"), &of, &entries.len().to_string());
            }
            if targets.is_empty() {
                continue;
            }
            self.got(name, &of, &targets.join(" "));
        }
        for name in NAMESPACES {
            self.tried();
            if File::open(place.join("ns").join(name)).is_ok() {
                let theirs = fs::read_link(place.join("ns").join(name)).unwrap_or_default();
                let ours = fs::read_link(Path::new("/proc/self/ns").join(name));
                let same = ours.is_ok_and(|ours| ours == theirs);
                let detail = if same { "the same as ours" } else { "another" };
                self.got(&format!("ns/{name}"), &of, detail);
            }
        }
        self.tried();
        if kill(Pid::from_raw(pid), None).is_ok() {
            self.got("signal", &of, "");
        }
        self.memory(pid, &of);
    }

    /// Reading, attaching, and taking descriptors: the kernel checks the right to it before all else.
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
        // It stops nobody, and ends with the thread that did it.
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

    /// Processes that `/proc` does not show, because it is another's, or hides them.
    fn hidden_processes(&mut self) {
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

/// Asks a monitor what it would tell; how long each answer is, and how many descriptors come with it.
fn ask(socket: &OwnedFd) -> Vec<(usize, usize)> {
    let waiting = rustix::io::ioctl_fionbio(socket, false)
        .and_then(|()| set_socket_timeout(socket, Timeout::Recv, Some(Duration::from_millis(500))))
        .and_then(|()| send(socket, b"?", SendFlags::NOSIGNAL));
    let mut answers = Vec::new();
    while waiting.is_ok() && answers.len() < 4 {
        let mut buffer = vec![0; 32 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let Some(length) = received
            .ok()
            .map(|received| received.bytes)
            .filter(|length| *length > 0)
        else {
            break;
        };
        let descriptors = ancillary.drain().map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.count(),
            _ => 0,
        });
        answers.push((length, descriptors.sum()));
    }
    answers
}

fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("({})", name.trim_end())
}

/// Whether a file can be opened for writing; nothing is written, or cut off.
fn for_writing(path: &Path) -> bool {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW | nix::libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(flags).open(path).is_ok()
}

/// Finds what is below a directory, through no link.
fn walk(directory: &Path, depth: u32, found: &mut Vec<(PathBuf, fs::FileType)>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            if depth > 0 {
                walk(&entry.path(), depth - 1, found);
            }
        } else if !kind.is_symlink() {
            found.push((entry.path(), kind));
        }
    }
}
