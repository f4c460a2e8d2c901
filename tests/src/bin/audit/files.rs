//! Files, devices and mounts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::CWD;
use rustix::mount::{FsOpenFlags, OpenTreeFlags, fsopen, open_tree};

use crate::{Audit, for_writing};

impl Audit {
    /// Counts by directory, with one file as an example: there are tens of thousands.
    pub(crate) fn files_for_writing(&mut self) {
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

    pub(crate) fn devices(&mut self) {
        let mut files = Vec::new();
        walk(Path::new("/dev"), 6, &mut files);
        for (path, kind) in files {
            // Opening a watchdog starts its timer, and opening a tape rewinds it.
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

    /// Makes a node for the first disk and one for memory, and removes them again at once.
    pub(crate) fn nodes(&mut self) {
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

    /// Makes mounts that are not attached anywhere, and disappear with their descriptors.
    pub(crate) fn mounts(&mut self) {
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
}

/// Finds the files below a directory, without following links.
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
