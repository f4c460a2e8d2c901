//! Attributes of a mount that is not attached yet.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Restrictions of a mount ([mount_setattr(2)]).
///
/// [mount_setattr(2)]: https://man7.org/linux/man-pages/man2/mount_setattr.2.html
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// Nothing can be written.
    pub read_only: bool,
    /// Setuid bits have no effect.
    pub no_suid: bool,
    /// Device nodes cannot be opened.
    pub no_dev: bool,
    /// Nothing can be executed.
    pub no_exec: bool,
}

/// Attributes of a mount as bits ([mount_setattr(2)], `linux/mount.h`).
///
/// [mount_setattr(2)]: https://man7.org/linux/man-pages/man2/mount_setattr.2.html
pub mod mount_bits {
    /// Nothing can be written.
    pub const READ_ONLY: u64 = 0x1;
    /// Setuid bits have no effect.
    pub const NO_SUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NO_DEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NO_EXEC: u64 = 0x8;
    /// All bits of the access time. One of the three next values stands in them.
    pub const ACCESS_TIME: u64 = 0x70;
    /// Access times are updated now and then.
    pub const RELATIME: u64 = 0;
    /// Access times are not updated.
    pub const NO_ACCESS_TIME: u64 = 0x10;
    /// Access times are updated always.
    pub const STRICT_ACCESS_TIME: u64 = 0x20;
    /// Access times of directories are not updated.
    pub const NO_DIRECTORY_ACCESS_TIME: u64 = 0x80;
    /// Symbolic links are not followed (Linux 5.14).
    pub const NO_LINKS: u64 = 0x20_0000;
}

use mount_bits::{NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

impl MountAttributes {
    fn bits(self) -> u64 {
        let bit = |set: bool, bit: u64| if set { bit } else { 0 };
        bit(self.read_only, READ_ONLY)
            | bit(self.no_suid, NO_SUID)
            | bit(self.no_dev, NO_DEV)
            | bit(self.no_exec, NO_EXEC)
    }
}

/// Adds attributes to a mount, not to those below it (Linux 5.12).
///
/// # Errors
///
/// Returns the errno of mount_setattr(2).
pub fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: MountAttributes) -> io::Result<()> {
    let bits = attributes.bits();
    if bits == 0 {
        return Ok(());
    }
    let attr = MountAttr {
        attr_set: bits,
        ..MountAttr::default()
    };
    mount_setattr(mount, false, &attr)
}

/// Sets and clears bits of a mount, and of those below it if `recursive` (Linux 5.12). The bits are
/// those of [`mount_bits`].
///
/// # Errors
///
/// Returns the errno of mount_setattr(2): `EPERM` for a bit that a user namespace may not clear.
pub fn change_mount(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    clear: u64,
) -> io::Result<()> {
    if set == 0 && clear == 0 {
        return Ok(());
    }
    let attr = MountAttr {
        attr_set: set,
        attr_clr: clear,
        ..MountAttr::default()
    };
    mount_setattr(mount, recursive, &attr)
}

/// Makes a mount and those below it read-only (Linux 5.12).
///
/// # Errors
///
/// Returns the errno of mount_setattr(2).
pub fn set_all_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: READ_ONLY,
        ..MountAttr::default()
    };
    mount_setattr(mount, true, &attr)
}

/// Whether mounts below a mount appear in other mount namespaces, and theirs here
/// ([mount_namespaces(7)]).
///
/// [mount_namespaces(7)]: https://man7.org/linux/man-pages/man7/mount_namespaces.7.html
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Mounts are neither sent nor received.
    Private,
    /// No mounts are sent, but those of its master are received.
    Slave,
    /// As private, and the mount cannot be bound.
    Unbindable,
    /// Mounts are sent and received.
    Shared,
}

/// Sets the propagation of a mount, and of those below it if `recursive` (Linux 5.12).
///
/// # Errors
///
/// Returns the errno of mount_setattr(2).
pub fn set_mount_propagation(
    mount: BorrowedFd<'_>,
    propagation: Propagation,
    recursive: bool,
) -> io::Result<()> {
    let bits = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
        Propagation::Shared => libc::MS_SHARED,
    };
    let attr = MountAttr {
        propagation: bits,
        ..MountAttr::default()
    };
    mount_setattr(mount, recursive, &attr)
}

/// Shows the owners on a mount that is not attached yet as a user namespace maps them; also on
/// those below it if `recursive` (Linux 5.12).
///
/// # Errors
///
/// Returns the errno of mount_setattr(2): `EINVAL` if the file system does not support it, `EPERM`
/// if the caller is not root over it.
pub fn map_mount_ids(
    mount: BorrowedFd<'_>,
    namespace: BorrowedFd<'_>,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        userns_fd: u64::from(namespace.as_raw_fd().unsigned_abs()),
        ..MountAttr::default()
    };
    mount_setattr(mount, recursive, &attr)
}

fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    const AT_RECURSIVE: libc::c_int = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string and the kernel reads one `MountAttr` during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const *attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
