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

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::Mount;
use rootfs::Directory;
use rustix::fs::fstat;
use sys::MountAttributes;

use crate::Error;

/// Makes the mounts in the root file system at `root`, in their order, except for those that the
/// first process must make.
pub(crate) fn mount_all(root: &Path, mounts: &[Mount]) -> Result<(), Error> {
    for mount in mounts.iter().filter(|mount| !is_inits(mount, mounts)) {
        let made = Directory::open_root(root).and_then(|root| make(&root, mount));
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

/// Whether the container's first process has to make a mount: one that shows its own processes,
/// which no other process sees, or one below such a mount.
pub(crate) fn is_inits(mount: &Mount, all: &[Mount]) -> bool {
    let mut shows = all
        .iter()
        .filter(|other| other.typ().as_deref() == Some("proc"));
    shows.any(|other| mount.destination().starts_with(other.destination()))
}

fn make(root: &Directory, mount: &Mount) -> io::Result<()> {
    let options = Options::parse(mount.options().as_deref().unwrap_or_default());
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let kind = mount.typ().as_deref().unwrap_or("bind");
    let detached = if kind == "bind" {
        sys::bind(source, options.recursive)?
    } else {
        sys::new_file_system(kind, options.data.iter().copied())?
    };
    sys::set_mount_attributes(detached.as_fd(), options.attributes)?;
    if options.all_read_only {
        sys::set_all_read_only(detached.as_fd())?;
    }
    let directory = kind != "bind" || rootfs::is_directory(&detached)?;
    let destination = mount.destination();
    let place = match options.on_link {
        true => root.mount_point_itself(destination, directory)?,
        false => match root.open_without_links(destination) {
            Ok(Some(there)) => there,
            Ok(None) => root.mount_point(destination, directory)?,
            Err(error) if sys::errno_of(&error) == Some(Errno::ELOOP as i32) => {
                let place = root.mount_point(destination, directory)?;
                refuse_system(root, &place)?;
                place
            }
            Err(error) => return Err(error),
        },
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
