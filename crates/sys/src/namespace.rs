//! The parents of user namespaces.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `NS_GET_PARENT` of `linux/nsfs.h`, `_IO(0xb7, 0x2)`.
const NS_GET_PARENT: libc::Ioctl = 0xb702;

/// Returns the user namespace in which a user namespace was made ([ioctl_ns(2)], Linux 4.9).
///
/// [ioctl_ns(2)]: https://man7.org/linux/man-pages/man2/ioctl_ns.2.html
///
/// # Errors
///
/// Fails with `EPERM` when the parent is neither the caller's own user namespace nor below it.
pub fn parent_user_namespace(namespace: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: this request takes no argument, and returns a descriptor that nobody else owns.
    let parent = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_PARENT) };
    match parent {
        // SAFETY: the kernel has just opened the descriptor for the caller.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(parent) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process is in the first user namespace, where every id is mapped onto itself
/// ([user_namespaces(7)]). Root elsewhere is another user outside.
///
/// [user_namespaces(7)]: https://man7.org/linux/man-pages/man7/user_namespaces.7.html
#[must_use]
pub fn in_first_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn the_parent_of_a_childs_is_ones_own() {
        use std::os::unix::fs::MetadataExt;
        let mut child = std::process::Command::new("unshare");
        let mut child = child.args(["--user", "sleep", "10"]).spawn().unwrap();
        let own = File::open("/proc/self/ns/user")
            .unwrap()
            .metadata()
            .unwrap()
            .ino();
        let theirs = || File::open(format!("/proc/{}/ns/user", child.id())).unwrap();
        while theirs().metadata().unwrap().ino() == own {
            std::thread::yield_now();
        }
        let parent = parent_user_namespace(theirs()).map(File::from);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(parent.unwrap().metadata().unwrap().ino(), own);
    }
}
