//! `enter ROOT UID COMMAND…`: runs a command as a user with ROOT as the whole file system.
//!
//! It uses pivot_root in a mount namespace of its own, because nobody may make user namespaces in a
//! chroot. `/proc` and `/sys` are the kernel's. `/dev` is a small one, with additional nodes from
//! ROOT.dev (lines `NAME MAJOR MINOR`). ROOT/tmp/host is the host's `/tmp`, if the directory
//! exists.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, chdir, execve, pivot_root, setgid, setgroups, setuid};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [root, uid, command @ ..] = words.as_slice() else {
        return Err("enter ROOT UID COMMAND...".into());
    };
    let root = fs::canonicalize(root)?;
    let uid: u32 = uid.to_string_lossy().parse()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    bind(&root, &root)?;
    mount(
        Some("proc"),
        &root.join("proc"),
        Some("proc"),
        MsFlags::empty(),
        none,
    )?;
    bind(Path::new("/sys"), &root.join("sys"))?;
    make_dev(&root)?;
    let shared = root.join("tmp/host");
    if shared.is_dir() {
        bind(Path::new("/tmp"), &shared)?;
    }
    chdir(&root)?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    setgroups(&[])?;
    setgid(Gid::from_raw(uid))?;
    setuid(Uid::from_raw(uid))?;
    let text = |bytes: &[u8]| CString::new(bytes);
    let args = command
        .iter()
        .map(|word| text(word.as_bytes()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let program = args.first().ok_or("no command")?;
    let env = [
        c"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        c"TERM=dumb",
    ];
    execve(program, &args, &env)?;
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    Ok(mount(
        Some(source),
        target,
        None::<&str>,
        flags,
        None::<&str>,
    )?)
}

fn make_dev(root: &Path) -> Result<()> {
    let dev = root.join("dev");
    mount(
        Some("tmpfs"),
        &dev,
        Some("tmpfs"),
        MsFlags::MS_NOSUID,
        Some("mode=755"),
    )?;
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
        ("fuse", 10, 229),
    ];
    for (name, major, minor) in nodes {
        node(&dev.join(name), major, minor)?;
    }
    let mut list = root.as_os_str().to_owned();
    list.push(".dev");
    for line in fs::read_to_string(PathBuf::from(list))
        .unwrap_or_default()
        .lines()
    {
        let mut words = line.split_whitespace();
        let (Some(name), Some(major), Some(minor)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let path = dev.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&dev))?;
        node(&path, major.parse()?, minor.parse()?)?;
    }
    for directory in ["pts", "shm"] {
        fs::create_dir(dev.join(directory))?;
    }
    bind(Path::new("/dev/pts"), &dev.join("pts"))?;
    fs::set_permissions(dev.join("shm"), fs::Permissions::from_mode(0o1777))?;
    for (number, name) in ["stdin", "stdout", "stderr"].iter().enumerate() {
        symlink(format!("/proc/self/fd/{number}"), dev.join(name))?;
    }
    Ok(symlink("/proc/self/fd", dev.join("fd"))?)
}

fn node(path: &Path, major: u64, minor: u64) -> Result<()> {
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor))?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o666),
    )?)
}
