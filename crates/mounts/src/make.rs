//! Making one mount.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rootfs::{Files, attach, is_directory};
use rustix::fs::{
    AtFlags, Mode, OFlags, StatxFlags, fchmod, fstat, fstatfs, fstatvfs, mkdirat, openat, statx,
    symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, unmount};
use sys::mount_bits::{
    ACCESS_TIME, NO_ACCESS_TIME, NO_DEV, NO_DIRECTORY_ACCESS_TIME, NO_EXEC, NO_LINKS, NO_SUID,
    READ_ONLY, RELATIME, STRICT_ACCESS_TIME,
};

use crate::copy::copy_tree;
use crate::options::Bits;
use crate::{Error, Mount, Root};

/// One of the host's old hierarchies of cgroups, as a container sees it: a name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// The container's own cgroup in it, by its path on the host.
    Own(String, PathBuf),
    /// A link to another one: a hierarchy with several controllers.
    Link(String, PathBuf),
}

/// Where the trees of binds come from.
pub trait Sources {
    /// Makes the tree of a bind, without attaching it. `number` is the mount's place in the list.
    ///
    /// # Errors
    ///
    /// Fails when there is no such source.
    fn open(&self, number: usize, mount: &Mount) -> io::Result<OwnedFd>;

    /// Opens the root's directory as a path only, and makes a tree of it; see
    /// [`open_root`](crate::open_root).
    ///
    /// # Errors
    ///
    /// Fails when there is no such directory.
    fn root(&self, path: &Path) -> io::Result<(OwnedFd, OwnedFd)>;
}

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
const PROC: i64 = 0x9fa0;

/// `PROC_ROOT_INO` of `linux/proc_fs.h`: the inode of a proc's root, and of nothing below it.
const PROC_ROOT: u64 = 1;

/// The files in `/proc` that lxcfs provides in place of the kernel's. The rules are those of runc's
/// `checkProcMount`.
const OF_LXCFS: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// The kinds of file systems of which the kernel keeps one, whatever a mount asks for. A flag of
/// theirs is the mount's alone.
const OF_KERNEL: [&str; 8] = [
    "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "proc", "sysfs", "tmpfs",
];

/// Where the kernel's file systems are mounted on the host.
const SYSFS: &str = "/sys";

impl Root {
    /// Makes the mounts of a list, in order.
    ///
    /// # Errors
    ///
    /// Fails at the first one that cannot be made, and names it.
    pub fn mount_all(&mut self, list: &[Mount], sources: &dyn Sources) -> Result<(), Error> {
        list.iter().enumerate().try_for_each(|(number, mount)| {
            self.mount(number, mount, sources)
                .map_err(Error::of_mount(mount.destination()))
        })
    }

    fn mount(&mut self, number: usize, mount: &Mount, sources: &dyn Sources) -> io::Result<()> {
        self.refuse_path_in_proc(mount)?;
        let made = match mount.is_bind() {
            true => Some(sources.open(number, mount)?),
            false => None,
        };
        let is_a_directory = made.as_ref().map_or(Ok(true), is_directory)?;
        let (place, was_there) = self.place(mount, is_a_directory)?;
        self.refuse_root(&place)?;
        let is_named = self.is_named(&mount.destination, &place)?;
        self.refuse_in_proc(mount, made.as_ref(), &place)?;
        if mount.kind == "cgroup" && !self.hierarchies.is_empty() {
            return self.mount_hierarchies(mount, &place);
        }
        let tree = match made {
            Some(tree) => tree,
            None => self.new_file_system(mount, &place, was_there)?,
        };
        let is_late = !mount.is_bind()
            && mount.is_read_only()
            && (mount.kind == "tmpfs" || mount.destination == Path::new("/dev"));
        change_bits(mount, &tree, is_late)?;
        attach(&tree, &place)?;
        propagate(mount, &tree)?;
        self.remember(mount, &tree, is_named)?;
        if is_late {
            self.late.push(tree);
        }
        Ok(())
    }

    /// Shows the container's own part of each old hierarchy. A whole one would bring
    /// `release_agent` along (CVE-2022-0492).
    fn mount_hierarchies(&self, mount: &Mount, place: &OwnedFd) -> io::Result<()> {
        let directory = sys::new_file_system("tmpfs", ["mode=755"])?;
        let mode = Mode::from_raw_mode(0o755);
        for hierarchy in &self.hierarchies {
            match hierarchy {
                Hierarchy::Own(name, _) => mkdirat(&directory, name.as_str(), mode)?,
                Hierarchy::Link(name, target) => symlinkat(target, &directory, name.as_str())?,
            }
        }
        attach(&directory, place)?;
        propagate(mount, &directory)?;
        let wanted = (mount.options.own.set | mount.options.all.set) & (READ_ONLY | NO_LINKS);
        let bits = NO_SUID | NO_DEV | NO_EXEC | wanted;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for hierarchy in &self.hierarchies {
            if let Hierarchy::Own(name, own) = hierarchy {
                let tree = sys::bind(own, false)?;
                sys::change_mount(tree.as_fd(), false, bits, 0)?;
                attach(
                    tree,
                    openat(&directory, name.as_str(), flags, Mode::empty())?,
                )?;
            }
        }
        sys::change_mount(directory.as_fd(), false, bits, 0)
    }

