//! The drivers that a hook injects into its container.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use inject::{Edits, Gpu, GpuSelection, Host, Wanted};
use rootfs::{DEFAULT_PATH, Directory};

use crate::Error;

/// Returns the host whose driver is installed below `root`. A hook may be called with any `PATH`, so
/// the usual one of every host is used.
pub(crate) fn host(root: &Path) -> Result<Host, Error> {
    let path = format!("{DEFAULT_PATH}:/opt/rocm/bin");
    Host::new(root, OsStr::new(&path)).map_err(Error::Look)
}

/// Returns the nodes of the GPUs that a variable's value requests.
///
/// # Errors
///
/// Fails when a requested GPU or its node is missing.
pub(crate) fn nodes(host: &Host, gpus: &[Gpu], asked: &str) -> Result<Vec<PathBuf>, Error> {
    let nodes = GpuSelection::parse(asked).nodes(gpus);
    let nodes = nodes.map_err(|error| Error::Refused(error.to_string()))?;
    inject::check_nodes(host, &nodes).map_err(|error| Error::Refused(error.to_string()))?;
    Ok(nodes)
}

/// Returns the edits that inject the host's drivers into a container's root file system. Also
/// returns the driver's version, or `None` without a driver.
///
/// # Errors
///
/// Fails when the host or the root file system cannot be read.
pub(crate) fn driver_edits(
    host: &Host,
    root: &Directory,
    wanted: &Wanted,
) -> Result<(Edits, Option<String>), Error> {
    let machine = inject::machine(root).or_else(|| inject::machine(host.files()));
    let machine = machine.ok_or_else(|| {
        Error::Refused(
            "cannot determine the image's architecture: it has no known program".to_owned(),
        )
    })?;
    let injected = inject::driver_edits(host, root, machine, wanted).map_err(Error::Look)?;
    let driver = injected
        .drivers
        .into_iter()
        .next()
        .map(|(_, driver)| driver);
    Ok((injected.edits, driver))
}
