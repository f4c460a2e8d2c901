//! Allowing devices in a container's cgroup.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use device_filter::Rule;
use inject::Host;
use rustix::fs::{FileType, major, minor};

/// The mount points of cgroup v2, when it is the only version, and of the devices controller of
/// cgroup v1.
const UNIFIED: &str = "/sys/fs/cgroup";
const DEVICES: &str = "/sys/fs/cgroup/devices";

/// The name of the cgroup for the container's processes, which crun makes below the cgroup that it
/// limits.
const BELOW: &str = "container";

/// Allows a container to use device nodes. In cgroup v1 this changes a list
/// (`Documentation/admin-guide/cgroup-v1/devices.rst`), in cgroup v2 the program that the runtime
/// has loaded.
pub(crate) fn allow(pid: Option<i32>, host: &Host, nodes: &[PathBuf]) -> io::Result<()> {
    let Some(memberships) =
        pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok())
    else {
        return Ok(());
    };
    let rules = nodes.iter().map(|node| rule(host, node));
    let rules: Vec<Rule> = rules
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
        device_filter::widen(cgroup.as_fd(), &rules)?;
    }
    Ok(())
}

/// Returns the rule that allows reading and writing a device. Returns `None` for a file that is not
/// a device.
fn rule(host: &Host, node: &Path) -> io::Result<Option<Rule>> {
    let Some(status) = host.files().status(node)? else {
        return Ok(None);
    };
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::CharacterDevice => Rule::CHARACTER,
        FileType::BlockDevice => Rule::BLOCK,
        _ => return Ok(None),
    };
    Ok(Some(Rule {
        allow: true,
        kind: Some(kind),
        major: Some(major(status.st_rdev)),
        minor: Some(minor(status.st_rdev)),
        access: Rule::READ | Rule::WRITE,
    }))
}

/// Returns the rule in the format of cgroup v1.
fn line(rule: &Rule) -> String {
    let kind = if rule.kind == Some(Rule::BLOCK) {
        'b'
    } else {
        'c'
    };
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    format!("{kind} {}:{} rw", number(rule.major), number(rule.minor))
}

/// Returns the directory of a process's cgroup in the hierarchy of a controller, cgroups(7).
/// Returns `None` when the hierarchy is not mounted, or when the process is in its root, which
/// belongs to no container.
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
