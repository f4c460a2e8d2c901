//! Devices that a container's cgroup must allow.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use inject::Host;
use rustix::fs::{FileType, major, minor};
use sys::DeviceRule;

/// The hierarchies: of the second version where it is the only one, and of the first for devices.
const UNIFIED: &str = "/sys/fs/cgroup";
const DEVICES: &str = "/sys/fs/cgroup/devices";

/// What crun puts below the cgroup that it limits, for the container's processes.
const BELOW: &str = "container";

/// Allows a container the use of nodes: by the first version's list
/// (`Documentation/admin-guide/cgroup-v1/devices.rst`), or by the second version's program, which the
/// runtime has loaded.
pub(crate) fn allow(pid: Option<i32>, host: &Host, nodes: &[PathBuf]) -> io::Result<()> {
    let Some(memberships) =
        pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok())
    else {
        return Ok(());
    };
    let rules = nodes.iter().map(|node| rule(host, node));
    let rules: Vec<DeviceRule> = rules
        .filter_map(io::Result::transpose)
        .collect::<io::Result<_>>()?;
    if let Some(directory) = directory(&memberships, "devices", DEVICES) {
        let file = directory.join("devices.allow");
        return rules
            .iter()
            .try_for_each(|rule| fs::write(&file, line(rule)));
    }
    let Some(directory) = directory(&memberships, "", UNIFIED) else {
        return Ok(());
    };
    let above = directory.parent().filter(|_| directory.ends_with(BELOW));
    for limited in [Some(directory.as_path()), above].into_iter().flatten() {
        let cgroup = File::open(limited)?;
        sys::widen_device_programs(cgroup.as_fd(), &rules)?;
    }
    Ok(())
}

/// What allows reading and writing a device; `None` for what is none.
fn rule(host: &Host, node: &Path) -> io::Result<Option<DeviceRule>> {
    let Some(status) = host.files().status(node)? else {
        return Ok(None);
    };
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::CharacterDevice => DeviceRule::CHARACTER,
        FileType::BlockDevice => DeviceRule::BLOCK,
        _ => return Ok(None),
    };
    Ok(Some(DeviceRule {
        allow: true,
        kind: Some(kind),
        major: Some(major(status.st_rdev)),
        minor: Some(minor(status.st_rdev)),
        access: DeviceRule::READ | DeviceRule::WRITE,
    }))
}

/// The rule as the first version's file takes it.
fn line(rule: &DeviceRule) -> String {
    let kind = if rule.kind == Some(DeviceRule::BLOCK) {
        'b'
    } else {
        'c'
    };
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    format!("{kind} {}:{} rw", number(rule.major), number(rule.minor))
}

/// The directory of a process's cgroup in the hierarchy with a controller, cgroups(7); `None` where it is
/// not mounted, or the process is in its root, which is nobody's own.
fn directory(memberships: &str, controller: &str, mounted: &str) -> Option<PathBuf> {
    let path = memberships.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let has = parts.next()?.split(',').any(|own| own == controller);
        has.then(|| parts.next())?
    })?;
    let relative = path.trim_start_matches('/');
    let directory = Path::new(mounted).join(relative);
    let exists = directory.join("cgroup.procs").exists();
    (exists && !relative.is_empty()).then_some(directory)
}
