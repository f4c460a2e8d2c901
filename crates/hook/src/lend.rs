//! What a host lends to a container that a hook is called for.

use std::ffi::OsStr;
use std::path::Path;

use elf::Object;
use inject::{Edits, Host, Wanted};
use tree::{Directory, Files};

use crate::Error;

/// Where programs are on every host; hooks are called with any `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/rocm/bin";

/// Programs of every image, by which its machine is told.
const PROGRAMS: [&str; 4] = [
    "/bin/sh",
    "/usr/bin/env",
    "/bin/busybox",
    "/usr/bin/python3",
];

/// Returns the host whose driver is installed below `root`.
pub(crate) fn host(root: &Path) -> Result<Host, Error> {
    Host::new(root, OsStr::new(PATH)).map_err(Error::Look)
}

/// Works out what the host's drivers have for a container's root file system; returns the driver's
/// version, too, `None` where there is none.
///
/// # Errors
///
/// Fails when the host or the root file system cannot be read.
pub fn lend(
    host: &Host,
    root: &Directory,
    wanted: &Wanted,
) -> Result<(Edits, Option<String>), Error> {
    let head =
        |files: &Directory, path: &str| files.read(Path::new(path), Object::HEAD).ok().flatten();
    let heads = PROGRAMS.iter().filter_map(|path| head(root, path));
    let theirs = PROGRAMS.iter().filter_map(|path| head(host.files(), path));
    let machine = heads
        .chain(theirs)
        .find_map(|head| Object::parse(&head).ok());
    let machine = machine.ok_or_else(|| Error::Refused("the image has no programs".to_owned()))?;
    let lent = inject::lend(host, root, machine, wanted).map_err(Error::Look)?;
    let driver = lent.drivers.into_iter().next().map(|(_, driver)| driver);
    Ok((lent.edits, driver))
}
