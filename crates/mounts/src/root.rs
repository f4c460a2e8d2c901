//! A container's root file system: attaching it, and making it the root of the process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rootfs::{Directory, attach, plain};
use rustix::fs::{Mode, OFlags, fstatfs, open};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{chdir, chroot, fchdir, pivot_root};
use sys::mount_bits::READ_ONLY;
use sys::{MountInfo, Propagation};

use crate::devices::{self, Device};
use crate::make::mount_id;
use crate::{Error, Hierarchy, Sources};

/// The directory of devices.
const DEV: &str = "/dev";

/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: i64 = 0x0102_1994;

/// How a process comes into the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOfRoot {
    /// By pivot_root(2): nothing of the host's tree is left.
    Pivot,
    /// By chroot(2) in a mount namespace of the container's own, for hosts whose root file system is
    /// in memory, from which pivot_root(2) does not work.
    Move,
    /// By chroot(2) in the host's mount namespace.
    Chroot,
}

/// The root file system of a container that is being made. The calling process is in the container's
/// mount namespace.
#[derive(Debug)]
pub struct Root {
    pub(crate) directory: Directory,
    change: ChangeOfRoot,
    /// The propagation of the root mount, if it is not the usual one, and whether all mounts have it.
    propagation: Option<(Propagation, bool)>,
    /// The label of SELinux for new file systems.
    pub(crate) label: Option<String>,
    /// The cgroup of version 2 that the container sees, by its path on the host.
    pub(crate) cgroup: Option<PathBuf>,
    /// The old hierarchies that the container sees.
    pub(crate) hierarchies: Vec<Hierarchy>,
    /// The id of the mount at `/proc`.
    pub(crate) proc: Option<u64>,
    /// The ids of the mounts that are the container's own and end with it: its root, a tmpfs that lies
    /// at `/dev` before any mount is made, and new ones.
    pub(crate) own: Vec<u64>,
    /// The ids and the places of the binds that lie where the document says, and not where a link leads to.
    pub(crate) named: Vec<(u64, PathBuf)>,
    /// The mounts that become read-only in the end.
    pub(crate) late: Vec<OwnedFd>,
    /// The host's mounts of the kernel's own file systems, where they must be hidden.
    kernels: Vec<PathBuf>,
}

impl Root {
    /// Mounts the directory at `path` on itself, where hooks expect it. `propagation` is the
    /// specification's `rootfsPropagation`. `open` opens the directory as a path only, and makes a
    /// tree of it.
    ///
    /// # Errors
    ///
    /// Fails when the directory cannot be bound.
    pub fn attach(
        path: &Path,
        change: ChangeOfRoot,
        propagation: &str,
        sources: &dyn Sources,
    ) -> Result<Self, Error> {
        let failed = Error::at(format!("mount the root {}", path.display()));
        let kernels = match change {
            ChangeOfRoot::Move => kernel_mounts().map_err(&failed)?,
            ChangeOfRoot::Pivot | ChangeOfRoot::Chroot => Vec::new(),
        };
        let directory = match change {
            ChangeOfRoot::Chroot => Directory::open_root(path),
            ChangeOfRoot::Pivot | ChangeOfRoot::Move => bind_on_itself(path, propagation, sources),
        };
        let directory = directory.map_err(&failed)?;
        let mut own = vec![mount_id(&directory).map_err(&failed)?];
        if let Ok(Some(dev)) = directory.open_without_links(Path::new(DEV))
            && fstatfs(&dev).is_ok_and(|found| found.f_type == TMPFS)
            && !is_hosts(&dev)
        {
            own.push(mount_id(dev).map_err(&failed)?);
        }
        Ok(Self {
            directory,
            change,
            propagation: match propagation {
                "shared" => Some((Propagation::Shared, false)),
                "rshared" => Some((Propagation::Shared, true)),
                // Of mounts that are unbindable, nothing could be masked or made read-only.
                "unbindable" | "runbindable" => Some((Propagation::Unbindable, false)),
                _ => None,
            },
            label: None,
            cgroup: None,
            hierarchies: Vec::new(),
            proc: None,
            own,
            named: Vec::new(),
            late: Vec::new(),
            kernels,
        })
    }

    /// Makes a directory in the root, with those above it, as far as this is possible.
    pub fn make_directory(&self, path: &Path) {
        let _ = self.directory.make_directories(&plain(path));
    }

    /// Whether mounts are made in a namespace of the container's.
    #[must_use]
    pub fn has_own_mounts(&self) -> bool {
        self.change != ChangeOfRoot::Chroot
    }

    /// Whether a bind brings the devices: at `/dev`, or where a link of the image's makes that of it.
    ///
    /// # Errors
    ///
    /// Fails when `/dev` cannot be looked at.
    pub fn has_others_devices(&self) -> Result<bool, Error> {
        let mount = self.mount_of_devices()?;
        Ok(mount.is_some_and(|mount| !self.own.contains(&mount)))
    }

    /// Returns the id of the mount that `/dev` is on, if it is there.
    fn mount_of_devices(&self) -> Result<Option<u64>, Error> {
        let dev = self.directory.open_path(Path::new(DEV));
        dev.and_then(|dev| dev.map(mount_id).transpose())
            .map_err(Error::at("look at /dev"))
    }

    /// Gives new file systems a label of SELinux.
    #[must_use]
    pub fn with_label(mut self, label: Option<String>) -> Self {
        self.label = label.filter(|label| !label.is_empty());
        self
    }