    /// Whether a place is the one that a path names, without any link.
    fn is_named(&self, path: &Path, place: &OwnedFd) -> io::Result<bool> {
        let Ok(Some(there)) = self.directory.open_without_links(path) else {
            return Ok(false);
        };
        is_same(&there, place)
    }

    fn remember(&mut self, mount: &Mount, tree: &OwnedFd, is_named: bool) -> io::Result<()> {
        if mount.destination == Path::new("/proc") {
            self.proc = Some(mount_id(tree)?);
        }
        match mount.kind.as_str() {
            _ if mount.is_bind() && is_named => {
                self.named
                    .push((mount_id(tree)?, mount.destination.clone()));
            }
            "tmpfs" | "ramfs" if !mount.is_bind() => self.own.push(mount_id(tree)?),
            _ => {}
        }
        Ok(())
    }

    /// Refuses the root as a place, which a link of the image's may lead to. What is mounted there is
    /// entered by `/..` only, without the mounts and masks that come later.
    pub(crate) fn refuse_root(&self, place: &OwnedFd) -> io::Result<()> {
        match is_same(&self.directory, place)? {
            true => Err(io::Error::other(
                "a link of the image leads to its root, which cannot be mounted on",
            )),
            false => Ok(()),
        }
    }

    /// Opens the place to mount on, and says whether it was there. It is made if missing, also where a
    /// link leads to nothing: images have links to files that only a running system has.
    fn place(&self, mount: &Mount, is_a_directory: bool) -> io::Result<(OwnedFd, bool)> {
        let path = &mount.destination;
        // Its files decide about the security of others (CVE-2019-19921, GHSA-fh74-hm69-rqjw).
        let is_ordinary = mount.kind == "proc" || mount.kind == "sysfs";
        let open = || match is_ordinary {
            true => self.directory.open_without_links(path),
            false => self.directory.open_path(path),
        };
        let ordinary = |error: io::Error| match error.raw_os_error() {
            Some(loops) if is_ordinary && loops == Errno::LOOP.raw_os_error() => not_ordinary(),
            _ => error,
        };
        let found = open().map_err(ordinary)?;
        let was_there = found.is_some();
        let place = match found {
            Some(place) => place,
            None => {
                let located = self.directory.locate(path)?.path;
                let made = self.directory.mount_point(&located, is_a_directory);
                drop(made.map_err(|error| cannot_make(path, &error))?);
                open().map_err(ordinary)?.ok_or(Errno::NOENT)?
            }
        };
        match (is_directory(&place)?, is_a_directory) {
            (false, true) if is_ordinary => Err(not_ordinary()),
            (false, true) => Err(io::Error::other(
                "a directory is to be mounted there, but the image has a file",
            )),
            (true, false) => Err(io::Error::other(
                "a file is to be mounted there, but the image has a directory",
            )),
            _ => Ok((place, was_there)),
        }
    }

    /// Refuses a path inside of `/proc`, whatever is there.
    fn refuse_path_in_proc(&self, mount: &Mount) -> io::Result<()> {
        match mount.destination.strip_prefix("/proc") {
            Ok(inside) if inside.as_os_str().is_empty() => Ok(()),
            Ok(inside) if !is_of_lxcfs(inside) => Err(io::Error::other("it is inside /proc")),
            _ => Ok(()),
        }
    }

    /// Refuses a place in the container's `/proc`, even if a link leads there. Only the kernel's own
    /// files may be there: otherwise the security module's label and everything else that a runtime
    /// writes to `/proc` would go where the image wants (CVE-2019-16884).
    fn refuse_in_proc(
        &self,
        mount: &Mount,
        tree: Option<&OwnedFd>,
        place: &OwnedFd,
    ) -> io::Result<()> {
        let is_proc = match tree {
            Some(tree) => is_root_of_proc(tree)?,
            None => mount.kind == "proc",
        };
        let is_on_proc = self.proc.is_some() && self.proc == Some(mount_id(place)?);
        let is_at_root = mount.destination == Path::new("/proc")
            || is_on_proc && fstat(place)?.st_ino == PROC_ROOT;
        if is_at_root && !is_proc {
            return Err(io::Error::other("it is not of type proc"));
        }
        let inside = mount.destination.strip_prefix("/proc").ok();
        if is_on_proc && !is_at_root && !inside.is_some_and(is_of_lxcfs) {
            return Err(io::Error::other("it is inside /proc"));
        }
        Ok(())
    }

