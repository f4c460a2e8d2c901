//! Devices that a container's cgroup must allow.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use inject::Host;
use rustix::fs::{FileType, major, minor};

/// The first version's hierarchy of devices.
const HIERARCHY: &str = "/sys/fs/cgroup/devices";

/// Allows a container the use of a node, where the first version's hierarchy of devices limits it
/// (`Documentation/admin-guide/cgroup-v1/devices.rst`). In the unified hierarchy a program decides that
/// the runtime has loaded, to which nothing can be added: there, devices are for the runtime to give.
pub(crate) fn allow(pid: Option<i32>, host: &Host, node: &Path) -> io::Result<()> {
    let Some(directory) = pid.and_then(directory) else {
        return Ok(());
    };
    let Some(node) = host.files().status(node)? else {
        return Ok(());
    };
    let kind = match FileType::from_raw_mode(node.st_mode) {
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => return Ok(()),
    };
    let rule = format!("{kind} {}:{} rw", major(node.st_rdev), minor(node.st_rdev));
    fs::write(directory.join("devices.allow"), rule)
}

/// The directory of the container's cgroup; `None` where there is no such hierarchy.
fn directory(pid: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let is_devices = controllers
            .split(',')
            .any(|controller| controller == "devices");
        is_devices.then(|| parts.next())?
    })?;
    let directory = Path::new(HIERARCHY).join(path.trim_start_matches('/'));
    directory
        .join("devices.allow")
        .exists()
        .then_some(directory)
}