    /// Shows a cgroup of version 2, by its path on the host, and old hierarchies. Without them, a mount
    /// of cgroups is a new one.
    #[must_use]
    pub fn with_cgroups(mut self, cgroup: Option<PathBuf>, hierarchies: Vec<Hierarchy>) -> Self {
        self.cgroup = cgroup;
        self.hierarchies = hierarchies;
        self
    }

    /// Returns the path of the root's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes the device nodes and the links in `/dev`, unless a bind brings them.
    ///
    /// # Errors
    ///
    /// Fails when one cannot be made.
    pub fn make_devices(&self, wanted: &[Device]) -> Result<(), Error> {
        match self.mount_of_devices()? {
            Some(mount) if self.named.iter().any(|(named, _)| *named == mount) => Ok(()),
            Some(mount) if !self.own.contains(&mount) => {
                Err(Error::at("make the devices")(io::Error::other(
                    "a mount of the host's lies on /dev: from before, or by a link of the image",
                )))
            }
            // A mount in the host's namespace would stay.
            _ => devices::make_all(self, wanted, self.change != ChangeOfRoot::Chroot),
        }
    }

    /// Makes the root file system the root of the calling process.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn enter(&self) -> Result<(), Error> {
        self.change().map_err(Error::at("change the root"))?;
        match self.propagation {
            Some((propagation, all)) => sys::set_mount_propagation(self.as_fd(), propagation, all)
                .map_err(Error::at("linux.rootfsPropagation")),
            None => Ok(()),
        }
    }

    fn change(&self) -> io::Result<()> {
        if self.change == ChangeOfRoot::Pivot {
            let old = open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            fchdir(&self.directory)?;
            // The old root ends on top of the new one, and is unmounted from there: pivot_root(2),
            // "pivot_root(".", ".")".
            pivot_root(".", ".")?;
            fchdir(&old)?;
            let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            mount_change(".", flags)?;
            unmount(".", UnmountFlags::DETACH)?;
            return Ok(chdir("/")?);
        }
        if self.change == ChangeOfRoot::Move {
            self.kernels.iter().rev().try_for_each(|path| hide(path))?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            attach(&self.directory, open("/", flags, Mode::empty())?)?;
        }
        fchdir(&self.directory)?;
        chroot(".")?;
        Ok(chdir("/")?)
    }

    /// Makes the late mounts read-only, and the root itself if `read_only`.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses.
    pub fn finish(&mut self, read_only: bool) -> Result<(), Error> {
        for mount in std::mem::take(&mut self.late) {
            sys::change_mount(mount.as_fd(), false, READ_ONLY, 0)
                .map_err(Error::at("make a mount read-only"))?;
        }
        if read_only {
            sys::change_mount(self.as_fd(), false, READ_ONLY, 0)
                .map_err(Error::at("make the root read-only"))?;
        }
        Ok(())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Whether a directory is on the host's `/dev`, whose file system passes for a tmpfs.
fn is_hosts(dev: &OwnedFd) -> bool {
    let hosts = rustix::fs::stat(DEV);
    let found = rustix::fs::fstat(dev);
    hosts.is_ok_and(|hosts| found.is_ok_and(|found| found.st_dev == hosts.st_dev))
}

/// Mounts a directory on itself, on a mount that becomes private: the host must not get this mount.
fn bind_on_itself(path: &Path, propagation: &str, sources: &dyn Sources) -> io::Result<Directory> {
    let kind = match propagation {
        "shared" | "rshared" => MountPropagationFlags::SHARED,
        "private" | "rprivate" => MountPropagationFlags::PRIVATE,
        _ => MountPropagationFlags::DOWNSTREAM,
    };
    mount_change("/", kind | MountPropagationFlags::REC)?;
    if kind == MountPropagationFlags::SHARED {
        mount_change(&mount_point(path)?, MountPropagationFlags::PRIVATE)?;
    }
    let (place, tree) = sources.root(path)?;
    attach(&tree, place)?;
    Ok(Directory::new(path.to_owned(), tree))
}

/// Returns the mount point that a directory is on: of the longest ones, the last that was mounted.
fn mount_point(directory: &Path) -> io::Result<PathBuf> {
    let points = sys::mount_points()?.into_iter();
    let above = points.filter(|point| directory.starts_with(point));
    above
        .max_by_key(|point| point.as_os_str().len())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Opens a directory as a path only, and makes a tree of it with the mounts below.
///
/// # Errors
///
/// Fails when there is no directory.
pub fn open_root(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = open(path, flags, Mode::empty())?;
    let tree = sys::bind_open(&place, true)?;
    Ok((place, tree))
}

/// Returns where whole proc and sysfs file systems are mounted. In the container, the kernel would
/// let their like be mounted without masks as long as it sees these.
fn kernel_mounts() -> io::Result<Vec<PathBuf>> {
    let table = sys::read_all(Path::new("/proc/self/mountinfo"))?;
    let mounts = MountInfo::parse(&table).into_iter().filter(|mount| {
        let is_kernels = mount.kind == "proc" || mount.kind == "sysfs";
        is_kernels && mount.root == Path::new("/")
    });
    Ok(mounts.map(|mount| mount.point).collect())
}

/// Unmounts a mount of the host's in this namespace, or covers it where that is not allowed.
fn hide(path: &Path) -> io::Result<()> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    match mount_change(path, flags).and_then(|()| unmount(path, UnmountFlags::DETACH)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::INVAL | Errno::PERM) => {
            Ok(mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, None)?)
        }
        Err(errno) => Err(errno.into()),
    }
}