    /// Makes a new file system.
    fn new_file_system(
        &self,
        mount: &Mount,
        place: &OwnedFd,
        was_there: bool,
    ) -> io::Result<OwnedFd> {
        let kind = match mount.kind.as_str() {
            "cgroup" => "cgroup2",
            kind => kind,
        };
        if kind == "cgroup2"
            && mount.options.data.is_empty()
            && let Some(own) = &self.cgroup
        {
            // A new mount of cgroup2 waits for the kernel's RCU, 8 ms and more on an idle machine. The
            // kernel looks at options of the file system only then.
            return sys::bind(own, false);
        }
        let mut data = mount.options.data.clone();
        if kind == "tmpfs" && was_there && mount.options.value("mode").is_none() {
            let mode = fstat(place)?.st_mode & 0o7777;
            data.push(format!("mode={mode:04o}"));
        }
        if let Some(label) = self.label.as_ref().filter(|_| takes_label(kind)) {
            data.push(format!("context={label}"));
        }
        if data.iter().any(|word| word.len() > LONGEST) {
            return make_old(mount, kind, &data, place);
        }
        let flags = mount.options.flags.iter().map(String::as_str);
        let read_only = mount.options.is_read_only() && !OF_KERNEL.contains(&kind);
        let flags = flags.chain(read_only.then_some("ro"));
        let words = flags.chain(data.iter().map(String::as_str));
        let source = Some(mount.source.as_path()).filter(|source| !source.as_os_str().is_empty());
        let made = sys::new_file_system_of(kind, source, words);
        let errno = made.as_ref().err().and_then(sys::errno_of);
        let errno = errno.map(Errno::from_raw_os_error);
        let tree = match (kind, errno) {
            // A user namespace whose network namespace is another's, as in crun.
            // The host's other file systems come along, which nobody may write to here.
            ("sysfs", Some(Errno::PERM)) => {
                let tree = sys::bind(Path::new(SYSFS), true)?;
                let bits = NO_SUID | NO_DEV | NO_EXEC | READ_ONLY;
                sys::change_mount(tree.as_fd(), true, bits, 0)?;
                tree
            }
            _ => made?,
        };
        if mount.options.copies_up {
            self.copy_up(mount, place, &tree)?;
        }
        Ok(tree)
    }

    /// Fills a tmpfs with the files that it covers.
    fn copy_up(&self, mount: &Mount, place: &OwnedFd, tree: &OwnedFd) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = openat(place, ".", flags, Mode::empty())?;
        let to = openat(tree, ".", flags, Mode::empty())?;
        copy_tree(&from, &to)?;
        if mount.options.value("mode").is_none() {
            fchmod(&to, Mode::from_raw_mode(fstat(&from)?.st_mode & 0o7777))?;
        }
        Ok(())
    }
}

/// Sets the propagation of a mount that is attached.
fn propagate(mount: &Mount, tree: &OwnedFd) -> io::Result<()> {
    let mut propagations = mount.options.propagations.iter();
    propagations.try_for_each(|(propagation, recursive)| {
        sys::set_mount_propagation(tree.as_fd(), *propagation, *recursive)
    })
}

fn not_ordinary() -> io::Error {
    io::Error::other("it must be mounted on ordinary directory")
}

fn cannot_make(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("make {}: {}", path.display(), text::message(error)),
    )
}

fn is_of_lxcfs(inside: &Path) -> bool {
    OF_LXCFS.iter().any(|known| inside == Path::new(known))
}

fn takes_label(kind: &str) -> bool {
    !matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup2")
}

fn is_root_of_proc(tree: &OwnedFd) -> io::Result<bool> {
    Ok(fstatfs(tree)?.f_type == PROC && fstat(tree)?.st_ino == PROC_ROOT)
}

