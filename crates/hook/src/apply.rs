//! Putting edits into a container.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use inject::{Edits, Host, LIBRARIES};
use rustix::fs::{Mode, OFlags, fstatfs, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};
use sys::MountAttributes;
use tree::Directory;

use crate::{Container, Error, cgroup};

/// The loader's cache, among the libraries: those have a file system of their own, in which it is made.
const CACHE: &str = ".ld.so.cache";

/// What `statfs` calls a tmpfs (`include/uapi/linux/magic.h`).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// How large the libraries' file system is, in MiB: an odd number, by which the next hook knows it.
const SIZE: u64 = 17;

/// A mount that is nowhere yet, and where it shall be.
struct Ready {
    what: PathBuf,
    place: PathBuf,
    mount: OwnedFd,
}

/// Works out edits and more nodes of the host's from a look at the container's root file system, and puts
/// them into the container, which must have been entered.
///
/// Nothing of the image's is written to but what a mount needs to stand on.
///
/// # Errors
///
/// Fails at the first that cannot be put in; the runtime makes no container then.
pub fn apply(
    container: &Container,
    host: &Host,
    work_out: impl FnOnce(&Directory) -> Result<(Edits, Vec<PathBuf>), Error>,
) -> Result<(), Error> {
    let root = container.open_root()?;
    let (edits, nodes) = work_out(&root)?;
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
        let put = tree::is_directory(mount).and_then(|directory| {
            let point = match inside {
                Some((name, own)) => Some(own.mount_point(&Path::new("/").join(name), directory)?),
                // The runtime has mounted something there, for this.
                None if place.starts_with("/dev") => Some(root.mount_point(place, directory)?),
                None => root.own_mount_point(place, directory)?,
            };
            // A mount that the user wants there counts more.
            point.map_or(Ok(()), |point| tree::attach(mount, point))
        });
        put.map_err(failed(what, place))?;
    }
    if let (Some(cache), Some(own)) = (cache, &own) {
        let place = Path::new(elf::CACHE);
        let put = write_cache(own, cache).and_then(|mount| {
            let point = root.own_mount_point(place, false)?;
            point.map_or(Ok(()), |point| tree::attach(mount, point))
        });
        put.map_err(failed(Path::new("the loader's cache"), place))?;
    }
    Ok(())
}

/// Puts an empty file system on a directory, so that nothing is written to the image's. One that another hook has
/// put there is used on.
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
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "mode", "755")?;
    fsconfig_set_string(&context, "size", format!("{SIZE}m"))?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    tree::attach(&mount, point)?;
    Ok(Directory::new(path.to_owned(), mount))
}

/// Writes the cache beside the libraries, and makes a mount of it.
fn write_cache(own: &Directory, cache: &[u8]) -> io::Result<OwnedFd> {
    let directory = own.mount_point(Path::new("/"), true)?;
    // Another hook's is written anew, and with it what is mounted of it.
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&directory, CACHE, flags, Mode::from_raw_mode(0o644))?;
    let file = fs::File::from(file);
    io::Write::write_all(&mut &file, cache)?;
    // Whatever the runtime's umask is.
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
