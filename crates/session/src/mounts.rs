//! The bundle's mounts, made in the root before the engine sees it.
//!
//! libcontainer would make them too, but reads `/proc` again for each mount, and each time waits
//! for the kernel's RCU. With the twenty mounts that Singularity's users expect, this would be most
//! of a launch. libcontainer binds the root with all mounts below it, so the mounts made here are
//! included.
//!
//! The image is not trusted: a destination is opened as if the root were `/`, and the mount is
//! attached to its descriptor ([openat2(2)], `RESOLVE_IN_ROOT`).
//!
//! [openat2(2)]: https://man7.org/linux/man-pages/man2/openat2.2.html

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::Mount;
use rootfs::Directory;
use rustix::fs::{AtFlags, StatxFlags, fstat, fstatfs, statx};
use sys::MountAttributes;

use crate::{Error, WorkingDirectory};

/// Makes the mounts in the root file system at `root`, in their order, except for those that the
/// first process must make. `here` is the caller's working directory.
pub(crate) fn mount_all(
    root: &Path,
    mounts: &[Mount],
    here: Option<&WorkingDirectory<'_>>,
) -> Result<(), Error> {
    let mut own = OwnMounts::default();
    for mount in mounts.iter().filter(|mount| !is_inits(mount, mounts)) {
        let here = here.filter(|here| here.is_bound_by(mount));
        let made = Directory::open_root(root).and_then(|root| make(&root, mount, here, &mut own));
        made.map_err(|source| Error::Mount {
            what: mount
                .source()
                .as_ref()
                .map_or_else(String::new, |path| path.display().to_string()),
            target: mount.destination().clone(),
            source,
        })?;
    }
    Ok(())
}

impl WorkingDirectory<'_> {
    /// Whether a mount is the bind that shows this directory.
    fn is_bound_by(&self, mount: &Mount) -> bool {
        mount.destination() == self.path && mount.source().as_deref() == Some(self.path)
    }

    /// Refuses another directory than the one in which the caller stands: whoever owns the directory
    /// above may have put a link there, to a directory that only the caller may enter.
    fn check(&self, bound: &OwnedFd) -> io::Result<()> {
        let found = fstat(bound)?;
        match (found.st_dev, found.st_ino) == self.identity {
            true => Ok(()),
            false => Err(io::Error::other(
                "the working directory was replaced by another one; enter it again, or choose one \
                 with --cwd and leave this one out with --no-mount cwd",
            )),
        }
    }
}

/// The file systems that the session has made, by their mounts.
#[derive(Debug, Default)]
struct OwnMounts(BTreeSet<u64>);

impl OwnMounts {
    fn id(file: &OwnedFd) -> io::Result<u64> {
        let found = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        Ok(found.stx_mnt_id)
    }

    fn add(&mut self, mount: &OwnedFd) -> io::Result<()> {
        self.0.insert(Self::id(mount)?);
        Ok(())
    }

    /// Refuses to make anything in a directory to which a link of the image's has led, unless it is
    /// the image's own or was made for the session. What the host shares belongs to the user, and
    /// the image has no say in what is made there.
    fn check(&self, root: &Directory, directory: &OwnedFd) -> io::Result<()> {
        let id = Self::id(directory)?;
        let image = Self::id(&root.as_fd().try_clone_to_owned()?)?;
        match id == image || self.0.contains(&id) {
            true => Ok(()),
            false => Err(io::Error::other(
                "a link of the image leads to a directory of the host, where nothing is made",
            )),
        }
    }
}

/// Refuses to make a mount point in a file system of the kernel's: a directory in a cgroup is another
/// cgroup, which stays on the host.
fn refuse_kernels(directory: &OwnedFd) -> io::Result<()> {
    // `linux/magic.h`: both versions of cgroups, sysfs and proc.
    const KERNELS: [i64; 4] = [0x6367_7270, 0x0027_e0eb, 0x6265_6572, 0x9fa0];
    match KERNELS.contains(&fstatfs(directory)?.f_type) {
        true => Err(io::Error::other(
            "no mount point can be made in a file system of the kernel's",
        )),
        false => Ok(()),
    }
}

