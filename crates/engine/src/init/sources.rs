//! The sources of a container's mounts.
//!
//! The root of a user namespace may be unable to reach them, and to map owners. Then a process of the
//! runtime's, with the runtime's rights, opens them in the container's mount namespace, one at a
//! time: a source may lie on an earlier mount of the same container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mounts::{Mount, Sources, open_root};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use rustix::net::{SendFlags, send};

use super::channel::Channel;
use crate::userns::{self, Mappings};

/// The request for the root.
const ROOT: usize = usize::MAX;

/// Sources that the first process opens itself.
#[derive(Debug)]
pub(super) struct Own;

impl Sources for Own {
    fn open(&self, _: usize, mount: &Mount) -> io::Result<OwnedFd> {
        // Where owners are mapped, the sources are served: the process that makes a user namespace
        // must see its number in the `/proc` of the host.
        sys::bind(mount.source(), mount.is_recursive())
            .map_err(|error| named(mount.source(), &error))
    }

    fn root(&self, path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
        open_root(path)
    }
}

/// Sources that a process of the runtime's opens.
#[derive(Debug)]
pub(super) struct Served(pub(super) Channel);

impl Served {
    fn ask(&self, number: usize) -> io::Result<()> {
        send(&self.0, &number.to_ne_bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn receive(&self) -> io::Result<OwnedFd> {
        let (text, fd) = sys::receive_with_fd(&self.0)?;
        fd.ok_or_else(|| io::Error::other(String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Sources for Served {
    fn open(&self, number: usize, _: &Mount) -> io::Result<OwnedFd> {
        self.ask(number)?;
        self.receive()
    }

    fn root(&self, _: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
        self.ask(ROOT)?;
        Ok((self.receive()?, self.receive()?))
    }
}

/// Serves the sources of a container's mounts to its first process, until that closes its end.
/// `has_users` says that the first process is in a user namespace of the container's.
pub(super) fn serve(channel: &Channel, init: Pid, has_users: bool, mounts: &[Mount], root: &Path) {
    let users = has_users.then_some(init);
    // Made and opened before the container's mount namespace is entered, whose `/proc` may be somebody
    // else's.
    let namespaces: Vec<_> = mounts.iter().map(|mount| namespace(mount, users)).collect();
    let mut is_inside = false;
    while let Some(number) = next(channel) {
        // Not before the first request: until then, the first process is in the host's namespace.
        let entered = match is_inside {
            true => Ok(()),
            false => File::open(format!("/proc/{init}/ns/mnt"))
                .and_then(|namespace| Ok(setns(namespace, CloneFlags::CLONE_NEWNS)?)),
        };
        is_inside |= entered.is_ok();
        let opened =
            entered.and_then(
                |()| match (number, mounts.get(number), namespaces.get(number)) {
                    (ROOT, _, _) => open_root(root).map(|(place, tree)| vec![place, tree]),
                    (_, Some(mount), Some(namespace)) => Ok(vec![open(mount, namespace)?]),
                    _ => Err(io::ErrorKind::NotFound.into()),
                },
            );
        let answered = match opened {
            Ok(trees) => trees
                .iter()
                .try_for_each(|tree| sys::send_fd(channel, b"tree", tree.as_fd())),
            Err(error) => {
                let text = text::message(&error);
                send(channel, text.as_bytes(), SendFlags::NOSIGNAL)
                    .map(drop)
                    .map_err(io::Error::from)
            }
        };
        if answered.is_err() {
            return;
        }
    }
}

fn next(channel: &Channel) -> Option<usize> {
    let (text, _) = sys::receive_with_fd(channel).ok()?;
    Some(usize::from_ne_bytes(text.try_into().ok()?))
}

/// Returns the user namespace by which a mount maps owners, if it does. `users` is the first process, if
/// it is in a user namespace of the container's.
fn namespace(mount: &Mount, users: Option<Pid>) -> io::Result<Option<OwnedFd>> {
    if mount.maps_owners().is_none() {
        return Ok(None);
    }
    match (mount.maps(), users) {
        (Some((users, groups)), _) => {
            userns::namespace(&Mappings::parse(users)?, &Mappings::parse(groups)?).map(Some)
        }
        (None, Some(init)) => Ok(Some(File::open(format!("/proc/{init}/ns/user"))?.into())),
        (None, None) => {
            let text =
                "its owners are to be mapped, but it has no id mappings, nor has the container";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

/// Makes the tree of a bind.
fn open(mount: &Mount, namespace: &io::Result<Option<OwnedFd>>) -> io::Result<OwnedFd> {
    let tree = sys::bind(mount.source(), mount.is_recursive())
        .map_err(|error| named(mount.source(), &error))?;
    match namespace {
        Ok(None) => {}
        Ok(Some(namespace)) => {
            let recursive = mount.maps_owners() == Some(true);
            sys::map_mount_ids(tree.as_fd(), namespace.as_fd(), recursive)
                .map_err(|error| named(Path::new("map its owners"), &error))?;
        }
        Err(error) => return Err(io::Error::new(error.kind(), text::message(error))),
    }
    Ok(tree)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    let text = format!("{}: {}", path.display(), text::message(error));
    io::Error::new(error.kind(), text)
}
