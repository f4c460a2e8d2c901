//! CUDA's forward compatibility: libraries of a newer driver in the image, for an older kernel
//! driver.
//!
//! See NVIDIA's "CUDA Compatibility", "Forward Compatibility". The packages are for data centre
//! GPUs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rootfs::Files;

use super::gpus::is_version;
use crate::Gpu;

/// Directories of these packages in CUDA's images.
const DIRECTORIES: &[&str] = &["/usr/local/cuda/compat", "/usr/local/cuda/lib64/compat"];

/// Libraries of an image that are newer than the driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Compat {
    /// Their names, with their paths in the image.
    pub(super) libraries: BTreeMap<OsString, PathBuf>,
    /// The version of the driver that they belong to.
    pub(super) version: String,
    /// The reason why they are not used, for the user.
    pub(super) unused: Option<String>,
}

/// Looks for compatibility libraries in an image, and decides whether to use them.
pub(super) fn find(image: &dyn Files, driver: &str, gpus: &[Gpu]) -> io::Result<Option<Compat>> {
    for directory in DIRECTORIES.iter().map(Path::new) {
        let names = image.list(directory)?;
        let version = names.iter().find_map(|name| {
            let version = name.to_str()?.strip_prefix("libcuda.so.")?;
            is_version(version).then(|| version.to_owned())
        });
        let Some(version) = version else { continue };
        let own = |name: &OsString| {
            name.to_str()
                .is_some_and(|name| name.ends_with(|c: char| c.is_ascii_digit()))
        };
        let libraries = names.iter().filter(|name| own(name));
        let libraries = libraries.map(|name| (name.clone(), directory.join(name)));
        let consumer = gpus
            .iter()
            .find(|gpu| gpu.model.contains("GeForce") || gpu.model.contains("TITAN"));
        let unused = if major(driver) >= major(&version) {
            Some(format!(
                "the driver {driver} is not older than their version {version}"
            ))
        } else {
            consumer.map(|gpu| format!("they do not work with a {}", gpu.model))
        };
        return Ok(Some(Compat {
            libraries: libraries.collect(),
            version,
            unused,
        }));
    }
    Ok(None)
}

/// Returns the first number of a driver's version, which denotes its branch.
fn major(version: &str) -> u32 {
    let first = version.split('.').next().unwrap_or_default();
    first.parse().unwrap_or(0)
}
