//! Applying edits to a container.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use inject::{Edits, Host, LIBRARIES};
use rootfs::Directory;
use rustix::fs::{Mode, OFlags, fstatfs, openat};
use rustix::mount::{OpenTreeFlags, open_tree};
use sys::MountAttributes;

use crate::{Container, Error, cgroup};

/// The name of the loader's cache in the directory of the libraries. The cache is made there
/// because that directory has a file system of our own.
const CACHE: &str = ".ld.so.cache";

/// The type of a tmpfs in `statfs` (`include/uapi/linux/magic.h`).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Size of the libraries' file system, in MiB. The unusual number lets the next hook recognise this
/// file system.
const SIZE: u64 = 17;

/// A detached mount, and its destination.
struct Ready {
    what: PathBuf,
    place: PathBuf,
    mount: OwnedFd,
}

/// Applies edits to a container that has been entered. `compute` reads the container's root file
/// system and returns the edits and more device nodes of the host.
///
/// Nothing is written to the image but the mount points.
///
/// # Errors
///
/// Fails at the first edit that cannot be applied; the runtime then makes no container.
pub(crate) fn apply(
    container: &Container,
    host: &Host,
    compute: impl FnOnce(&Directory) -> Result<(Edits, Vec<PathBuf>), Error>,
) -> Result<(), Error> {
    let root = container.open_root()?;
    let (edits, nodes) = compute(&root)?;
    let nodes: Vec<PathBuf> = edits.device_nodes.iter().chain(&nodes).cloned().collect();
    let mut ready = Vec::new();
    for mount in &edits.mounts {
        let attributes = MountAttributes {
            no_suid: true,
            no_dev: true,
            read_only: true,
            ..MountAttributes::default()
        };
        ready.push(take_up(
            host,
            &mount.host_path,
            &mount.container_path,
            attributes,
        )?);
    }
    for node in &nodes {
        let attributes = MountAttributes {
            no_suid: true,
            no_exec: true,
            ..MountAttributes::default()
        };
        ready.push(take_up(host, node, node, attributes)?);
    }
    put(&root, &ready, edits.library_cache.as_deref())?;
    if container.is_privileged() {
        cgroup::allow(container.pid(), host, &nodes).map_err(Error::Allow)?;
    }
    Ok(())
}

fn take_up(
    host: &Host,
    what: &Path,
    place: &Path,
    attributes: MountAttributes,
) -> Result<Ready, Error> {
    let mount = host.files().detached(what).and_then(|mount| {
        sys::set_mount_attributes(mount.as_fd(), attributes)?;
        Ok(mount)
    });
    Ok(Ready {
        what: what.to_owned(),
        place: place.to_owned(),
        mount: mount.map_err(failed(what, place))?,
    })
}

fn failed<'a>(what: &'a Path, place: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Put {
        what: what.to_owned(),
        place: place.to_owned(),
        source,
    }
}

fn put(root: &Directory, ready: &[Ready], cache: Option<&[u8]>) -> Result<(), Error> {
    let libraries = Path::new(LIBRARIES);
    let has_libraries = ready.iter().any(|one| one.place.starts_with(libraries));
    let own = match has_libraries || cache.is_some() {
        true => {
            let made = own_directory(root, libraries);
            Some(made.map_err(failed(Path::new("a directory"), libraries))?)
        }
        false => None,
    };
    for Ready { what, place, mount } in ready {
        let inside = place.strip_prefix(libraries).ok().zip(own.as_ref());
        let put = rootfs::is_directory(mount).and_then(|directory| {
            let point = match inside {
                Some((name, own)) => Some(own.mount_point(&Path::new("/").join(name), directory)?),
                // The runtime has mounted something on /dev, so mount points can be made there.
                None if place.starts_with("/dev") => Some(root.mount_point(place, directory)?),
                None => root.own_mount_point(place, directory)?,
            };
            // A mount of the user at the same path takes precedence.
            point.map_or(Ok(()), |point| rootfs::attach(mount, point))
        });
        put.map_err(failed(what, place))?;
    }
    if let (Some(cache), Some(own)) = (cache, &own) {
        let place = Path::new(elf::CACHE);
        let put = write_cache(own, cache).and_then(|mount| {
            let point = root.own_mount_point(place, false)?;
            point.map_or(Ok(()), |point| rootfs::attach(mount, point))
        });
        put.map_err(failed(Path::new("the loader's cache"), place))?;
    }
    Ok(())
}

/// Mounts an empty file system on a directory, so that nothing is written to the image. If another
/// hook has mounted one there, it is used.
fn own_directory(root: &Directory, path: &Path) -> io::Result<Directory> {
    let elsewhere = || io::Error::other("it leads to a mount, or to the root itself");
    let Some(point) = root.own_mount_point(path, true)? else {
        let there = root.open_without_links(path).ok().flatten();
        let there = there.ok_or_else(elsewhere)?;
        let status = fstatfs(&there)?;
        let size = status.f_blocks * u64::try_from(status.f_bsize).unwrap_or(0);
        let is_ours = status.f_type == TMPFS_MAGIC && size == SIZE << 20;
        let ours = is_ours.then(|| Directory::new(path.to_owned(), there));
        return ours.ok_or_else(elsewhere);
    };
    if root.is_itself(&point)? {
        return Err(elsewhere());
    }
    let size = format!("size={SIZE}m");
    let mount = sys::new_file_system("tmpfs", ["mode=755", &size])?;
    let attributes = MountAttributes {
        no_suid: true,
        no_dev: true,
        ..MountAttributes::default()
    };
    sys::set_mount_attributes(mount.as_fd(), attributes)?;
    rootfs::attach(&mount, point)?;
    Ok(Directory::new(path.to_owned(), mount))
}

/// Writes the cache to the directory of the libraries, and returns a mount of it.
fn write_cache(own: &Directory, cache: &[u8]) -> io::Result<OwnedFd> {
    let directory = own.mount_point(Path::new("/"), true)?;
    // If another hook has written the file, it is overwritten, and the existing mount of it shows
    // the new content.
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&directory, CACHE, flags, Mode::from_raw_mode(0o644))?;
    let file = fs::File::from(file);
    io::Write::write_all(&mut &file, cache)?;
    // The mode must not depend on the runtime's umask.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(file, "", flags)?;
    let attributes = MountAttributes {
        read_only: true,
        no_suid: true,
        no_dev: true,
        no_exec: true,
    };
    sys::set_mount_attributes(mount.as_fd(), attributes)?;
    Ok(mount)
}
