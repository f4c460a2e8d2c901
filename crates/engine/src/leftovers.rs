//! Links and devices that an earlier container left in a root file system's `/dev`.

use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, makedev, openat, readlinkat, statat, unlinkat,
};
use serde_json::Value;

use crate::Document;

/// The links that libcontainer makes there; it fails if they exist.
const LINKS: [(&str, &str); 5] = [
    ("kcore", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The devices that libcontainer makes there. Every container has them (runtime-spec,
/// config-linux.md, default devices).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Removes the links and devices that equal those libcontainer makes, unless a mount will cover
/// `/dev`. If one cannot be removed, libcontainer reports the failure.
pub(crate) fn remove(document: &Document) {
    let covers = |mount: &Value| {
        let destination = mount.get("destination").and_then(Value::as_str);
        destination.is_some_and(|path| Path::new(path) == Path::new("/dev"))
    };
    let root = document.root_path();
    let Some(root) = root.filter(|_| !document.mounts().any(covers)) else {
        return;
    };
    // A symbolic link in place of `/dev` was refused before. One that appears only now is not
    // followed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let devices = openat(CWD, root, flags - OFlags::NOFOLLOW, Mode::empty())
        .and_then(|root| openat(root, "dev", flags, Mode::empty()));
    let Ok(devices) = devices else {
        return;
    };
    for (name, target) in LINKS {
        let found = readlinkat(&devices, name, Vec::new());
        if found.is_ok_and(|found| found.to_bytes() == target.as_bytes()) {
            let _ = unlinkat(&devices, name, AtFlags::empty());
        }
    }
    for (name, major, minor) in DEVICES {
        let found = statat(&devices, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_it = found.is_ok_and(|found| {
            let kind = FileType::from_raw_mode(found.st_mode);
            kind == FileType::CharacterDevice && found.st_rdev == makedev(major, minor)
        });
        if is_it {
            let _ = unlinkat(&devices, name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_its_own_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("dev");
        fs::create_dir(&devices).unwrap();
        let make = || {
            symlink("/proc/self/fd", devices.join("fd")).unwrap();
            symlink("/elsewhere", devices.join("stdin")).unwrap();
            fs::write(devices.join("stdout"), "").unwrap();
        };
        let left = || {
            let names = fs::read_dir(&devices).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        make();
        let mut document = Document::from(
            json!({"root": {"path": root.path()}, "mounts": [{"destination": "/dev/"}]}),
        );
        remove(&document);
        assert_eq!(left(), ["fd", "stdin", "stdout"]);
        document["mounts"] = json!([{"destination": "/dev/pts"}]);
        remove(&document);
        assert_eq!(left(), ["stdin", "stdout"]);
        // A link in place of the directory is not followed.
        let moved = root.path().join("elsewhere");
        fs::rename(&devices, &moved).unwrap();
        symlink("/proc/self/fd", moved.join("fd")).unwrap();
        symlink("elsewhere", &devices).unwrap();
        remove(&document);
        assert!(moved.join("fd").symlink_metadata().is_ok());
    }
}
