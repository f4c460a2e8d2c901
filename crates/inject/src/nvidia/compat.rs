//! CUDA's forward compatibility: a newer driver's libraries in the image, for an older kernel driver.
//!
//! See NVIDIA's "CUDA Compatibility", "Forward Compatibility"; its packages are for data centre GPUs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tree::Files;

use super::gpus::is_version;
use crate::Gpu;

/// Where CUDA's images have the packages.
const DIRECTORIES: &[&str] = &["/usr/local/cuda/compat", "/usr/local/cuda/lib64/compat"];

/// Libraries of an image that are newer than the driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Compat {
    /// Their names, and where they lie in the image.
    pub(super) libraries: BTreeMap<OsString, PathBuf>,
    /// The driver that they belong to.
    pub(super) version: String,
    /// Why they are there and not used, in words.
    pub(super) unused: Option<String>,
}

/// Looks for compatibility libraries in an image, and decides whether they are to be used.
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
                "the driver {driver} is no older than their {version}"
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

/// The number that stands for a driver's branch.
fn major(version: &str) -> u32 {
    let first = version.split('.').next().unwrap_or_default();
    first.parse().unwrap_or(0)
}
