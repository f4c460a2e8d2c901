//! Collects facts about the host for what a container shares with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bundle::{Device, HostFacts};
use rustix::fs::{Access, FileType, major, minor};

use crate::caller::Caller;

/// Names in `/dev` of which a container has its own nodes. The engine makes them.
const OWN: [&str; 17] = [
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "console", "fd", "stdin",
    "stdout", "stderr", "core", "log", "initctl", "kmsg",
];

/// Collects the host's devices, paths and files that a container may share.
pub fn facts(caller: &Caller) -> HostFacts {
    let (devices, device_directories) = devices();
    HostFacts {
        devices,
        device_directories,
        ..facts_without_devices(caller)
    }
}

/// Collects the same without the devices, which need a system call each. A process that joins a
/// container gets the container's devices.
pub fn facts_without_devices(caller: &Caller) -> HostFacts {
    let files = HostFacts::FILES.iter().map(|(path, _)| PathBuf::from(path));
    let present = files.filter(|path| path.exists()).collect();
    HostFacts {
        devices: Vec::new(),
        device_directories: Vec::new(),
        terminal: terminal(),
        cwd: caller.cwd.clone(),
        resolv_conf: fs::read("/etc/resolv.conf").ok(),
        present,
    }
}

/// Returns the nodes in `/dev` that the caller may open, and the directories that the caller may
/// enter.
fn devices() -> (Vec<Device>, Vec<PathBuf>) {
    let own = rustix::process::getuid().as_raw();
    let (mut nodes, mut directories) = (Vec::new(), Vec::new());
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        if OWN.iter().any(|own| name == *own) {
            continue;
        }
        let path = entry.path();
        // Links are not followed: the engine makes some anew, and the targets of others are listed
        // by their own names.
        let Ok(stat) = rustix::fs::lstat(&path) else {
            continue;
        };
        // A node that only its owner may use needs no further call: an access control list cannot
        // grant more than the group's part of the mode. This is true of most nodes, and saves two
        // of three calls.
        let is_others = own != 0 && stat.st_uid != own && stat.st_mode & 0o077 == 0;
        let may = |access| !is_others && rustix::fs::access(&path, access).is_ok();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if may(Access::READ_OK | Access::EXEC_OK) => directories.push(path),
            kind @ (FileType::CharacterDevice | FileType::BlockDevice)
                if may(Access::READ_OK) || may(Access::WRITE_OK) =>
            {
                nodes.push(Device {
                    path,
                    block: kind == FileType::BlockDevice,
                    major: major(stat.st_rdev),
                    minor: minor(stat.st_rdev),
                    mode: stat.st_mode & 0o777,
                });
            }
            _ => {}
        }
    }
    nodes.sort_by(|a, b| a.path.cmp(&b.path));
    directories.sort();
    (nodes, directories)
}

/// Returns the name of the terminal on a standard stream.
fn terminal() -> Option<PathBuf> {
    let streams = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    let stream = streams
        .into_iter()
        .find(|stream| rustix::termios::isatty(stream))?;
    let name = rustix::termios::ttyname(stream, Vec::new()).ok()?;
    let path = PathBuf::from(name.to_str().ok()?);
    path.starts_with("/dev/pts").then_some(path)
}

/// Returns this host, as the source of injected files. Its programs are searched on the caller's
/// `PATH`.
///
/// # Errors
///
/// Fails when its root directory cannot be opened.
pub fn with_programs(caller: &Caller) -> Result<inject::Host> {
    let path = caller.variables.get("PATH").unwrap_or_default();
    inject::Host::new(Path::new("/"), path).context("examine the host")
}

/// Returns the machine of the container's programs, so that libraries match them: that of a usual
/// program in it, or else that of this program.
pub fn machine(root: &image::RootFs) -> Option<elf::Object> {
    inject::machine(root).or_else(own_machine)
}

/// Returns the machine of this program.
pub fn own_machine() -> Option<elf::Object> {
    use std::io::Read;
    let mut head = [0; elf::Object::HEAD];
    let own = fs::File::open("/proc/self/exe");
    own.and_then(|mut own| own.read_exact(&mut head)).ok()?;
    elf::Object::parse(&head).ok()
}

/// Returns the capabilities of this machine's processor.
pub fn processor() -> Option<doctor::Processor> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Some(doctor::Processor::new(own_machine()?, &cpuinfo))
}
