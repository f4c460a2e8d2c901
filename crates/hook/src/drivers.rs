//! The drivers that a hook injects into its container.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use inject::{Edits, Gpu, GpuSelection, Host, Wanted};
use tree::Directory;

use crate::Error;

/// Where programs are on every host; hooks are called with any `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/rocm/bin";

/// Returns the host whose driver is installed below `root`.
pub(crate) fn host(root: &Path) -> Result<Host, Error> {
    Host::new(root, OsStr::new(PATH)).map_err(Error::Look)
}

/// Returns the nodes of the GPUs that a variable's value asks for.
///
/// # Errors
///
/// Fails when one is asked for that is not there, or whose node is not.
pub fn nodes(host: &Host, gpus: &[Gpu], asked: &str) -> Result<Vec<PathBuf>, Error> {
    let nodes = GpuSelection::parse(asked).nodes(gpus);
    let nodes = nodes.map_err(|error| Error::Refused(error.to_string()))?;
    inject::check_nodes(host, &nodes).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(nodes)
}

/// Works out what the host's drivers have for a container's root file system; returns the driver's
/// version, too, `None` where there is none.
///
/// # Errors
///
/// Fails when the host or the root file system cannot be read.
pub fn driver_edits(
    host: &Host,
    root: &Directory,
    wanted: &Wanted,
) -> Result<(Edits, Option<String>), Error> {
    let machine = inject::machine(root).or_else(|| inject::machine(host.files()));
    let machine = machine.ok_or_else(|| Error::Refused("the image has no programs".to_owned()))?;
    let injected = inject::driver_edits(host, root, machine, wanted).map_err(Error::Look)?;
    let driver = injected
        .drivers
        .into_iter()
        .next()
        .map(|(_, driver)| driver);
    Ok((injected.edits, driver))
}