/// Whether the container's first process has to make a mount: one that shows its own processes,
/// which no other process sees, or one below such a mount.
pub(crate) fn is_inits(mount: &Mount, all: &[Mount]) -> bool {
    let mut shows = all
        .iter()
        .filter(|other| other.typ().as_deref() == Some("proc"));
    shows.any(|other| mount.destination().starts_with(other.destination()))
}

fn make(
    root: &Directory,
    mount: &Mount,
    here: Option<&WorkingDirectory<'_>>,
    own: &mut OwnMounts,
) -> io::Result<()> {
    let options = Options::parse(mount.options().as_deref().unwrap_or_default());
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let detached = if kind == "bind" {
        sys::bind(source, options.recursive)?
    } else {
        let made = sys::new_file_system(kind, options.data.iter().copied())?;
        own.add(&made)?;
        made
    };
    here.map_or(Ok(()), |here| here.check(&detached))?;
    sys::set_mount_attributes(detached.as_fd(), options.attributes)?;
    if options.all_read_only {
        sys::set_all_read_only(detached.as_fd())?;
    }
    let directory = kind != "bind" || rootfs::is_directory(&detached)?;
    let destination = mount.destination();
    let itself = match options.on_link {
        true => root.mount_point_itself(destination)?,
        false => None,
    };
    let found = match itself {
        Some(there) => Ok(Some(there)),
        None => root.open_without_links(destination),
    };
    let place = match found {
        Ok(Some(there)) => there,
        Ok(None) => root.mount_point_if(destination, directory, &refuse_kernels)?,
        Err(error) if sys::errno_of(&error) == Some(Errno::ELOOP as i32) => {
            let may_make = |parent: &OwnedFd| own.check(root, parent);
            let place = root.mount_point_if(destination, directory, &may_make)?;
            refuse_system(root, &place)?;
            place
        }
        Err(error) => return Err(error),
    };
    rootfs::attach(&detached, &place)
}

/// Refuses a place that a link of the image's has led to: the root, where nothing mounted later would
/// be seen, and `/dev`, where devices are made.
fn refuse_system(root: &Directory, place: &OwnedFd) -> io::Result<()> {
    let found = fstat(place)?;
    for system in ["/", "/dev"] {
        if let Some(other) = root.open_path(Path::new(system))? {
            let other = fstat(&other)?;
            if (found.st_dev, found.st_ino) == (other.st_dev, other.st_ino) {
                return Err(io::Error::other(format!(
                    "a link of the image leads to {system}, which cannot be mounted on"
                )));
            }
        }
    }
    Ok(())
}

/// The options of a mount, divided into those of every mount and those that its file system reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    recursive: bool,
    /// Whether the mounts below are read-only, too.
    all_read_only: bool,
    /// Whether a link at the destination is mounted on instead of followed.
    on_link: bool,
    attributes: MountAttributes,
    data: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(words: &'a [String]) -> Self {
        let mut options = Self::default();
        for word in words {
            match word.as_str() {
                "rbind" => options.recursive = true,
                "bind" | "rw" => {}
                "dest-nofollow" => options.on_link = true,
                "rro" => options.all_read_only = true,
                "ro" => options.attributes.read_only = true,
                "nosuid" => options.attributes.no_suid = true,
                "nodev" => options.attributes.no_dev = true,
                "noexec" => options.attributes.no_exec = true,
                data => options.data.push(data),
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_options() {
        let words = ["rbind", "nosuid", "ro", "mode=755", "newinstance"].map(str::to_owned);
        let options = Options::parse(&words);
        assert!(options.recursive && options.attributes.no_suid && options.attributes.read_only);
        assert!(!options.attributes.no_dev);
        assert_eq!(options.data, ["mode=755", "newinstance"]);
    }
}
