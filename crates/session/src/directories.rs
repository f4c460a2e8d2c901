//! Directories of a session: made, and bound.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::Error;
use crate::error::mount_error;

/// Makes a directory, which must not exist.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir(path).map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

/// Binds a directory of the host, with the mounts below it.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), Error> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .map_err(mount_error(&source.to_string_lossy(), target))
}
