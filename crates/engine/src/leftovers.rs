//! Links and devices that an earlier container left in a root file system's `/dev`.

use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, makedev, openat, readlinkat, statat, unlinkat,
};
use serde_json::Value;

/// The links that libcontainer makes there, and does not expect to find.
const LINKS: [(&str, &str); 5] = [
    ("kcore", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The devices that it makes there, which every container has (runtime-spec, config-linux.md, default devices).
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Removes those that are just what libcontainer makes, where no mount is to cover them. One that cannot be removed
/// is libcontainer's to fail at.
pub(crate) fn remove(document: &Value) {
    let mounts = document.get("mounts").and_then(Value::as_array);
    let covers = |mount: &Value| {
        let destination = mount.get("destination").and_then(Value::as_str);
        destination.is_some_and(|path| Path::new(path) == Path::new("/dev"))
    };
    let root = document.pointer("/root/path").and_then(Value::as_str);
    let Some(root) = root.filter(|_| !mounts.into_iter().flatten().any(covers)) else {
        return;
    };
    // A link in the place of `/dev` was refused before; another of the moment leads nowhere.
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
        let mut document =
            json!({"root": {"path": root.path()}, "mounts": [{"destination": "/dev/"}]});
        remove(&document);
        assert_eq!(left(), ["fd", "stdin", "stdout"]);
        document["mounts"] = json!([{"destination": "/dev/pts"}]);
        remove(&document);
        assert_eq!(left(), ["stdin", "stdout"]);
        // A link in the place of the directory is not followed.
        let moved = root.path().join("elsewhere");
        fs::rename(&devices, &moved).unwrap();
        symlink("/proc/self/fd", moved.join("fd")).unwrap();
        symlink("elsewhere", &devices).unwrap();
        remove(&document);
        assert!(moved.join("fd").symlink_metadata().is_ok());
    }
}
