//! Directories of a session: made, and bound.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rootfs::Directory;
use sys::mount_bits;

use crate::Error;

/// Makes a directory, which must not exist.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir(path).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

/// Binds a directory of the host, with the mounts below it. Devices in it cannot be opened: an image
/// may be somebody else's, and its devices with it.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    let bound = || -> io::Result<()> {
        let detached = sys::bind(source, true)?;
        sys::change_mount(detached.as_fd(), true, mount_bits::NO_DEV, 0)?;
        let place = Directory::open_root(target)?;
        rootfs::attach(&detached, &place)
    };
    bound().map_err(|error| Error::Mount {
        what: source.display().to_string(),
        target: target.to_owned(),
        source: error,
    })
}
