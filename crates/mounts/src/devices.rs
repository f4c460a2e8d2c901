//! A container's device nodes and the links beside them ([config-linux.md], "Default Devices" and
//! "Dev symbolic links").
//!
//! [config-linux.md]: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rootfs::{Files, attach, plain};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, makedev, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::umask;
use serde_json::Value;
use sys::mount_bits::{NO_EXEC, NO_SUID, READ_ONLY};

use crate::make::mount_id;
use crate::{Error, Root};

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    path: PathBuf,
    kind: FileType,
    number: u64,
    mode: u32,
    owner: (Option<u32>, Option<u32>),
}

/// The devices that each container has: name and numbers (runtime-spec, "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The user that a namespace shows for an owner whom it does not have: the default of
/// `/proc/sys/kernel/overflowuid`.
const NOBODY: u32 = 65534;

/// The mode of a device that has no other.
const MODE: u32 = 0o666;

impl Device {
    /// Reads the specification's `linux.devices`.
    ///
    /// # Errors
    ///
    /// Returns a message about a device that cannot be made.
    pub fn parse_all(list: &Value) -> Result<Vec<Self>, String> {
        let list = list.as_array().into_iter().flatten();
        list.map(Self::parse).collect()
    }

    fn parse(device: &Value) -> Result<Self, String> {
        let path = device["path"].as_str().unwrap_or_default();
        let wrong = |reason: &str| format!("linux.devices: {path:?}: {reason}");
        let destination = plain(Path::new(path));
        if !path.starts_with('/') || destination == Path::new("/") {
            return Err(wrong("the path is not one of a file"));
        }
        let kind = match device["type"].as_str() {
            Some("c" | "u") => FileType::CharacterDevice,
            Some("b") => FileType::BlockDevice,
            Some("p") => FileType::Fifo,
            _ => return Err(wrong("the type is none of c, u, b, p")),
        };
        let number = |name: &str| -> Result<u32, String> {
            let number = device[name].as_u64();
            let number = number.and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| wrong(&format!("{name} is no number of a device")))
        };
        let id = |name: &str| device[name].as_u64().and_then(|id| u32::try_from(id).ok());
        // A FIFO has no numbers, whatever is given.
        let number = match kind {
            FileType::Fifo => 0,
            _ => makedev(number("major")?, number("minor")?),
        };
        Ok(Self {
            path: destination,
            kind,
            number,
            mode: id("fileMode").unwrap_or(MODE) & 0o7777,
            owner: (id("uid"), id("gid")),
        })
    }

    /// Returns the devices that each container has.
    fn defaults() -> impl Iterator<Item = Self> {
        DEFAULT.iter().map(|(path, major, minor)| Self {
            path: path.into(),
            kind: FileType::CharacterDevice,
            number: makedev(*major, *minor),
            mode: MODE,
            owner: (None, None),
        })
    }

    /// Makes the node, or shows the host's if `may_mount`.
    fn make(&self, root: &Root, may_mount: bool) -> io::Result<()> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let above = open_own(root, parent)?;
        let name = self.path.file_name().ok_or(Errno::ISDIR)?;
        // The mode is the device's whole. To set it later would be to trust a name, which somebody
        // else can give to another file.
        let before = umask(Mode::empty());
        let mode = Mode::from_raw_mode(self.mode);
        let made = mknodat(&above, name, self.kind, mode, self.number);
        umask(before);
        match made {
            Ok(()) => self.complete(&above, name),
            // As in runc, what the image or a volume brings is used.
            Err(Errno::EXIST) if !self.is_another(&above, name) => Ok(()),
            // A mount on the name is wanted there. Nobody may make devices in a user namespace: the
            // host's is shown.
            Err(Errno::EXIST) if is_mount(&above, name)? => Ok(()),
            Err(Errno::PERM | Errno::EXIST) if may_mount && self.kind != FileType::Fifo => {
                self.bind(&above, name)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether another kind of file, or another device, has the name.
    fn is_another(&self, above: impl AsFd, name: &OsStr) -> bool {
        let found = statat(above, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| !self.is_of(found.st_mode, found.st_rdev))
    }

    fn is_of(&self, mode: u32, number: u64) -> bool {
        FileType::from_raw_mode(mode) == self.kind && number == self.number
    }

    /// Sets the owner of the node that was made.
    fn complete(&self, above: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let (user, group) = self.owner;
        if (user, group) == (None, None) {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(above, name, flags, Mode::empty())?;
        let found = fstat(&node)?;
        if !self.is_of(found.st_mode, found.st_rdev) {
            return Err(io::Error::other("somebody else has put another file there"));
        }
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        Ok(chownat(&node, "", user, group, AtFlags::EMPTY_PATH)?)
    }

    /// Shows the host's device of the same path.
    fn bind(&self, above: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let tree = sys::bind(&self.path, false)?;
        let found = fstat(&tree)?;
        if !self.is_of(found.st_mode, found.st_rdev) {
            return Err(io::Error::other("the host's file there is another one"));
        }
        // A device is written to on a read-only mount, too, but the container's root cannot change
        // the mode or the owner of a file that is root's here as well.
        let read_only = match found.st_uid == NOBODY {
            true => 0,
            false => READ_ONLY,
        };
        sys::change_mount(tree.as_fd(), false, NO_SUID | NO_EXEC | read_only, 0)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = match openat(above, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(above, name, create, Mode::from_raw_mode(0o644))?;
                openat(above, name, flags, Mode::empty())?
            }
            opened => opened?,
        };
        attach(tree, place)
    }
}

/// Whether something is mounted on a name.
fn is_mount(above: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(mount_id(openat(above, name, flags, Mode::empty())?)? != mount_id(above)?)
}

/// Opens a directory, which is made where it is missing. One on a mount that is not the container's
/// own, to which a link of the image's leads, is refused: what is made there would stay. Where the
/// document itself names a bind, it may.
fn open_own(root: &Root, directory: &Path) -> io::Result<OwnedFd> {
    let refuse = || {
        Err(io::Error::other(
            "a link of the image leads to a mount of the host's, where the device would stay",
        ))
    };
    let is_own = |mount: u64| {
        let mut named = root.named.iter();
        root.own.contains(&mount)
            || named.any(|(named, path)| *named == mount && directory.starts_with(path))
    };
    let true_path = root.directory.locate(directory)?.path;
    let mut above = true_path.as_path();
    // A missing directory is made on the mount of the one above it.
    let there = loop {
        match root.directory.open_path(above)? {
            Some(there) => break there,
            None => above = above.parent().unwrap_or(Path::new("/")),
        }
    };
    if !is_own(mount_id(&there)?) {
        return refuse();
    }
    // Somebody who may write to the root can put a link there now.
    let opened = root.directory.make_directories(directory)?;
    match is_own(mount_id(&opened)?) {
        true => Ok(opened),
        false => refuse(),
    }
}

/// The links: name and target.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes the default devices, the wanted ones and the links in a container's root. What is there
/// already stays.
pub(crate) fn make_all(root: &Root, wanted: &[Device], may_mount: bool) -> Result<(), Error> {
    let is_wanted = |device: &Device| wanted.iter().any(|one| one.path == device.path);
    let defaults = Device::defaults().filter(|device| !is_wanted(device));
    for device in wanted.iter().cloned().chain(defaults) {
        // The link to the container's own terminals takes its place.
        if device.path == Path::new("/dev/ptmx") {
            continue;
        }
        device.make(root, may_mount).map_err(Error::at(format!(
            "make the device {}",
            device.path.display()
        )))?;
    }
    let directory = open_own(root, Path::new("/dev")).map_err(Error::at("open /dev"))?;
    let link = |name: &str, target: &str| match symlinkat(target, &directory, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::at(format!("make the link /dev/{name}"))(
            errno.into(),
        )),
    };
    if Path::new("/proc/kcore").exists() {
        link("core", "/proc/kcore")?;
    }
    for (name, target) in LINKS {
        link(name, target)?;
    }
    match unlinkat(&directory, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => link("ptmx", "pts/ptmx"),
        Err(errno) => Err(Error::at("remove /dev/ptmx")(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_are_read() {
        let list = json!([
            {"path": "/dev/fuse/", "type": "c", "major": 10, "minor": 229, "fileMode": 0o20660, "uid": 5},
            {"path": "/run/pipe", "type": "p"},
        ]);
        let devices = Device::parse_all(&list).unwrap();
        assert_eq!(
            devices.first().unwrap(),
            &Device {
                path: "/dev/fuse".into(),
                kind: FileType::CharacterDevice,
                number: makedev(10, 229),
                mode: 0o660,
                owner: (Some(5), None),
            }
        );
        assert_eq!(devices.len(), 2);
        for wrong in [
            json!({"path": "/dev/x", "type": "c"}),
            json!({"path": "dev/x", "type": "c", "major": 1, "minor": 1}),
            json!({"path": "/dev/x", "type": "z", "major": 1, "minor": 1}),
            json!({"path": "/dev/x", "type": "b", "major": -1, "minor": 1}),
        ] {
            assert!(Device::parse_all(&json!([wrong])).is_err(), "{wrong}");
        }
    }
}