/// Returns the id of the mount that an open file is on (statx(2), Linux 5.8).
pub(crate) fn mount_id(open: impl AsFd) -> io::Result<u64> {
    Ok(statx(open, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Whether two open files are one, on one mount.
fn is_same(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    Ok(mount_id(&one)? == mount_id(&other)? && fstat(one)?.st_ino == fstat(other)?.st_ino)
}

/// Longest option that fsconfig(2) takes, in bytes.
const LONGEST: usize = 255;

/// Makes a file system in the old way, whose options may have a page together (mount(2)). That call
/// mounts on a place only: on one in a file system of our own, where nobody else can put anything.
fn make_old(mount: &Mount, kind: &str, data: &[String], place: &OwnedFd) -> io::Result<OwnedFd> {
    const NEW: &str = "new";
    let data: Vec<&str> = data
        .iter()
        .chain(&mount.options.flags)
        .map(String::as_str)
        .collect();
    let data = std::ffi::CString::new(data.join(",")).map_err(|_| Errno::INVAL)?;
    let flags = match mount.options.is_read_only() && !OF_KERNEL.contains(&kind) {
        true => MountFlags::RDONLY,
        false => MountFlags::empty(),
    };
    let workplace = sys::new_file_system("tmpfs", ["mode=700"])?;
    attach(&workplace, place)?;
    let make = || -> io::Result<OwnedFd> {
        mkdirat(&workplace, NEW, Mode::from_raw_mode(0o700))?;
        let open = || {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(&workplace, NEW, flags, Mode::empty())
        };
        let on = open()?;
        let name = format!("/proc/self/fd/{}", on.as_raw_fd());
        rustix::mount::mount(&mount.source, name, kind, flags, Some(data.as_c_str()))?;
        sys::bind_open(open()?, false)
    };
    let made = make();
    let workplace = format!("/proc/self/fd/{}", workplace.as_raw_fd());
    unmount(workplace, UnmountFlags::DETACH)?;
    made
}

/// Sets the bits of a mount that is not attached yet. `is_late` leaves out read-only.
fn change_bits(mount: &Mount, tree: &OwnedFd, is_late: bool) -> io::Result<()> {
    let options = &mount.options;
    let mut own = options.own;
    let is_any = !own.is_empty() || options.access.is_some();
    if is_late {
        own.set &= !READ_ONLY;
    }
    if mount.is_bind() && is_any && !options.keeps {
        // As in runc, a bind that names any flag has those that it names, and no others.
        own.clear |= NO_SUID | NO_DEV | NO_EXEC | NO_LINKS | READ_ONLY;
        own.clear &= !own.set;
    }
    if let Some(access) = options.access.or(own_directories(own)) {
        own.set |= access;
        own.clear =
            (own.clear | ACCESS_TIME | NO_DIRECTORY_ACCESS_TIME) & !(own.set & !ACCESS_TIME);
    }
    match sys::change_mount(tree.as_fd(), false, own.set, own.clear) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && mount.is_bind() => {
            keep_locked(mount, tree, own)?;
        }
        changed => changed?,
    }
    sys::change_mount(tree.as_fd(), true, options.all.set, options.all.clear)
}

/// Returns how access times are kept where only those of directories are named.
fn own_directories(own: Bits) -> Option<u64> {
    (own.set & NO_DIRECTORY_ACCESS_TIME != 0).then_some(RELATIME)
}

/// Sets the bits of a bind again, and keeps those of its source that a user namespace may not clear
/// (mount_namespaces(7)).
fn keep_locked(mount: &Mount, tree: &OwnedFd, own: Bits) -> io::Result<()> {
    use rustix::fs::StatVfsMountFlags as Flags;
    let found = fstatvfs(tree)?.f_flag;
    let rows = [
        (Flags::RDONLY, READ_ONLY, "ro"),
        (Flags::NOSUID, NO_SUID, "nosuid"),
        (Flags::NODEV, NO_DEV, "nodev"),
        (Flags::NOEXEC, NO_EXEC, "noexec"),
        (Flags::NODIRATIME, NO_DIRECTORY_ACCESS_TIME, "nodiratime"),
    ];
    let locked = rows.iter().filter(|(flag, _, _)| found.contains(*flag));
    let mut bits = 0;
    let mut forbidden = String::new();
    for (_, bit, name) in locked {
        bits |= bit;
        if mount.options.own.clear & bit != 0 {
            let _ = write!(forbidden, " {name}");
        }
    }
    if !forbidden.is_empty() {
        return Err(io::Error::other(format!(
            "cannot clear locked flags of its source:{forbidden}: operation not permitted"
        )));
    }
    let access_time = match () {
        () if found.contains(Flags::NOATIME) => NO_ACCESS_TIME,
        () if found.contains(Flags::RELATIME) => RELATIME,
        () => STRICT_ACCESS_TIME,
    };
    if own.clear & ACCESS_TIME != 0 && own.set & ACCESS_TIME != access_time {
        return Err(io::Error::other(
            "a user namespace may not change how its source keeps access times",
        ));
    }
    let clear = own.clear & !bits & !ACCESS_TIME;
    let set = own.set & !ACCESS_TIME | bits;
    sys::change_mount(tree.as_fd(), false, set, clear)
}
